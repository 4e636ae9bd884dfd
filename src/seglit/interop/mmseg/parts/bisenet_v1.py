"""BiSeNetV1."""

from collections.abc import Mapping

from torch import Tensor

from seglit.interop.mmseg.part import Part, Weights
from seglit.interop.mmseg.parts import resnet
from seglit.interop.mmseg.settings import Node, Settings

WITHIN = "context_path.backbone."
RESNET = next(part for part in resnet.PARTS if "ResNet" in part.types)


def node(settings: Settings) -> Node:
    """The node of a BiSeNetV1, whose own layers have batch normalisation whatever the settings say."""
    settings.skip("type", "in_channels", "init_cfg", "conv_cfg", "norm_cfg", "act_cfg", "align_corners", "out_indices")
    backbone = settings.within("backbone_cfg")
    if backbone.type not in RESNET.types:
        raise backbone.unsupported("type", f"there are only {', '.join(RESNET.types)}")
    spatial = list(settings.take("spatial_channels", (64, 64, 64, 128)))
    context, fused, _ = settings.take("context_channels", (128, 256, 512))
    if fused != spatial[-1] + context:
        raise settings.unsupported("context_channels", f"the second must be {spatial[-1] + context}")
    return {
        "_target_": "seglit.backbones.BiSeNetV1",
        "backbone": RESNET.node(backbone),
        "spatial_channels": spatial,
        "context_channels": context,
        "fused_channels": settings.take("out_channels", 256),
    }


def outputs(settings: Settings) -> list[int]:
    """Which maps are given."""
    return list(settings.take("out_indices", (0, 1, 2)))


def convert(weights: Mapping[str, Tensor]) -> Weights:
    """The weights of the ResNet by our names."""
    inner = {key.removeprefix(WITHIN): value for key, value in weights.items() if key.startswith(WITHIN)}
    own = {key: value for key, value in weights.items() if not key.startswith(WITHIN)}
    return own | {f"backbone.{key}": value for key, value in RESNET.renamed(inner).items()}


RULES = (
    (r"^context_path\.arm32\.", "context.refinements.0."),
    (r"^context_path\.arm16\.", "context.refinements.1."),
    (r"^(context\.refinements\.\d)\.conv_layer\.", r"\1.conv."),
    (r"^(context\.refinements\.\d)\.atten_conv_layer\.1\.", r"\1.attention."),
    (r"^context_path\.conv_head32\.", "context.convs.0."),
    (r"^context_path\.conv_head16\.", "context.convs.1."),
    (r"^context_path\.gap_conv\.1\.", "context.whole."),
    (r"^spatial_path\.layer(\d)\.", lambda match: f"spatial.{int(match[1]) - 1}."),
    (r"^ffm\.conv1\.", "fusion."),
    (r"^ffm\.conv_atten\.0\.", "attention."),
)
PARTS = (Part(("BiSeNetV1",), node, rules=RULES, convert=convert, outputs=outputs),)
