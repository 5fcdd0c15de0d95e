"""What a change is: one file an activity."""
