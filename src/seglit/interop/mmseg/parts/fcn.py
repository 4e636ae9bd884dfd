"""FCNHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an FCNHead."""
    return {
        "_target_": "seglit.heads.FCNHead",
        **head_arguments(settings),
        "num_convs": settings.take("num_convs", 2),
        "kernel_size": settings.take("kernel_size", 3),
        "dilation": settings.take("dilation", 1),
        "concat_input": settings.take("concat_input", True),
    }


RULES = ((r"^conv_cat\.", "fusion."),)
PARTS = (Part(("FCNHead",), node, rules=RULES),)
