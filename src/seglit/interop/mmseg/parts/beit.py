"""BEiT and MAE."""

from collections.abc import Mapping

import torch
from torch import Tensor

from seglit.interop.mmseg.part import Part, Weights
from seglit.interop.mmseg.parts.transformer import MLP_RULES, common, norm_eps_of
from seglit.interop.mmseg.parts.vit import sides
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a BEiT."""
    variant = settings.type.lower()
    common(settings, patch_norm=(False,), final_norm=(False,), num_fcs=(2,), norm_eval=(False, True))
    if variant == "beit":
        settings.only("qv_bias", True)
    out_indices = settings.take("out_indices", -1)
    return {
        "_target_": "seglit.backbones.BEiT",
        "image_size": sides(settings),
        "patch_size": settings.take("patch_size", 16),
        "embed_dims": settings.take("embed_dims", 768),
        "num_layers": settings.take("num_layers", 12),
        "num_heads": settings.take("num_heads", 12),
        "mlp_ratio": settings.take("mlp_ratio", 4),
        "out_indices": [out_indices] if isinstance(out_indices, int) else list(out_indices),
        "variant": variant,
        "drop_path_rate": settings.take("drop_path_rate", 0.0),
        "init_values": settings.take("init_values", 0.1),
        "norm_eps": norm_eps_of(settings, 1e-5),
    }


def convert(weights: Mapping[str, Tensor]) -> Weights:
    """The biases of query and value as those of one layer, of which that of the key, which it lacks there, is zero."""
    converted = dict(weights)
    for key in weights:
        if key.endswith(".attn.q_bias"):
            before = key.removesuffix("q_bias")
            query, value = converted.pop(key), converted.pop(f"{before}v_bias")
            converted[f"{before}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return converted


RULES = (
    (r"^patch_embed\.projection\.", "patch_embed.conv."),
    (r"^layers\.", "blocks."),
    (r"\.ln(\d)\.", r".norm\1."),
    (r"\.gamma_(\d)$", r".gamma\1"),
    (r"\.attn\.proj\.", ".attn.out."),
    (r".*\.relative_position_index$", ""),
    *MLP_RULES,
)
PARTS = (Part(("BEiT", "MAE"), node, rules=RULES, convert=convert),)
