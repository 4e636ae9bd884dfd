"""ConvNeXt, which MMSegmentation takes from MMPretrain."""

from seglit.interop.mmseg.part import Part
from seglit.interop.mmseg.parts.transformer import ALL_STAGES, gelu_only, norm_eps_of
from seglit.interop.mmseg.settings import Node, Settings

ARCHITECTURES = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "xlarge": ((3, 3, 27, 3), (256, 512, 1024, 2048)),
}


def node(settings: Settings) -> Node:
    """The node of a ConvNeXt."""
    settings.skip("type", "init_cfg", "pretrained", "with_cp", "linear_pw_conv")
    for key, values in {
        "in_channels": (3,),
        "stem_patch_size": (4,),
        "frozen_stages": (0,),
        "use_grn": (False,),
    }.items():
        settings.only(key, *values)
    gelu_only(settings)
    # The default there is the last stage alone, without the normalisations of the others, which are here.
    if settings.take("out_indices", -1) not in ALL_STAGES:
        raise settings.unsupported("out_indices", "there are only all four stages")
    # Where the maps themselves are given, it is no mean of them that is normalised.
    if settings.take("gap_before_final_norm", True):
        raise settings.unsupported("gap_before_final_norm", "there is only False")
    depths, channels = architecture(settings)
    return {
        "_target_": "seglit.backbones.ConvNeXt",
        "depths": list(depths),
        "channels": list(channels),
        "drop_path_rate": settings.take("drop_path_rate", 0.0),
        "layer_scale_init_value": settings.take("layer_scale_init_value", 1e-6),
        "norm_eps": norm_eps_of(settings, 1e-6),
    }


def architecture(settings: Settings) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Depths and channels, which have a name or stand there."""
    named = settings.take("arch", "tiny")
    if isinstance(named, str):
        if named not in ARCHITECTURES:
            raise settings.unsupported("arch", f"there are only {', '.join(ARCHITECTURES)}")
        return ARCHITECTURES[named]
    return tuple(named["depths"]), tuple(named["channels"])


RULES = (
    (r"^downsample_layers\.0\.0\.", "stem.conv."),
    (r"^downsample_layers\.0\.1\.", "stem.norm."),
    (r"^downsample_layers\.(\d)\.0\.", r"stages.\1.downsample.norm."),
    (r"^downsample_layers\.(\d)\.1\.", r"stages.\1.downsample.conv."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.depthwise_conv\.", ".depthwise."),
    (r"\.pointwise_conv1\.", ".mlp.hidden."),
    (r"\.pointwise_conv2\.", ".mlp.out."),
    (r"^norm(\d)\.", r"norms.\1."),
)
PARTS = (Part(("ConvNeXt", "mmpretrain.ConvNeXt", "mmcls.ConvNeXt"), node, rules=RULES),)
