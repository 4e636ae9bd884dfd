"""SETRUPHead, SETRMLAHead and MLANeck."""

from seglit.interop.mmseg.part import Part, head_arguments
from seglit.interop.mmseg.parts.segformer import several_features
from seglit.interop.mmseg.settings import Node, Settings, norm_of, relu_only

NORM = ({"type": "LN", "eps": 1e-6, "requires_grad": True}, {"type": "LN", "eps": 1e-6})


def up(settings: Settings) -> Node:
    """The node of a SETRUPHead."""
    settings.only("norm_layer", *NORM)
    return {
        "_target_": "seglit.heads.SETRUPHead",
        **head_arguments(settings),
        "num_convs": settings.take("num_convs", 1),
        "up_scale": settings.take("up_scale", 4),
        "kernel_size": settings.take("kernel_size", 3),
    }


def mla(settings: Settings) -> Node:
    """The node of a SETRMLAHead, whose channels are those of its levels together."""
    node = several_features(settings)
    del node["channels"]
    return {
        "_target_": "seglit.heads.SETRMLAHead",
        **node,
        "mla_channels": settings.take("mla_channels", 128),
        "up_scale": settings.take("up_scale", 4),
    }


def neck(settings: Settings) -> Node:
    """The node of an MLANeck."""
    settings.skip("type", "init_cfg", "in_channels")
    settings.only("norm_layer", *NORM)
    relu_only(settings)
    return {
        "_target_": "seglit.necks.MLANeck",
        "_partial_": True,
        "out_channels": settings.take("out_channels"),
        **norm_of(settings),
    }


NECK_RULES = (
    (r"^norm\.", "norms."),
    (r"^mla\.channel_proj\.", "laterals."),
    (r"^mla\.feat_extract\.", "levels."),
)
PARTS = (
    Part(("SETRUPHead",), up, rules=((r"^up_convs\.(\d+)\.0\.", r"convs.\1."),)),
    Part(("SETRMLAHead",), mla, rules=((r"^up_convs\.", "branches."),)),
    Part(("MLANeck",), neck, rules=NECK_RULES),
)
