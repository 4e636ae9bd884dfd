"""The pyramid pooling head."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head, resized


class PSPHead(Head):
    """Pyramid pooling (Zhao et al., CVPR 2017): each pixel sees averages over the image cut into few cells.

    A pool scale of 1 leaves one value per image and channel, so batch normalisation cannot train on a single
    image; take `seglit.blocks.GroupNorm` as `norm`, or synchronise the normalisation over devices.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each pooled branch and of their fusion; None for a quarter of those of the feature.
        pool_scales: Each s makes a branch that averages over s x s cells.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the branches too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if there are no pool scales or one is less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        in_index: int | Sequence[int] = -1,
        dropout_ratio: float = 0.1,
        align_corners: bool = False,
        out_channels: int | None = None,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__(
            feature_specs,
            num_classes,
            channels=channels,
            in_index=in_index,
            dropout_ratio=dropout_ratio,
            align_corners=align_corners,
            out_channels=out_channels,
        )
        check_pool_scales(pool_scales)
        self.pool_scales = tuple(pool_scales)
        self.pools = nn.ModuleList(conv_norm_relu(self.in_channels, self.channels, 1, norm=norm) for _ in pool_scales)
        self.bottleneck = conv_norm_relu(
            self.in_channels + len(pool_scales) * self.channels, self.channels, 3, norm=norm
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature beside its pooled branches, fused by a convolution."""
        pyramid = pooled(self.feature(features), self.pool_scales, self.pools, self.align_corners)
        fused: Tensor = self.bottleneck(pyramid)
        return fused


def pooled(
    feature: Float[Tensor, "batch _ height width"],
    pool_scales: Sequence[int],
    convs: Iterable[nn.Module],
    align_corners: bool,
) -> Float[Tensor, "batch _ height width"]:
    """A feature, and beside it for each scale s its averages over s x s cells, convolved and resized to it."""
    branches = [
        resized(conv(F.adaptive_avg_pool2d(feature, scale)), feature, align_corners)
        for scale, conv in zip(pool_scales, convs, strict=True)
    ]
    return torch.cat([feature, *branches], dim=1)


def check_pool_scales(pool_scales: Sequence[int]) -> None:
    """That there is a pyramid.

    Raises:
        ValueError: If not.
    """
    if not pool_scales or min(pool_scales) < 1:
        raise ValueError(f"pool_scales must be one or more positive numbers of cells, got {list(pool_scales)}")
