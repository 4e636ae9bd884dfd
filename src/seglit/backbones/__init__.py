"""Backbones: an image in, a tuple of feature maps out, highest resolution first."""

from seglit.backbones.bisenet_v1 import BiSeNetV1
from seglit.backbones.bisenet_v2 import BiSeNetV2
from seglit.backbones.ddrnet import DDRNet
from seglit.backbones.fast_scnn import FastSCNN
from seglit.backbones.pidnet import PIDNet
from seglit.backbones.resnet import ResNet
from seglit.backbones.stdc import STDC
from seglit.backbones.timm_backbone import TimmBackbone
from seglit.backbones.unet import UNet

__all__ = ["STDC", "BiSeNetV1", "BiSeNetV2", "DDRNet", "FastSCNN", "PIDNet", "ResNet", "TimmBackbone", "UNet"]
