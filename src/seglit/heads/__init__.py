"""Heads: feature maps in, logits at the head's own stride out."""

from seglit.heads.fcn import FCNHead
from seglit.heads.fpn import FPNHead
from seglit.heads.head import Head
from seglit.heads.psp import PSPHead
from seglit.heads.segformer import SegformerHead
from seglit.heads.uper import UPerHead

__all__ = ["FCNHead", "FPNHead", "Head", "PSPHead", "SegformerHead", "UPerHead"]
