"""What a backbone says about its features, so that no channel count is ever typed twice."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class FeatureSpec:
    """One feature map of a backbone.

    Attributes:
        channels: The number of channels.
        stride: How many image pixels one step on the map spans; n pixels give about n / stride steps.
    """

    channels: int
    stride: int


def feature_specs_of(part: nn.Module) -> tuple[FeatureSpec, ...]:
    """The `feature_specs` that a backbone or neck publishes.

    Raises:
        ValueError: If there are none, or if they are not in the order of resolution, highest first.
    """
    specs = getattr(part, "feature_specs", None)
    name = type(part).__name__
    if not isinstance(specs, tuple) or not specs or not all(isinstance(spec, FeatureSpec) for spec in specs):
        raise ValueError(
            f"{name} must have an attribute feature_specs, a tuple with one FeatureSpec for each map that "
            f"its forward returns, got {specs!r}"
        )
    strides = [spec.stride for spec in specs]
    if strides != sorted(strides):
        raise ValueError(f"{name} must give its features highest resolution first, got strides {strides}")
    return specs


def feature_at(specs: Sequence[FeatureSpec], in_index: int) -> FeatureSpec:
    """The feature that `in_index` names: 0 is the highest resolution, -1 the deepest.

    Raises:
        ValueError: If there is no such feature, with a list of those that there are.
    """
    if not -len(specs) <= in_index < len(specs):
        listed = ", ".join(f"{i}: {s.channels} channels at stride {s.stride}" for i, s in enumerate(specs))
        raise ValueError(f"in_index={in_index} names no feature; there are {len(specs)} ({listed})")
    return specs[in_index]
