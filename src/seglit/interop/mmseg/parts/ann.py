"""ANNHead."""

from seglit.interop.mmseg.part import Part, several_features
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of an ANNHead."""
    if tuple(settings.take("query_scales", (1,))) != (1,):
        raise settings.unsupported("query_scales", "there is only (1,)")
    return {
        "_target_": "seglit.heads.ANNHead",
        **several_features(settings),
        "project_channels": settings.take("project_channels"),
        "key_pool_scales": list(settings.take("key_pool_scales", (1, 3, 6, 8))),
    }


RULES = (
    # Of the self-attention, key and query are one and the same.
    (r"^context\.stages\.0\.key_project\..*", ""),
    (r"^context\.stages\.0\.query_project\.", "self_attention.key."),
    (r"^fusion\.bottleneck\.", "fusion."),
    (r"^fusion\.stages\.0\.", "attention."),
    (r"^context\.bottleneck\.", "self_fusion."),
    (r"^context\.stages\.0\.", "self_attention."),
    (r"\.(query|key|value|out)_project\.", r".\1."),
)
PARTS = (Part(("ANNHead",), node, rules=RULES),)
