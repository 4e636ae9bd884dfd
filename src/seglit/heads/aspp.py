"""The heads of DeepLabV3 and DeepLabV3+."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu, separable_conv
from seglit.features import FeatureSpec, feature_at
from seglit.heads.head import Features, Head, resized


class ASPPHead(Head):
    """Atrous spatial pyramid pooling, the head of DeepLabV3 (Chen et al., arXiv 1706.05587, 2017).

    Each pixel sees its surroundings at several distances: a branch for each dilation, and one that averages the
    whole map. That average leaves one value per image and channel, so batch normalisation cannot train on a single
    image; take `seglit.blocks.GroupNorm` as `norm`, or synchronise the normalisation over devices.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each branch and of their fusion; None for a quarter of those of the feature.
        dilations: Each makes a branch: a 3 x 3 convolution, or a 1 x 1 convolution for a dilation of 1. The default
            is that for features at stride 16; at stride 8 the paper doubles all but the first.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if there are no dilations or one is less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        dilations: Sequence[int] = (1, 6, 12, 18),
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
        self.pyramid = AtrousPyramid(self.in_channels, self.channels, dilations, separable=False, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature after the pyramid."""
        pyramid: Tensor = self.pyramid(self.feature(features))
        return pyramid


class DepthwiseSeparableASPPHead(Head):
    """The head of DeepLabV3+ (Chen et al., ECCV 2018): the pyramid, then a decoder that sees a finer feature.

    The convolutions of the pyramid and of the decoder are depthwise separable. Of a single image in training the
    same holds as for `ASPPHead`.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of the pyramid and of the decoder; None for a quarter of those of the feature.
        dilations: As in `ASPPHead`.
        skip_index: The feature that joins the pyramid in the decoder, as `in_index`; the logits have its stride.
        skip_channels: To how many channels that feature is reduced first.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the pyramid's resizing too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `ASPPHead`, and if `skip_index` names no feature.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        dilations: Sequence[int] = (1, 6, 12, 18),
        skip_index: int = 0,
        skip_channels: int = 48,
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
        self.pyramid = AtrousPyramid(self.in_channels, self.channels, dilations, separable=True, norm=norm)
        skip = feature_at(feature_specs, skip_index)
        self.skip_index = skip_index
        self.stride = skip.stride
        self.skip = conv_norm_relu(skip.channels, skip_channels, 1, norm=norm)
        self.decoder = nn.Sequential(
            separable_conv(self.channels + skip_channels, self.channels, 3, norm=norm),
            separable_conv(self.channels, self.channels, 3, norm=norm),
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The pyramid beside the finer feature, decoded at the stride of the latter."""
        finer = self.skip(features[self.skip_index])
        pyramid = resized(self.pyramid(self.feature(features)), finer, self.align_corners)
        decoded: Tensor = self.decoder(torch.cat([pyramid, finer], dim=1))
        return decoded


class AtrousPyramid(nn.Module):
    """The branches of both heads and the convolution that fuses them.

    Raises:
        ValueError: If there are no dilations or one is less than 1.
    """

    def __init__(
        self, in_channels: int, channels: int, dilations: Sequence[int], *, separable: bool, norm: NormFactory
    ) -> None:
        super().__init__()
        if not dilations or min(dilations) < 1:
            raise ValueError(f"dilations must be one or more positive numbers, got {list(dilations)}")
        dilated = separable_conv if separable else conv_norm_relu
        self.average = conv_norm_relu(in_channels, channels, 1, norm=norm)
        self.branches = nn.ModuleList(
            conv_norm_relu(in_channels, channels, 1, norm=norm)
            if dilation == 1
            else dilated(in_channels, channels, 3, dilation=dilation, norm=norm)
            for dilation in dilations
        )
        self.bottleneck = conv_norm_relu((len(dilations) + 1) * channels, channels, 3, norm=norm)

    def forward(self, x: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """Every branch beside the average over the map, which is the same everywhere, fused."""
        average = self.average(F.adaptive_avg_pool2d(x, 1)).expand(-1, -1, *x.shape[2:])
        fused: Tensor = self.bottleneck(torch.cat([average, *(branch(x) for branch in self.branches)], dim=1))
        return fused
