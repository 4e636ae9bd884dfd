"""Decoded images and masks on disk, so that each file is decoded once and not once an epoch."""

from seglit.data.cache.building import fill
from seglit.data.cache.readers import CachedImages, CachedMasks

__all__ = ["CachedImages", "CachedMasks", "fill"]
