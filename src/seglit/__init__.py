"""Semantic segmentation in which every training trick composes with every other."""

__version__ = "0.1.0"
