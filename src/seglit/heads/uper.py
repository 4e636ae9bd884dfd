"""The head of UPerNet."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head, resized
from seglit.heads.psp import check_pool_scales, pooled


class UPerHead(Head):
    """Pyramid pooling on the deepest feature, then a feature pyramid, fused (UPerNet, Xiao et al., ECCV 2018).

    A pool scale of 1 leaves one value per image and channel; see `PSPHead` for what batch normalisation makes
    of a single image.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each level of the pyramid, of each pooled branch, and of the fusion.
        pool_scales: Each s makes a branch that averages the deepest feature over s x s cells.
        in_index: See `Head`; the finest comes first, the deepest last.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for branches and levels too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, if the first feature is not the finest, and if there are no pool scales or one
            is less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int = 512,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        in_index: int | Sequence[int] = (0, 1, 2, 3),
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
        self.finest_first()
        check_pool_scales(pool_scales)
        self.pool_scales = tuple(pool_scales)
        *finer, deepest = (spec.channels for spec in self.specs)
        self.pools = nn.ModuleList(conv_norm_relu(deepest, channels, 1, norm=norm) for _ in pool_scales)
        self.bottleneck = conv_norm_relu(deepest + len(pool_scales) * channels, channels, 3, norm=norm)
        self.laterals = nn.ModuleList(conv_norm_relu(width, channels, 1, norm=norm) for width in finer)
        self.levels = nn.ModuleList(conv_norm_relu(channels, channels, 3, norm=norm) for _ in finer)
        self.fusion = conv_norm_relu(len(self.specs) * channels, channels, 3, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The levels of the pyramid at the finest's resolution, fused."""
        *finer, deepest = self.chosen(features)
        top = self.bottleneck(pooled(deepest, self.pool_scales, self.pools, self.align_corners))
        laterals = [conv(feature) for conv, feature in zip(self.laterals, finer, strict=True)]
        from_above, pyramid = top, [top]
        for lateral, conv in zip(reversed(laterals), reversed(self.levels), strict=True):
            from_above = lateral + resized(from_above, lateral, self.align_corners)
            pyramid.insert(0, conv(from_above))
        maps = [resized(level, pyramid[0], self.align_corners) for level in pyramid]
        fused: Tensor = self.fusion(torch.cat(maps, dim=1))
        return fused
