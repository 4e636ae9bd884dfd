"""MultiLevelNeck."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts.fpn import NECK_RULES
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a MultiLevelNeck."""
    settings.skip("type", "init_cfg", "in_channels")
    settings.only("norm_cfg", None)
    settings.only("act_cfg", None)
    scales = list(settings.take("scales", (0.5, 1, 2, 4)))
    if scales != sorted(scales, reverse=True):
        raise settings.unsupported("scales", "the largest comes first here, as features go from the finest")
    return {
        "_target_": "seglit.necks.MultiLevelNeck",
        "_partial_": True,
        "out_channels": settings.take("out_channels"),
        "scales": scales,
    }


PARTS = (Part(("MultiLevelNeck",), node, rules=NECK_RULES),)
