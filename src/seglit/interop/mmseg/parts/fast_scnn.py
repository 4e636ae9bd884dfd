"""FastSCNN and DepthwiseSeparableFCNHead."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts import fcn
from seglit.interop.mmseg.settings import Node, Settings, norm_of, relu_only


def node(settings: Settings) -> Node:
    """The node of a FastSCNN."""
    settings.skip(
        "type", "in_channels", "init_cfg", "conv_cfg", "out_indices", "higher_in_channels", "lower_in_channels"
    )
    relu_only(settings)
    settings.only("dw_act_cfg", None)
    if tuple(settings.take("global_block_strides", (2, 2, 1))) != (2, 2, 1):
        raise settings.unsupported("global_block_strides", "there is only (2, 2, 1)")
    channels = settings.take("global_out_channels", 128)
    if settings.take("fusion_out_channels", 128) != channels:
        raise settings.unsupported("fusion_out_channels", f"must be {channels}, as global_out_channels")
    shared = [*settings.take("downsample_dw_channels", (32, 48)), settings.take("global_in_channels", 64)]
    return {
        "_target_": "seglit.backbones.FastSCNN",
        "shared_channels": shared,
        "stage_channels": list(settings.take("global_block_channels", (64, 96, 128))),
        "channels": channels,
        "align_corners": settings.take("align_corners", False),
        **norm_of(settings),
    }


def outputs(settings: Settings) -> list[int]:
    """The fused map comes last there."""
    return [(0, 2, 1)[index] for index in settings.take("out_indices", (0, 1, 2))]


def head_node(settings: Settings) -> Node:
    """The node of an FCNHead of separable convolutions, none of which is dilated."""
    settings.only("dw_act_cfg", None)
    settings.skip("dilation")
    return {**fcn.node(settings), "dilation": 1, "separable": True}


RULES = (
    (r"^learning_to_downsample\.conv\.", "shared.0."),
    (r"^learning_to_downsample\.dsconv(\d)\.", r"shared.\1."),
    (r"^global_feature_extractor\.bottleneck1\.", "stages.0."),
    (r"^global_feature_extractor\.bottleneck2\.", "stages.1."),
    (r"^global_feature_extractor\.bottleneck3\.", "stages.2."),
    (r"^global_feature_extractor\.ppm\.(\d)\.1\.", r"pools.\1."),
    (r"^global_feature_extractor\.out\.", "context."),
    (r"^(stages\.\d\.\d)\.conv\.0\.", r"\1.expand."),
    (r"^(stages\.\d\.\d)\.conv\.1\.", r"\1.depthwise."),
    (r"^(stages\.\d\.\d)\.conv\.2\.", r"\1.project."),
    (r"^feature_fusion\.dwconv\.", "depthwise."),
    (r"^feature_fusion\.conv_lower_res\.", "pointwise."),
    (r"^feature_fusion\.conv_higher_res\.", "detail."),
    (r"\.(depthwise|pointwise)_conv\.", r".\1."),
)
HEAD_RULES = (*fcn.RULES, (r"\.(depthwise|pointwise)_conv\.", r".\1."))
PARTS = (
    Part(("FastSCNN",), node, rules=RULES, outputs=outputs),
    Part(("DepthwiseSeparableFCNHead",), head_node, rules=HEAD_RULES),
)
