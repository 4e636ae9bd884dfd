"""Heads: feature maps in, logits at the head's own stride out."""

from seglit.heads.ddr import DDRHead
from seglit.heads.fcn import FCNHead
from seglit.heads.head import Head
from seglit.heads.psp import PSPHead

__all__ = ["DDRHead", "FCNHead", "Head", "PSPHead"]
