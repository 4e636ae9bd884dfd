"""APCHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an APCHead."""
    return {
        "_target_": "seglit.heads.APCHead",
        **head_arguments(settings),
        "pool_scales": list(settings.take("pool_scales", (1, 2, 3, 6))),
        "fusion": settings.take("fusion", True),
    }


RULES = (
    (r"^acm_modules\.", "branches."),
    (r"\.pooled_redu_conv\.", ".cells."),
    (r"\.input_redu_conv\.", ".pixels."),
    (r"\.global_info\.", ".whole."),
    (r"\.gla\.", ".affinity."),
    (r"\.residual_conv\.", ".residual."),
    (r"\.fusion_conv\.", ".fusion."),
)
PARTS = (Part(("APCHead",), node, rules=RULES),)
