"""The asymmetric non-local head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.attention import attend, begin_at_zero
from seglit.heads.head import Features, Head


class ANNHead(Head):
    """Asymmetric non-local attention (Zhu et al., ICCV 2019): keys and values are averages over few cells.

    A deep feature first attends to a shallower one, then to itself. Of the original's `query_scales` there is
    only 1, as with any other its shapes do not fit.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels after the first attention; None for a quarter of those of both features.
        project_channels: Channels that places are compared in; None for half of `channels`.
        key_pool_scales: Each s averages keys and values over s x s cells; all cells are attended to.
        in_index: See `Head`; two features, the shallower one first.
        dropout_ratio: See `Head`; holds for whole channels after the first attention, too.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if there are not two features, or no scales or one less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        project_channels: int | None = None,
        key_pool_scales: Sequence[int] = (1, 3, 6, 8),
        in_index: Sequence[int] = (-2, -1),
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
        if len(self.specs) != 2:
            raise ValueError(f"in_index must name two features, a shallower and a deeper one, got {list(in_index)}")
        if not key_pool_scales or min(key_pool_scales) < 1:
            raise ValueError(f"key_pool_scales must be one or more positive numbers, got {list(key_pool_scales)}")
        low, high = (spec.channels for spec in self.specs)
        inner = max(self.channels // 2, 1) if project_channels is None else project_channels
        self.stride = self.specs[1].stride
        self.attention = PooledAttention(high, low, inner, key_pool_scales, shared=False, norm=norm)
        self.fusion = conv_norm(2 * high, high, 1, norm=norm)
        self.bottleneck = conv_norm_relu(high, self.channels, 3, norm=norm)
        self.self_attention = PooledAttention(
            self.channels, self.channels, inner, key_pool_scales, shared=True, norm=norm
        )
        self.self_fusion = conv_norm_relu(2 * self.channels, self.channels, 1, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The deeper feature after both attentions."""
        low, high = self.chosen(features)
        fused = self.fusion(torch.cat([self.attention(high, low), high], dim=1))
        x = self.bottleneck(self.dropout(fused))
        embedded: Tensor = self.self_fusion(torch.cat([self.self_attention(x, x), x], dim=1))
        return embedded


class PooledAttention(nn.Module):
    """For each place of one map, a weighted mean over cells of another, at first zero."""

    def __init__(
        self,
        channels: int,
        other_channels: int,
        inner: int,
        pool_scales: Sequence[int],
        *,
        shared: bool,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.query = None if shared else conv_norm_relu(channels, inner, 1, norm=norm)
        self.key = conv_norm_relu(other_channels, inner, 1, norm=norm)
        self.value = nn.Conv2d(other_channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1)
        begin_at_zero(self.out)
        self.pool_scales = tuple(pool_scales)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], other: Float[Tensor, "batch _ _ _"]
    ) -> Float[Tensor, "batch channels height width"]:
        """What each place of `x` sees of the cells of `other`."""
        key = self.key(other)
        query = key if self.query is None else self.query(x)
        means = attend(query, self.cells(key), self.cells(self.value(other)), scale=query.shape[1] ** -0.5)
        found: Tensor = self.out(means)
        return found

    def cells(self, x: Float[Tensor, "batch channels _ _"]) -> Float[Tensor, "batch channels _"]:
        """The averages over the cells of all scales, one after the other."""
        return torch.cat([F.adaptive_avg_pool2d(x, scale).flatten(2) for scale in self.pool_scales], dim=2)
