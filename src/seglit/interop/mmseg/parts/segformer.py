"""SegformerHead."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a SegformerHead."""
    settings.only("interpolate_mode", "bilinear")
    return {"_target_": "seglit.heads.SegformerHead", **several_features(settings)}


def several_features(settings: Settings) -> Node:
    """What every head takes that reads several features as they are, which its own constructor says there."""
    settings.values.setdefault("input_transform", "multiple_select")
    settings.only("input_transform", "multiple_select")
    return head_arguments(settings)


PARTS = (Part(("SegformerHead",), node, rules=((r"^fusion_conv\.", "fusion."),)),)
