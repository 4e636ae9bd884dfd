"""GCHead."""

import re

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.parts.around import around_rules
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a GCHead."""
    return {
        "_target_": "seglit.heads.GCHead",
        **head_arguments(settings),
        "ratio": settings.take("ratio", 0.25),
        "pooling_type": settings.take("pooling_type", "att"),
        "fusion_types": list(settings.take("fusion_types", ("channel_add",))),
        "concat_input": settings.take("concat_input", True),
    }


def of_transform(match: re.Match[str]) -> str:
    """Members of a Sequential there."""
    kind = {"add": "addend", "mul": "factor"}[match[1]]
    return f".{kind}.{ {'0': 'reduce', '1': 'norm', '3': 'expand'}[match[2]] }."


RULES = (
    *around_rules("gc_block"),
    (r"\.conv_mask\.", ".score."),
    (r"\.channel_(add|mul)_conv\.(\d)\.", of_transform),
)
PARTS = (Part(("GCHead",), node, rules=RULES),)
