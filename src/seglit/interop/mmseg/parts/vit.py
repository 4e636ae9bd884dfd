"""VisionTransformer."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts.transformer import MLP_RULES, common, joined_attention, norm_eps_of
from seglit.interop.mmseg.settings import Node, Settings


def node(settings: Settings) -> Node:
    """The node of a VisionTransformer."""
    common(
        settings,
        patch_pad=("corner",),
        out_origin=(False,),
        output_cls_token=(False,),
        patch_norm=(False,),
        pre_norm=(False,),
        num_fcs=(2,),
        norm_eval=(False, True),  # of batch normalisation, which it has not
        frozen_exclude=(["all"],),
    )
    out_indices = settings.take("out_indices", -1)
    return {
        "_target_": "seglit.backbones.VisionTransformer",
        "image_size": sides(settings),
        "patch_size": settings.take("patch_size", 16),
        "embed_dims": settings.take("embed_dims", 768),
        "num_layers": settings.take("num_layers", 12),
        "num_heads": settings.take("num_heads", 12),
        "mlp_ratio": settings.take("mlp_ratio", 4),
        "out_indices": [out_indices] if isinstance(out_indices, int) else list(out_indices),
        "with_cls_token": settings.take("with_cls_token", True),
        "patch_bias": settings.take("patch_bias", False),
        "final_norm": settings.take("final_norm", False),
        "drop_rate": settings.take("drop_rate", 0.0),
        "drop_path_rate": settings.take("drop_path_rate", 0.0),
        "interpolate_mode": settings.take("interpolate_mode", "bicubic"),
        "norm_eps": norm_eps_of(settings, 1e-5),
    }


def sides(settings: Settings) -> list[int]:
    """Height and width of `img_size`, one number being both."""
    size = settings.take("img_size", 224)
    given = [size] if isinstance(size, int) else list(size)
    return given * 2 if len(given) == 1 else given


RULES = (
    (r"^patch_embed\.projection\.", "patch_embed.conv."),
    (r"^layers\.", "blocks."),
    (r"\.ln(\d)\.", r".norm\1."),
    (r"^ln1\.", "norm."),
    *MLP_RULES,
)
PARTS = (Part(("VisionTransformer",), node, rules=RULES, convert=joined_attention),)
