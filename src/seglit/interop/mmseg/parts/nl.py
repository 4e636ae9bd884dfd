"""NLHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.parts.around import around_rules
from seglit.interop.mmseg.settings import Node, Settings

MODES = ("embedded_gaussian", "dot_product")


def node(settings: Settings) -> Node:
    """The node of an NLHead."""
    settings.only("mode", *MODES)
    mode = settings.take("mode", MODES[0])
    use_scale = settings.take("use_scale", True)
    return {
        "_target_": "seglit.heads.NLHead",
        **head_arguments(settings),
        "reduction": settings.take("reduction", 2),
        "mode": mode,
        # Dot products are always divided there.
        "use_scale": use_scale or mode == "dot_product",
        "concat_input": settings.take("concat_input", True),
    }


NON_LOCAL = (
    (r"\.theta\.conv\.", ".query."),
    (r"\.phi\.conv\.", ".key."),
    (r"\.g\.conv\.", ".value."),
    (r"\.conv_out\.", ".out."),
)
PARTS = (Part(("NLHead",), node, rules=(*around_rules("nl_block"), *NON_LOCAL)),)
