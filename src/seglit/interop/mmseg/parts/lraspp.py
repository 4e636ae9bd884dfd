"""LRASPPHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an LRASPPHead."""
    settings.only("input_transform", "multiple_select")
    return {
        "_target_": "seglit.heads.LRASPPHead",
        **head_arguments(settings),
        "branch_channels": list(settings.take("branch_channels", (32, 64))),
    }


RULES = (
    (r"^convs\.conv(\d+)\.", r"branches.\1."),
    (r"^conv_ups\.conv_up(\d+)\.", r"ups.\1."),
    (r"^conv_up_input\.", "mix."),
    (r"^aspp_conv\.", "deep."),
    (r"^image_pool\.1\.conv\.", "gate."),
)
PARTS = (Part(("LRASPPHead",), node, rules=RULES),)
