"""FPN and FPNHead."""

import re

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts.segformer import several_features
from seglit.interop.mmseg.settings import Node, Settings


def neck(settings: Settings) -> Node:
    """The node of an FPN, which has as many maps as the backbone."""
    # The strings say how further maps would be made, of which there are none.
    settings.skip(
        "type", "init_cfg", "conv_cfg", "relu_before_extra_convs", "extra_convs_on_inputs", "no_norm_on_lateral"
    )
    for key, value in {"start_level": 0, "end_level": -1, "norm_cfg": None, "act_cfg": None}.items():
        settings.only(key, value)
    settings.only("upsample_cfg", {"mode": "nearest"})
    settings.skip("add_extra_convs")
    if settings.take("num_outs") != len(settings.take("in_channels")):
        raise settings.unsupported("num_outs", "there are as many maps as in_channels")
    return {"_target_": "seglit.necks.FPN", "_partial_": True, "out_channels": settings.take("out_channels")}


def node(settings: Settings) -> Node:
    """The node of an FPNHead, which knows the strides of its features."""
    settings.skip("feature_strides")
    return {"_target_": "seglit.heads.FPNHead", **several_features(settings)}


def of_branch(match: re.Match[str]) -> str:
    """Convolutions and enlargements take turns there."""
    return f"branches.{match[1]}.{int(match[2]) // 2}."


NECK_RULES = ((r"^lateral_convs\.(\d+)\.conv\.", r"laterals.\1."), (r"^(?:fpn_)?convs\.(\d+)\.conv\.", r"levels.\1."))
PARTS = (
    Part(("FPN",), neck, rules=NECK_RULES),
    Part(("FPNHead",), node, rules=((r"^scale_heads\.(\d+)\.(\d+)\.", of_branch),)),
)
