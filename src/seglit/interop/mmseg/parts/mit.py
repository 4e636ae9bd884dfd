"""MixVisionTransformer."""

from collections.abc import Mapping

from torch import Tensor

from seglit.interop.mmseg.part import Part, Weights
from seglit.interop.mmseg.parts.transformer import ALL_STAGES, common, joined_attention, norm_eps_of
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a MixVisionTransformer."""
    common(
        settings,
        out_indices=ALL_STAGES,
        drop_rate=(0.0,),
        patch_sizes=([7, 3, 3, 3], (7, 3, 3, 3)),
        strides=([4, 2, 2, 2], (4, 2, 2, 2)),
    )
    return {
        "_target_": "seglit.backbones.MixVisionTransformer",
        "embed_dims": settings.take("embed_dims", 64),
        "num_layers": list(settings.take("num_layers", (3, 4, 6, 3))),
        "num_heads": list(settings.take("num_heads", (1, 2, 4, 8))),
        "sr_ratios": list(settings.take("sr_ratios", (8, 4, 2, 1))),
        "mlp_ratio": settings.take("mlp_ratio", 4),
        "drop_path_rate": settings.take("drop_path_rate", 0.0),
        "norm_eps": norm_eps_of(settings, 1e-6),
    }


def convert(weights: Mapping[str, Tensor]) -> Weights:
    """Query apart from key and value; the perceptrons' 1 x 1 convolutions as linear layers."""
    converted = {}
    for key, value in joined_attention(weights).items():
        before, qkv, leaf = key.partition(".attn.qkv.")
        if qkv:
            channels = len(value) // 3
            converted[f"{before}.attn.query.{leaf}"] = value[:channels]
            converted[f"{before}.attn.key_value.{leaf}"] = value[channels:]
        elif key.endswith((".ffn.layers.0.weight", ".ffn.layers.4.weight")):
            converted[key] = value.flatten(1)
        else:
            converted[key] = value
    return converted


RULES = (
    (r"^layers\.(\d)\.0\.projection\.", r"stages.\1.patch_embed.conv."),
    (r"^layers\.(\d)\.0\.norm\.", r"stages.\1.patch_embed.norm."),
    (r"^layers\.(\d)\.1\.", r"stages.\1.blocks."),
    (r"^layers\.(\d)\.2\.", r"stages.\1.norm."),
    (r"\.attn\.sr\.", ".attn.reduction.conv."),
    (r"\.attn\.norm\.", ".attn.reduction.norm."),
    (r"\.ffn\.layers\.0\.", ".mlp.hidden."),
    (r"\.ffn\.layers\.1\.", ".mlp.depthwise."),
    (r"\.ffn\.layers\.4\.", ".mlp.out."),
)
PARTS = (Part(("MixVisionTransformer",), node, rules=RULES, convert=convert),)
