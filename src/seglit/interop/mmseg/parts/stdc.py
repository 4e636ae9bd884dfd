"""STDCContextPathNet and STDCHead."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts import fcn
from seglit.interop.mmseg.parts.ddr import plain_norm
from seglit.interop.mmseg.settings import Node, Settings, relu_only

VARIANTS = {"STDCNet1": 1, "STDCNet2": 2}


def node(settings: Settings) -> Node:
    """The node of an STDC with its context path."""
    settings.skip("type", "init_cfg", "last_in_channels")
    settings.only("upsample_mode", "nearest")
    settings.only("align_corners", None)
    plain_norm(settings)
    stages = settings.within("backbone_cfg")
    if stages.type != "STDCNet":
        raise stages.unsupported("type", "there is only STDCNet")
    stages.skip("in_channels", "init_cfg", "pretrained")
    relu_only(stages)
    plain_norm(stages)
    stages.only("bottleneck_type", "cat")
    stages.only("with_final_conv", False)
    kind = stages.take("stdc_type")
    if kind not in VARIANTS:
        raise stages.unsupported("stdc_type", f"there are only {', '.join(VARIANTS)}")
    return {
        "_target_": "seglit.backbones.STDC",
        "variant": VARIANTS[kind],
        "channels": list(stages.take("channels")),
        "num_convs": stages.take("num_convs", 4),
        "context_channels": settings.take("out_channels", 128),
        "fused_channels": fused_channels(settings),
    }


def fused_channels(settings: Settings) -> int:
    """Those of the fusion module."""
    if settings.take("ffm_cfg", None) is None:
        return 256
    fusion = settings.within("ffm_cfg")
    fusion.skip("in_channels")
    fusion.only("scale_factor", 4)
    relu_only(fusion)
    plain_norm(fusion)
    return int(fusion.take("out_channels"))


def outputs(settings: Settings) -> list[int]:
    """Detail, then the contexts from deep to shallow, and the fused map last there."""
    return [0, 3, 1, 2]


def head_node(settings: Settings) -> Node:
    """The node of an FCNHead; how labels become boundaries belongs to the criterion."""
    settings.skip("boundary_threshold")
    return fcn.node(settings)


RULES = (
    (r"^backbone\.stages\.0\.", "stem.0."),
    (r"^backbone\.stages\.1\.", "stem.1."),
    (r"^backbone\.stages\.(\d)\.", lambda match: f"stages.{int(match[1]) - 2}."),
    (r"^(stages\.\d\.\d+)\.layers\.", r"\1.convs."),
    (r"^arms\.(\d)\.conv_layer\.", r"context.refinements.\1.conv."),
    (r"^arms\.(\d)\.atten_conv_layer\.1\.", r"context.refinements.\1.attention."),
    (r"^conv_avg\.", "context.whole."),
    (r"^convs\.", "context.convs."),
    (r"^ffm\.conv0\.", "fusion.conv."),
    (r"^ffm\.attention\.1\.conv\.", "fusion.squeeze."),
    (r"^ffm\.attention\.2\.conv\.", "fusion.excite."),
)
HEAD_RULES = (*fcn.RULES, (r"^(laplacian_kernel|fusion_kernel)$", ""))
PARTS = (
    Part(("STDCContextPathNet",), node, rules=RULES, outputs=outputs),
    Part(("STDCHead",), head_node, rules=HEAD_RULES),
)
