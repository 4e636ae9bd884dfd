"""ISAHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an ISAHead."""
    return {
        "_target_": "seglit.heads.ISAHead",
        **head_arguments(settings),
        "isa_channels": settings.take("isa_channels"),
        "down_factor": list(settings.take("down_factor", (8, 8))),
    }


RULES = (
    (r"^in_conv\.", "reduction."),
    (r"^out_conv\.", "fusion."),
    (r"^global_relation\.", "far."),
    (r"^local_relation\.", "near."),
    (r"\.(query|key|value)_project\.", r".\1."),
    (r"\.output_project\.", ".out."),
)
PARTS = (Part(("ISAHead",), node, rules=RULES),)
