"""Backbones: an image in, a tuple of feature maps out, highest resolution first."""

from seglit.backbones.beit import BEiT
from seglit.backbones.bisenet_v1 import BiSeNetV1
from seglit.backbones.bisenet_v2 import BiSeNetV2
from seglit.backbones.convnext import ConvNeXt
from seglit.backbones.ddrnet import DDRNet
from seglit.backbones.fast_scnn import FastSCNN
from seglit.backbones.hrnet import HRNet
from seglit.backbones.mit import MixVisionTransformer
from seglit.backbones.mobilenet_v2 import MobileNetV2
from seglit.backbones.mobilenet_v3 import MobileNetV3
from seglit.backbones.mscan import MSCAN
from seglit.backbones.pidnet import PIDNet
from seglit.backbones.resnet import ResNet
from seglit.backbones.stdc import STDC
from seglit.backbones.swin import SwinTransformer
from seglit.backbones.timm_backbone import TimmBackbone
from seglit.backbones.unet import UNet
from seglit.backbones.vit import VisionTransformer

__all__ = [
    "MSCAN",
    "STDC",
    "BEiT",
    "BiSeNetV1",
    "BiSeNetV2",
    "ConvNeXt",
    "DDRNet",
    "FastSCNN",
    "HRNet",
    "MixVisionTransformer",
    "MobileNetV2",
    "MobileNetV3",
    "PIDNet",
    "ResNet",
    "SwinTransformer",
    "TimmBackbone",
    "UNet",
    "VisionTransformer",
]
