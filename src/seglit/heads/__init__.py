"""Heads: feature maps in, logits at the head's own stride out."""

from seglit.heads.fcn import FCNHead
from seglit.heads.fpn import FPNHead
from seglit.heads.ham import LightHamHead
from seglit.heads.head import Head
from seglit.heads.psp import PSPHead
from seglit.heads.segformer import SegformerHead
from seglit.heads.setr import SETRMLAHead, SETRUPHead
from seglit.heads.uper import UPerHead

__all__ = [
    "FCNHead",
    "FPNHead",
    "Head",
    "LightHamHead",
    "PSPHead",
    "SETRMLAHead",
    "SETRUPHead",
    "SegformerHead",
    "UPerHead",
]
