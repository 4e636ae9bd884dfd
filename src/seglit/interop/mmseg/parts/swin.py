"""SwinTransformer."""

import re

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts.transformer import ALL_STAGES, MLP_RULES, common, norm_eps_of
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a SwinTransformer."""
    common(
        settings,
        out_indices=ALL_STAGES,
        drop_rate=(0.0,),
        patch_size=(4,),
        strides=((4, 2, 2, 2), [4, 2, 2, 2]),
        qk_scale=(None,),
        patch_norm=(True,),
        use_abs_pos_embed=(False,),
        frozen_stages=(-1,),
    )
    # The size to which the absolute embeddings of positions belong, which are not used.
    settings.skip("pretrain_img_size")
    return {
        "_target_": "seglit.backbones.SwinTransformer",
        "embed_dims": settings.take("embed_dims", 96),
        "depths": list(settings.take("depths", (2, 2, 6, 2))),
        "num_heads": list(settings.take("num_heads", (3, 6, 12, 24))),
        "window_size": settings.take("window_size", 7),
        "mlp_ratio": settings.take("mlp_ratio", 4),
        "drop_path_rate": settings.take("drop_path_rate", 0.1),
        "norm_eps": norm_eps_of(settings, 1e-5),
    }


def of_downsample(match: re.Match[str]) -> str:
    """The resolution is halved at a stage's end there, at the next one's beginning here."""
    return f"stages.{int(match[1]) + 1}.downsample."


RULES = (
    (r"^patch_embed\.projection\.", "patch_embed.conv."),
    (r"^stages\.(\d)\.downsample\.", of_downsample),
    (r"^norm(\d)\.", r"norms.\1."),
    (r".*\.relative_position_index$", ""),
    (r"\.attn\.w_msa\.proj\.", ".attn.out."),
    (r"\.attn\.w_msa\.", ".attn."),
    *MLP_RULES,
)
PARTS = (Part(("SwinTransformer",), node, rules=RULES),)
