"""What stands here for a part of MMSegmentation's networks, and how its parameters are called there."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from seglit.interop.mmseg.settings import Node, NodeOf, Settings, norm_of, relu_only

Replacement = str | Callable[[re.Match[str]], str]
Weights = dict[str, Tensor]

# What nearly all parts share: ConvModule's `bn` or `gn`, and the last convolution of a head.
COMMON: tuple[tuple[str, Replacement], ...] = ((r"(^|\.)(?:bn|gn)\.", r"\1norm."), (r"^conv_seg\.", "classifier."))


def as_they_are(weights: Mapping[str, Tensor]) -> Weights:
    """The weights unchanged."""
    return dict(weights)


@dataclass(frozen=True)
class Part:
    """A backbone, neck or head.

    Attributes:
        types: Its names in MMSegmentation's registry.
        node: From its settings to a node with `_target_`, and `_partial_` but for backbones.
        rules: From its parameters' names there to those here, both relative to the part: each pattern is replaced
            wherever it is found, one rule after the other, then `COMMON`. A name that becomes empty has no
            counterpart; one that begins with `/` is a name in the whole segmentor.
        convert: What has to be done to the values, or to names of older releases, before the rules; sees and gives
            all weights of the part, by their relative names.
        outputs: For a backbone or neck whose maps come in another order or number there: our index of each of
            theirs.
        further: For a head that supervises more than its prediction: further heads by name, as nodes.
    """

    types: tuple[str, ...]
    node: NodeOf
    rules: tuple[tuple[str, Replacement], ...] = ()
    convert: Callable[[Mapping[str, Tensor]], Weights] = as_they_are
    outputs: Callable[[Settings], Sequence[int]] | None = None
    further: Callable[[Settings], dict[str, Node]] | None = None

    def renamed(self, weights: Mapping[str, Tensor]) -> Weights:
        """Weights of the part by their names here; those without counterpart are left out."""
        named = {}
        for key, value in self.convert(weights).items():
            for pattern, replacement in (*self.rules, *COMMON):
                key = re.sub(pattern, replacement, key)
            if key:
                named[key] = value
        return named


def head_arguments(settings: Settings) -> Node:
    """What every head takes: `BaseDecodeHead`'s own arguments.

    `in_channels` is left out, as the features say it; losses and samplers belong to the criterion.
    """
    settings.skip("type", "in_channels", "loss_decode", "sampler", "ignore_index", "init_cfg", "conv_cfg", "threshold")
    relu_only(settings)
    transform = settings.take("input_transform", None)
    in_index = settings.take("in_index", -1)
    if transform is None and not isinstance(in_index, int):
        raise settings.unsupported("in_index", "several features need an input_transform")
    node: Node = {
        "_partial_": True,
        "num_classes": settings.take("num_classes"),
        "channels": settings.take("channels"),
        "in_index": in_index if isinstance(in_index, int) else list(in_index),
        # Any number that is not positive means none.
        "dropout_ratio": max(settings.take("dropout_ratio", 0.1), 0),
        "align_corners": settings.take("align_corners", False),
        **norm_of(settings),
    }
    out_channels = settings.take("out_channels", None)
    return node if out_channels is None else {**node, "out_channels": out_channels}


def several_features(settings: Settings) -> Node:
    """`head_arguments` of a head that reads several features as they are, which its own constructor says there."""
    settings.values.setdefault("input_transform", "multiple_select")
    settings.only("input_transform", "multiple_select")
    return head_arguments(settings)
