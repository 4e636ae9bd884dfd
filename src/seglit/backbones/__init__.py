"""Backbones: an image in, a tuple of feature maps out, highest resolution first."""

from seglit.backbones.resnet import ResNet
from seglit.backbones.timm_backbone import TimmBackbone
from seglit.backbones.unet import UNet

__all__ = ["ResNet", "TimmBackbone", "UNet"]
