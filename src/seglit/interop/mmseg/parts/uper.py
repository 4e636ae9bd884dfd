"""UPerHead."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts.segformer import several_features
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a UPerHead."""
    return {
        "_target_": "seglit.heads.UPerHead",
        **several_features(settings),
        "pool_scales": list(settings.take("pool_scales", (1, 2, 3, 6))),
    }


RULES = (
    (r"^psp_modules\.(\d+)\.1\.", r"pools.\1."),
    (r"^lateral_convs\.", "laterals."),
    (r"^fpn_convs\.", "levels."),
    (r"^fpn_bottleneck\.", "fusion."),
)
PARTS = (Part(("UPerHead",), node, rules=RULES),)
