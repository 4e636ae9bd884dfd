"""DMHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a DMHead."""
    return {
        "_target_": "seglit.heads.DMHead",
        **head_arguments(settings),
        "filter_sizes": list(settings.take("filter_sizes", (1, 3, 5, 7))),
        "fusion": settings.take("fusion", False),
    }


RULES = (
    (r"^dcm_modules\.", "branches."),
    (r"\.filter_gen_conv\.", ".filters."),
    (r"\.input_redu_conv\.", ".reduction."),
    (r"\.fusion_conv\.", ".fusion."),
)
PARTS = (Part(("DMHead",), node, rules=RULES),)
