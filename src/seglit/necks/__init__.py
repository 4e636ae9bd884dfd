"""Necks: feature maps in, feature maps for the heads out, highest resolution first."""

from seglit.necks.feature2pyramid import Feature2Pyramid
from seglit.necks.fpn import FPN
from seglit.necks.jpu import JPU
from seglit.necks.mla import MLANeck
from seglit.necks.multi_level import MultiLevelNeck

__all__ = ["FPN", "JPU", "Feature2Pyramid", "MLANeck", "MultiLevelNeck"]
