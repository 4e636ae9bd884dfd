"""Heads: feature maps in, logits at the head's own stride out."""

from seglit.heads.aspp import ASPPHead, DepthwiseSeparableASPPHead
from seglit.heads.fcn import FCNHead
from seglit.heads.head import Head
from seglit.heads.lraspp import LRASPPHead
from seglit.heads.ocr import OCRHead
from seglit.heads.psp import PSPHead

__all__ = ["ASPPHead", "DepthwiseSeparableASPPHead", "FCNHead", "Head", "LRASPPHead", "OCRHead", "PSPHead"]
