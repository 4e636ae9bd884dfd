"""DNLHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.parts.around import around_rules
from seglit.interop.mmseg.parts.nl import NON_LOCAL
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a DNLHead."""
    settings.only("mode", "embedded_gaussian")
    return {
        "_target_": "seglit.heads.DNLHead",
        **head_arguments(settings),
        "reduction": settings.take("reduction", 2),
        "use_scale": settings.take("use_scale", True),
        "temperature": settings.take("temperature", 0.05),
        "concat_input": settings.take("concat_input", True),
    }


RULES = (*around_rules("dnl_block"), *NON_LOCAL, (r"\.conv_mask\.", ".saliency."))
PARTS = (Part(("DNLHead",), node, rules=RULES),)
