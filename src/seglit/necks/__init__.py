"""Necks: feature maps in, feature maps for the heads out."""

from seglit.necks.jpu import JPU

__all__ = ["JPU"]
