"""Pure array functions, compiled."""
