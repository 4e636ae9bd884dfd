"""EMAHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an EMAHead."""
    return {
        "_target_": "seglit.heads.EMAHead",
        **head_arguments(settings),
        "ema_channels": settings.take("ema_channels"),
        "num_bases": settings.take("num_bases"),
        "num_stages": settings.take("num_stages"),
        "momentum": settings.take("momentum", 0.1),
        "concat_input": settings.take("concat_input", True),
    }


RULES = (
    (r"^ema_in_conv\.", "reduction."),
    (r"^ema_mid_conv\.conv\.", "projection."),
    (r"^ema_module\.", "attention."),
    (r"^ema_out_conv\.", "out."),
    (r"^conv_cat\.", "fusion."),
)
PARTS = (Part(("EMAHead",), node, rules=RULES),)
