"""Backbones: an image in, a tuple of feature maps out, highest resolution first."""

from seglit.backbones.hrnet import HRNet
from seglit.backbones.mobilenet_v2 import MobileNetV2
from seglit.backbones.resnet import ResNet
from seglit.backbones.timm_backbone import TimmBackbone
from seglit.backbones.unet import UNet

__all__ = ["HRNet", "MobileNetV2", "ResNet", "TimmBackbone", "UNet"]
