"""What every head has: a feature to read, dropout and a linear classifier."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.features import FeatureSpec, feature_at

Features = Sequence[Float[Tensor, "batch _ _ _"]]


class Head(nn.Module, ABC):
    """From features to logits. A subclass makes its layers and fills in `embed`.

    The classifier begins, as MMSegmentation's, with weights from N(0, 0.01^2) and a bias of zero.

    Attributes:
        num_classes: Number of classes.
        out_channels: Channels of the logits: `num_classes`, or 1 where a sigmoid tells class 1 from class 0.
        align_corners: How the logits are to be resized to the image, by whoever does so.
        stride: Image pixels per step of the logits: those of the feature, of several the finest, unless the head
            climbs to another.
        specs: What is known of each feature that the head reads, in the order of `in_index`.
        in_channels: Channels of the feature that the head reads, of several in sum.
        channels: Channels of what `embed` returns.
        refines: For a class of heads that improve on another's logits: the name of that auxiliary head, whose
            logits `forward` then takes after the features, in evaluation too.
        further: For a class of heads that give more than their prediction in training: the names of what else
            `outputs` gives, as many channels at the same stride, which the loss is to see too.

    Args:
        feature_specs: What the backbone gives, highest resolution first.
        num_classes: Number of classes, at least 2.
        channels: Channels of what `embed` returns; None for a quarter of `in_channels`.
        in_index: Which feature to read: 0 is the highest resolution, -1 the deepest. Or several.
        dropout_ratio: Probability with which training zeroes a whole channel before the classifier.
        align_corners: Whether the centres of corner pixels stay in place when maps are resized.
        out_channels: None for one per class, or 1 for a binary head.

    Raises:
        ValueError: If `in_index` names no feature or none at all, or if classes and channels of the logits do not fit.
    """

    refines: ClassVar[str | None] = None
    further: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None,
        in_index: int | Sequence[int],
        dropout_ratio: float,
        align_corners: bool,
        out_channels: int | None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"num_classes counts the background too and must be at least 2, got {num_classes}; "
                f"for one foreground class take num_classes=2, with out_channels=1 for a sigmoid"
            )
        if out_channels not in (None, num_classes) and (out_channels, num_classes) != (1, 2):
            raise ValueError(
                f"out_channels must be num_classes, or 1 where num_classes is 2; "
                f"got out_channels={out_channels} with num_classes={num_classes}"
            )
        self.in_index = (in_index,) if isinstance(in_index, int) else tuple(in_index)
        if not self.in_index:
            raise ValueError("in_index names no feature at all")
        self.specs = tuple(feature_at(feature_specs, index) for index in self.in_index)
        self.num_classes = num_classes
        self.out_channels = num_classes if out_channels is None else out_channels
        self.align_corners = align_corners
        self.stride = min(spec.stride for spec in self.specs)
        self.in_channels = sum(spec.channels for spec in self.specs)
        self.channels = max(self.in_channels // 4, 1) if channels is None else channels
        self.dropout = nn.Dropout2d(dropout_ratio)
        self.classifier = nn.Conv2d(self.channels, self.out_channels, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.get_parameter("bias"))

    @abstractmethod
    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """What the classifier sees, at `stride`.

        Args:
            features: All that the backbone gives; `chosen` and `feature` pick from them.
        """

    def chosen(self, features: Features) -> list[Float[Tensor, "batch _ _ _"]]:
        """The features that the head reads, in the order of `in_index`."""
        return [features[index] for index in self.in_index]

    def feature(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature that the head reads; several are resized to the finest and lie one after the other."""
        chosen = self.chosen(features)
        strides = [spec.stride for spec in self.specs]
        finest = chosen[strides.index(min(strides))]
        if len(chosen) == 1:
            return finest
        return torch.cat([resized(feature, finest, self.align_corners) for feature in chosen], dim=1)

    def finest_first(self) -> None:
        """Check that the first feature is the finest, for heads that bring all to its resolution.

        Raises:
            ValueError: If not.
        """
        if self.specs[0].stride != self.stride:
            raise ValueError(
                f"in_index={list(self.in_index)} must begin with the finest feature, got strides "
                f"{[spec.stride for spec in self.specs]}"
            )

    def forward(self, features: Features) -> Float[Tensor, "batch _ _ _"]:
        """Logits at `stride`."""
        logits: Tensor = self.classifier(self.dropout(self.embed(features)))
        return logits

    def outputs(self, features: Features) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """What training supervises: the logits of `forward` by the empty name, and those that `further` names."""
        return {"": self(features)}


def resized(
    x: Float[Tensor, "batch channels _ _"], like: Float[Tensor, "batch _ height width"], align_corners: bool
) -> Float[Tensor, "batch channels height width"]:
    """A map at the size of another, by bilinear interpolation; itself where it has that size."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
