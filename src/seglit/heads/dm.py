"""The dynamic multi-scale filter head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head


class DMHead(Head):
    """Dynamic multi-scale filters (He et al., ICCV 2019): each image makes the filters that go over it.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each branch and of their fusion; None for a quarter of those of the feature.
        filter_sizes: Each s makes a branch with a filter of s x s for each channel.
        fusion: Whether each branch ends in one more convolution.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if there are no filter sizes or one is less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        filter_sizes: Sequence[int] = (1, 3, 5, 7),
        fusion: bool = False,
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
        if not filter_sizes or min(filter_sizes) < 1:
            raise ValueError(f"filter_sizes must be one or more positive numbers, got {list(filter_sizes)}")
        self.branches = nn.ModuleList(
            DynamicFilter(self.in_channels, self.channels, size, fusion=fusion, norm=norm) for size in filter_sizes
        )
        self.bottleneck = conv_norm_relu(
            self.in_channels + len(filter_sizes) * self.channels, self.channels, 3, norm=norm
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature beside its branches, fused by a convolution."""
        feature = self.feature(features)
        fused: Tensor = self.bottleneck(torch.cat([feature, *(branch(feature) for branch in self.branches)], dim=1))
        return fused


class DynamicFilter(nn.Module):
    """A reduced map under filters that are made of averages over the unreduced one."""

    def __init__(self, in_channels: int, channels: int, size: int, *, fusion: bool, norm: NormFactory) -> None:
        super().__init__()
        self.filters = nn.Conv2d(in_channels, channels, 1)
        self.reduction = conv_norm_relu(in_channels, channels, 1, norm=norm)
        self.norm = norm(channels)
        self.fusion = conv_norm_relu(channels, channels, 1, norm=norm) if fusion else None
        self.size = size

    def forward(self, feature: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """The branch at the size of the feature."""
        filters = self.filters(F.adaptive_avg_pool2d(feature, self.size))
        x = self.reduction(feature)
        before, after = self.size // 2, (self.size - 1) // 2
        x = F.pad(x, (before, after, before, after))
        # Each channel of each image is a group of its own.
        x = F.conv2d(x.flatten(0, 1)[None], filters.flatten(0, 1)[:, None], groups=filters[:, :, 0, 0].numel())
        branch = F.relu(self.norm(x.reshape(*filters.shape[:2], *feature.shape[2:])))
        return branch if self.fusion is None else self.fusion(branch)
