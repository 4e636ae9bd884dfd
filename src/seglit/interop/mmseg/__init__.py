"""The way over from MMSegmentation: its configurations and weights, without its packages."""
