"""ResNet, ResNetV1c, ResNetV1d and ResNeSt."""

import re
from collections.abc import Mapping

from torch import Tensor

from seglit.interop.mmseg.part import Part, Weights
from seglit.interop.mmseg.settings import Node, Settings, norm_of

VARIANTS = {"ResNet": "v1b", "ResNetV1c": "v1c", "ResNetV1d": "v1d", "ResNeSt": "resnest"}
OUTPUT_STRIDES = {(1, 2, 1, 1): 8, (1, 2, 2, 1): 16, (1, 2, 2, 2): 32}


def node(settings: Settings) -> Node:
    """The node of a ResNet."""
    strides = tuple(settings.take("strides", (1, 2, 2, 2)))
    if strides not in OUTPUT_STRIDES:
        raise settings.unsupported("strides", f"there are only {', '.join(map(str, OUTPUT_STRIDES))}")
    settings.skip("init_cfg", "pretrained", "with_cp", "in_channels", "conv_cfg", "out_indices")
    settings.only("num_stages", 4)
    settings.only("style", "pytorch")
    settings.only("dcn", None)
    settings.only("plugins", None)
    if settings.type == "ResNet":
        settings.only("deep_stem", False)
        settings.only("avg_down", False)
    zero_init_residual = settings.take("zero_init_residual", True)
    if settings.type == "ResNeSt":
        for key, value in {"groups": 1, "radix": 2, "reduction_factor": 4, "avg_down_stride": True}.items():
            settings.only(key, value)
        settings.skip("base_width")  # Without effect where there is one group.
        zero_init_residual = False  # Only the plain blocks begin so there.
    multi_grid = settings.take("multi_grid", None)
    return {
        "_target_": "seglit.backbones.ResNet",
        "depth": settings.take("depth"),
        "variant": VARIANTS[settings.type],
        "output_stride": OUTPUT_STRIDES[strides],
        "dilations": list(settings.take("dilations", (1, 1, 1, 1))),
        "base_channels": settings.take("base_channels", 64),
        "stem_channels": settings.take("stem_channels", 64),
        "contract_dilation": settings.take("contract_dilation", False),
        "multi_grid": None if multi_grid is None else list(multi_grid),
        "frozen_stages": settings.take("frozen_stages", -1),
        "norm_eval": settings.take("norm_eval", False),
        "zero_init_residual": zero_init_residual,
        **norm_of(settings),
    }


def outputs(settings: Settings) -> list[int]:
    """Which stages are given."""
    return list(settings.take("out_indices", (0, 1, 2, 3)))


def of_stem(match: re.Match[str]) -> str:
    """A deep stem is one Sequential there: convolution, norm and ReLU of our block i are its members from 3i."""
    block, member = divmod(int(match[1]), 3)
    return f"stem.{block}.{('conv', 'norm')[member]}."


def of_timm(weights: Mapping[str, Tensor]) -> Weights:
    """A deep stem as timm calls it, a Sequential up to the last convolution, by MMSegmentation's names."""
    if "conv1.0.weight" not in weights:
        return dict(weights)
    return {re.sub(r"^bn1\.", "stem.7.", re.sub(r"^conv1\.", "stem.", key)): value for key, value in weights.items()}


RULES = (
    (r"^stem\.(\d+)\.", of_stem),
    (r"^conv1\.", "stem.0.conv."),
    (r"^bn1\.", "stem.0.norm."),
    (r"^(layer\d\.\d+)\.bn(\d)\.", r"\1.norm\2."),
)
PLAIN = ((r"\.downsample\.0\.", ".downsample.conv."), (r"\.downsample\.1\.", ".downsample.norm."))
POOLED = ((r"\.downsample\.1\.", ".downsample.conv."), (r"\.downsample\.2\.", ".downsample.norm."))
SPLIT = (
    (r"\.conv2\.bn0\.", ".conv2.norm."),
    (r"\.conv2\.fc1\.", ".conv2.squeeze."),
    (r"\.conv2\.bn1\.", ".conv2.squeeze_norm."),
    (r"\.conv2\.fc2\.", ".conv2.scores."),
)
PARTS = (
    Part(("ResNet", "ResNetV1c"), node, rules=RULES + PLAIN, convert=of_timm, outputs=outputs),
    Part(("ResNetV1d",), node, rules=RULES + POOLED, convert=of_timm, outputs=outputs),
    Part(("ResNeSt",), node, rules=SPLIT + RULES + POOLED, outputs=outputs),
)
