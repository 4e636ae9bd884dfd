"""PSPHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a PSPHead."""
    return {
        "_target_": "seglit.heads.PSPHead",
        **head_arguments(settings),
        "pool_scales": list(settings.take("pool_scales", (1, 2, 3, 6))),
    }


PARTS = (Part(("PSPHead",), node, rules=((r"^psp_modules\.(\d+)\.1\.", r"pools.\1."),)),)
