"""ASPPHead and DepthwiseSeparableASPPHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an ASPPHead."""
    return {
        "_target_": "seglit.heads.ASPPHead",
        **head_arguments(settings),
        "dilations": list(settings.take("dilations", (1, 6, 12, 18))),
    }


def separable_node(settings: Settings) -> Node:
    """The node of a DepthwiseSeparableASPPHead, whose decoder sees the first feature."""
    if not settings.take("c1_in_channels"):
        raise settings.unsupported("c1_in_channels", "the decoder always sees a second feature")
    return {
        **node(settings),
        "_target_": "seglit.heads.DepthwiseSeparableASPPHead",
        "skip_index": 0,
        "skip_channels": settings.take("c1_channels"),
    }


RULES = (
    (r"^image_pool\.1\.", "pyramid.average."),
    (r"^aspp_modules\.(\d+)\.", r"pyramid.branches.\1."),
    (r"^bottleneck\.", "pyramid.bottleneck."),
)
SEPARABLE_RULES = (
    (r"\.(depthwise|pointwise)_conv\.", r".\1."),
    (r"^c1_bottleneck\.", "skip."),
    (r"^sep_bottleneck\.", "decoder."),
)
PARTS = (
    Part(("ASPPHead",), node, rules=RULES),
    Part(("DepthwiseSeparableASPPHead",), separable_node, rules=RULES + SEPARABLE_RULES),
)
