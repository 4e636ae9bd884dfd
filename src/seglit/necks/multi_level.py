"""A pyramid from the maps of a plain vision transformer, by interpolation."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.features import FeatureSpec
from seglit.heads.head import Features
from seglit.necks.fpn import plain_convolution


class MultiLevelNeck(nn.Module):
    """MMSegmentation's neck for vision transformers (as in SETR-MLA and UPerNet with ViT): a pyramid of equal maps.

    Args:
        feature_specs: What the backbone gives.
        out_channels: Channels of each map; None for those of the first feature.
        scales: By how much each map is enlarged, bilinearly, largest first; each leaves a whole stride. As many
            as there are features, unless there is but one feature, from which all maps are then made.

    Raises:
        ValueError: If numbers do not fit, or scales are not in that order.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        *,
        out_channels: int | None = None,
        scales: Sequence[float] = (4, 2, 1, 0.5),
    ) -> None:
        super().__init__()
        width = feature_specs[0].channels if out_channels is None else out_channels
        self.feature_specs = rescaled_specs(
            "scales", [FeatureSpec(width, spec.stride) for spec in feature_specs], scales
        )
        self.scales = tuple(float(scale) for scale in scales)
        self.laterals = nn.ModuleList(plain_convolution(spec.channels, width, 1) for spec in feature_specs)
        self.levels = nn.ModuleList(plain_convolution(width, width, 3) for _ in scales)

    def forward(self, features: Features) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The pyramid, highest resolution first, as `feature_specs` describes it."""
        maps = [conv(feature) for conv, feature in zip(self.laterals, features, strict=True)]
        if len(maps) == 1:
            maps = maps * len(self.scales)
        resized = [
            F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
            for x, scale in zip(maps, self.scales, strict=True)
        ]
        return tuple(conv(x) for conv, x in zip(self.levels, resized, strict=True))


def rescaled_specs(name: str, feature_specs: Sequence[FeatureSpec], scales: Sequence[float]) -> tuple[FeatureSpec, ...]:
    """The features enlarged by as many scales, one alone by each of them.

    Raises:
        ValueError: Names the argument whose scales do not fit.
    """
    if len(feature_specs) not in (1, len(scales)) or not scales or min(scales) <= 0:
        raise ValueError(
            f"{name} must be positive, one for each of the {len(feature_specs)} features, got {list(scales)}"
        )
    before = list(feature_specs) * (len(scales) if len(feature_specs) == 1 else 1)
    strides = [spec.stride / scale for spec, scale in zip(before, scales, strict=True)]
    if strides != sorted(strides) or any(stride < 1 or stride != int(stride) for stride in strides):
        raise ValueError(
            f"{name} must leave whole strides, finest first; {list(scales)} leave {strides} of "
            f"{[spec.stride for spec in before]}"
        )
    return tuple(FeatureSpec(spec.channels, int(stride)) for spec, stride in zip(before, strides, strict=True))
