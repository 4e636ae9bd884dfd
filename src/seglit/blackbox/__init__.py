"""What is kept of a step that went wrong, and how its cause is found."""
