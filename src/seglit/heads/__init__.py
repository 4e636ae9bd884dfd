"""Heads: feature maps in, logits at the head's own stride out."""

from seglit.heads.ann import ANNHead
from seglit.heads.apc import APCHead
from seglit.heads.aspp import ASPPHead, DepthwiseSeparableASPPHead
from seglit.heads.cc import CCHead
from seglit.heads.da import DAHead
from seglit.heads.ddr import DDRHead
from seglit.heads.dm import DMHead
from seglit.heads.dnl import DNLHead
from seglit.heads.ema import EMAHead
from seglit.heads.enc import EncHead
from seglit.heads.fcn import FCNHead
from seglit.heads.fpn import FPNHead
from seglit.heads.gc import GCHead
from seglit.heads.ham import LightHamHead
from seglit.heads.head import Head
from seglit.heads.isa import ISAHead
from seglit.heads.lraspp import LRASPPHead
from seglit.heads.nl import NLHead
from seglit.heads.ocr import OCRHead
from seglit.heads.psa import PSAHead
from seglit.heads.psp import PSPHead
from seglit.heads.segformer import SegformerHead
from seglit.heads.setr import SETRMLAHead, SETRUPHead
from seglit.heads.uper import UPerHead

__all__ = [
    "ANNHead",
    "APCHead",
    "ASPPHead",
    "CCHead",
    "DAHead",
    "DDRHead",
    "DMHead",
    "DNLHead",
    "DepthwiseSeparableASPPHead",
    "EMAHead",
    "EncHead",
    "FCNHead",
    "FPNHead",
    "GCHead",
    "Head",
    "ISAHead",
    "LRASPPHead",
    "LightHamHead",
    "NLHead",
    "OCRHead",
    "PSAHead",
    "PSPHead",
    "SETRMLAHead",
    "SETRUPHead",
    "SegformerHead",
    "UPerHead",
]
