"""BiSeNetV2."""

import re

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a BiSeNetV2, whose branches have batch normalisation and ReLU whatever the settings say."""
    settings.skip("type", "in_channels", "init_cfg", "conv_cfg", "norm_cfg", "act_cfg", "pretrained", "out_indices")
    detail = list(settings.take("detail_channels", (64, 64, 128)))
    if settings.take("bga_channels", 128) != detail[-1]:
        raise settings.unsupported("bga_channels", f"must be {detail[-1]}, the last of detail_channels")
    return {
        "_target_": "seglit.backbones.BiSeNetV2",
        "detail_channels": detail,
        "semantic_channels": list(settings.take("semantic_channels", (16, 32, 64, 128))),
        "expansion": settings.take("semantic_expansion_ratio", 6),
        "align_corners": settings.take("align_corners", False),
    }


def outputs(settings: Settings) -> list[int]:
    """The fused map comes first there."""
    return [(1, 0, 2, 3, 4)[index] for index in settings.take("out_indices", (0, 1, 2, 3, 4))]


def of_stage(match: re.Match[str]) -> str:
    """The stages after the stem are counted from 2 there."""
    return f"stages.{int(match[1]) - 2}."


RULES = (
    (r"^detail\.detail_branch\.", "detail."),
    (r"^semantic\.stage1\.conv_first\.", "stem.first."),
    (r"^semantic\.stage1\.fuse_last\.", "stem.last."),
    (r"^semantic\.stage1\.", "stem."),
    (r"^semantic\.stage4_CEBlock\.gap\.1\.", "context.norm."),
    (r"^semantic\.stage4_CEBlock\.conv_gap\.", "context.whole."),
    (r"^semantic\.stage4_CEBlock\.conv_last\.", "context.last."),
    (r"^semantic\.stage(\d)\.", of_stage),
    (r"\.conv1\.", ".gather."),
    (r"\.dwconv\.", ".expand."),
    (r"\.conv2\.0\.", ".project."),
    (r"\.shortcut\.0\.depthwise_conv\.", ".shortcut.0."),
    (r"\.shortcut\.0\.pointwise_conv\.", ".shortcut.1."),
    (r"^bga\.(detail|semantic)_dwconv\.0\.depthwise_conv\.", r"fusion.\1.0."),
    (r"^bga\.(detail|semantic)_dwconv\.0\.pointwise_conv\.conv\.", r"fusion.\1.1."),
    (r"^bga\.detail_down\.0\.", "fusion.detail_down."),
    (r"^bga\.semantic_conv\.0\.", "fusion.semantic_up."),
    (r"^bga\.conv\.", "fusion.last."),
)
PARTS = (Part(("BiSeNetV2",), node, rules=RULES, outputs=outputs),)
