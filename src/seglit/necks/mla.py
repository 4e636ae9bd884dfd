"""The neck of SETR-MLA."""

from collections.abc import Sequence
from itertools import accumulate

from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features

NORM_EPS = 1e-6


class MLANeck(nn.Module):
    """Aggregation of several levels in SETR (Zheng et al., CVPR 2021): each map gains those of the later blocks.

    The maps come in the order of MMSegmentation's: that of the last block is the first.

    Args:
        feature_specs: What the backbone gives, maps of one stride.
        out_channels: Channels of each map.
        norm: Makes each normalisation from its number of channels, but for the layer normalisation of the features.

    Raises:
        ValueError: If strides differ.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self, feature_specs: Sequence[FeatureSpec], *, out_channels: int = 256, norm: NormFactory = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        strides = [spec.stride for spec in feature_specs]
        if len(set(strides)) > 1:
            raise ValueError(f"MLANeck adds features of one stride, got strides {strides}")
        self.norms = nn.ModuleList(nn.LayerNorm(spec.channels, NORM_EPS) for spec in feature_specs)
        self.laterals = nn.ModuleList(
            conv_norm_relu(spec.channels, out_channels, 1, norm=norm) for spec in feature_specs
        )
        self.levels = nn.ModuleList(conv_norm_relu(out_channels, out_channels, 3, norm=norm) for _ in feature_specs)
        self.feature_specs = tuple(FeatureSpec(out_channels, stride) for stride in strides)

    def forward(self, features: Features) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The maps, that of the last block first."""
        maps = [
            conv(norm(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
            for conv, norm, feature in zip(self.laterals, self.norms, features, strict=True)
        ]
        return tuple(conv(x) for conv, x in zip(self.levels, accumulate(reversed(maps)), strict=True))
