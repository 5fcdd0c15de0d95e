"""How change is found."""
