"""Backbones: an image in, a tuple of feature maps out, highest resolution first."""

from seglit.backbones.beit import BEiT
from seglit.backbones.convnext import ConvNeXt
from seglit.backbones.hrnet import HRNet
from seglit.backbones.mit import MixVisionTransformer
from seglit.backbones.mobilenet_v2 import MobileNetV2
from seglit.backbones.mobilenet_v3 import MobileNetV3
from seglit.backbones.mscan import MSCAN
from seglit.backbones.resnet import ResNet
from seglit.backbones.swin import SwinTransformer
from seglit.backbones.timm_backbone import TimmBackbone
from seglit.backbones.unet import UNet
from seglit.backbones.vit import VisionTransformer

__all__ = [
    "MSCAN",
    "BEiT",
    "ConvNeXt",
    "HRNet",
    "MixVisionTransformer",
    "MobileNetV2",
    "MobileNetV3",
    "ResNet",
    "SwinTransformer",
    "TimmBackbone",
    "UNet",
    "VisionTransformer",
]
