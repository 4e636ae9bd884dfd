"""The adaptive pyramid context head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head
from seglit.heads.psp import check_pool_scales


class APCHead(Head):
    """Adaptive pyramid context (He et al., CVPR 2019): each pixel weighs averages over cells, guided by the whole map.

    One value per image and channel is normalised here, so batch normalisation cannot train on a single image;
    take `seglit.blocks.GroupNorm` as `norm`, or synchronise the normalisation over devices.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each branch and of their fusion; None for a quarter of those of the feature.
        pool_scales: Each s makes a branch that averages over s x s cells.
        fusion: Whether each branch ends in one more convolution.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
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
        fusion: bool = True,
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
        self.branches = nn.ModuleList(
            AdaptiveContext(self.in_channels, self.channels, scale, fusion=fusion, norm=norm) for scale in pool_scales
        )
        self.bottleneck = conv_norm_relu(
            self.in_channels + len(pool_scales) * self.channels, self.channels, 3, norm=norm
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature beside its branches, fused by a convolution."""
        feature = self.feature(features)
        fused: Tensor = self.bottleneck(torch.cat([feature, *(branch(feature) for branch in self.branches)], dim=1))
        return fused


class AdaptiveContext(nn.Module):
    """A reduced map plus sums over cells that each pixel weighs for itself."""

    def __init__(self, in_channels: int, channels: int, scale: int, *, fusion: bool, norm: NormFactory) -> None:
        super().__init__()
        self.cells = conv_norm_relu(in_channels, channels, 1, norm=norm)
        self.pixels = conv_norm_relu(in_channels, channels, 1, norm=norm)
        self.whole = conv_norm_relu(channels, channels, 1, norm=norm)
        self.affinity = nn.Conv2d(channels, scale**2, 1)
        self.residual = conv_norm_relu(channels, channels, 1, norm=norm)
        self.fusion = conv_norm_relu(channels, channels, 1, norm=norm) if fusion else None
        self.scale = scale

    def forward(self, feature: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """The branch at the size of the feature."""
        cells = self.cells(F.adaptive_avg_pool2d(feature, self.scale)).flatten(2)
        pixels = self.pixels(feature)
        whole = self.whole(F.adaptive_avg_pool2d(pixels, 1))
        share = self.affinity(pixels + whole).sigmoid()
        context = torch.einsum("bcs,bshw->bchw", cells, share)
        branch = F.relu(self.residual(context) + pixels)
        return branch if self.fusion is None else self.fusion(branch)
