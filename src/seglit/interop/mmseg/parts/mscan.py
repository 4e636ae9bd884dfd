"""MSCAN."""

import re
from collections.abc import Mapping

from torch import Tensor

from seglit.interop.mmseg.part import Part, Weights
from seglit.interop.mmseg.parts.transformer import gelu_only
from seglit.interop.mmseg.settings import Node, Settings, norm_of


def node(settings: Settings) -> Node:
    """The node of an MSCAN."""
    settings.skip("type", "init_cfg", "pretrained", "num_stages")
    settings.only("in_channels", 3)
    settings.only("drop_rate", 0.0)
    settings.only("attention_kernel_sizes", [5, [1, 7], [1, 11], [1, 21]])
    settings.only("attention_kernel_paddings", [2, [0, 3], [0, 5], [0, 10]])
    gelu_only(settings)
    return {
        "_target_": "seglit.backbones.MSCAN",
        "embed_dims": list(settings.take("embed_dims", (64, 128, 256, 512))),
        "depths": list(settings.take("depths", (3, 4, 6, 3))),
        "mlp_ratios": list(settings.take("mlp_ratios", (4, 4, 4, 4))),
        "drop_path_rate": settings.take("drop_path_rate", 0.0),
        **norm_of(settings),
    }


def convert(weights: Mapping[str, Tensor]) -> Weights:
    """The factors of the channels, as wide as a map's."""
    return {key: value[:, None, None] if ".layer_scale_" in key else value for key, value in weights.items()}


def of_stage(match: re.Match[str]) -> str:
    """Stages are counted from 1 there, and their parts lie beside each other."""
    word = {"block": "blocks"}.get(match[1], match[1])
    return f"stages.{int(match[2]) - 1}.{word}."


def of_stem(match: re.Match[str]) -> str:
    """Two convolutions with normalisations, and an activation between."""
    block, member = divmod(int(match[1]), 3)
    return f"stages.0.patch_embed.{block}.{('conv', 'norm')[member]}."


RULES = (
    (r"^patch_embed1\.proj\.(\d)\.", of_stem),
    (r"^(patch_embed)(\d)\.", of_stage),
    (r"^(block|norm)(\d)\.", of_stage),
    (r"\.patch_embed\.proj\.", ".patch_embed.0.conv."),
    (r"\.patch_embed\.norm\.", ".patch_embed.0.norm."),
    (r"\.attn\.proj_1\.", ".attn.before."),
    (r"\.attn\.proj_2\.", ".attn.after."),
    (r"\.spatial_gating_unit\.conv0\.", ".local."),
    (r"\.spatial_gating_unit\.conv3\.", ".mix."),
    (r"\.spatial_gating_unit\.conv(\d)_1\.", r".strips.\1.0."),
    (r"\.spatial_gating_unit\.conv(\d)_2\.", r".strips.\1.1."),
    (r"\.mlp\.fc1\.", ".mlp.hidden."),
    (r"\.mlp\.dwconv\.", ".mlp.depthwise."),
    (r"\.mlp\.fc2\.", ".mlp.out."),
    (r"\.layer_scale_(\d)$", r".gamma\1"),
)
PARTS = (Part(("MSCAN",), node, rules=RULES, convert=convert),)
