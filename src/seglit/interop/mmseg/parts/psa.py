"""PSAHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a PSAHead."""
    settings.only("compact", False)
    return {
        "_target_": "seglit.heads.PSAHead",
        **head_arguments(settings),
        "mask_size": list(settings.take("mask_size")),
        "psa_type": settings.take("psa_type", "bi-direction"),
        "shrink_factor": settings.take("shrink_factor", 2),
        "normalization_factor": settings.take("normalization_factor", 1.0),
        "psa_softmax": settings.take("psa_softmax", True),
    }


RULES = (
    (r"^reduce\.", "branches.0.reduction."),
    (r"^attention\.", "branches.0.weighing."),
    (r"^reduce_p\.", "branches.1.reduction."),
    (r"^attention_p\.", "branches.1.weighing."),
    (r"^proj\.", "projection."),
)
PARTS = (Part(("PSAHead",), node, rules=RULES),)
