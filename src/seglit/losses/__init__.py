"""Losses that share one pixel weight: void × class weight × sampler."""

from seglit.losses.boundary import BoundaryLoss
from seglit.losses.criterion import HeadCriterion, SegmentationCriterion
from seglit.losses.cross_entropy import CrossEntropyLoss
from seglit.losses.dice import DiceLoss
from seglit.losses.focal import FocalLoss
from seglit.losses.lovasz import LovaszLoss
from seglit.losses.ohem import OHEMPixelSampler
from seglit.losses.targets import BoundaryTarget, DetailTarget
from seglit.losses.tversky import TverskyLoss

__all__ = [
    "BoundaryLoss",
    "BoundaryTarget",
    "CrossEntropyLoss",
    "DetailTarget",
    "DiceLoss",
    "FocalLoss",
    "HeadCriterion",
    "LovaszLoss",
    "OHEMPixelSampler",
    "SegmentationCriterion",
    "TverskyLoss",
]
