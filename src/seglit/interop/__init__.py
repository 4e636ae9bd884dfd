"""What other packages wrote, read."""
