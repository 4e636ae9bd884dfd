"""The heads of SETR."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head

NORM_EPS = 1e-6


class SETRUPHead(Head):
    """SETR's naive and progressive upsampling (Zheng et al., CVPR 2021): convolutions with enlargements between.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each convolution.
        num_convs: Number of convolutions, each followed by an enlargement: 1 is naive, 4 with `up_scale=2` PUP.
        up_scale: By how much each enlarges.
        kernel_size: Size of each convolution, odd.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the enlargements too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels, but for the layer normalisation of the feature.

    Raises:
        ValueError: As in `Head`, if `num_convs` is less than 1, `kernel_size` even, or if the enlargements leave
            no whole stride.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int = 256,
        num_convs: int = 1,
        up_scale: int = 4,
        kernel_size: int = 3,
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
        if num_convs < 1:
            raise ValueError(f"num_convs must be at least 1, got {num_convs}")
        self.stride = finer(self.stride, up_scale, num_convs)
        self.up_scale = up_scale
        self.norm = nn.LayerNorm(self.in_channels, NORM_EPS)
        self.convs = nn.ModuleList(
            conv_norm_relu(channels if index else self.in_channels, channels, kernel_size, norm=norm)
            for index in range(num_convs)
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The enlarged feature."""
        x: Tensor = self.norm(self.feature(features).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for conv in self.convs:
            x = enlarged(conv(x), self.up_scale, self.align_corners)
        return x


class SETRMLAHead(Head):
    """SETR's aggregation of several levels (Zheng et al., CVPR 2021), on the maps of an `MLANeck`.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        mla_channels: Channels of each level; the classifier sees all of them.
        up_scale: By how much all are enlarged.
        in_index: See `Head`; features of one stride.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the enlargement too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, if strides differ, or if the enlargement leaves no whole stride.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        mla_channels: int = 128,
        up_scale: int = 4,
        in_index: int | Sequence[int] = (0, 1, 2, 3),
        dropout_ratio: float = 0.1,
        align_corners: bool = False,
        out_channels: int | None = None,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__(
            feature_specs,
            num_classes,
            channels=mla_channels * (1 if isinstance(in_index, int) else len(in_index)),
            in_index=in_index,
            dropout_ratio=dropout_ratio,
            align_corners=align_corners,
            out_channels=out_channels,
        )
        strides = [spec.stride for spec in self.specs]
        if len(set(strides)) > 1:
            raise ValueError(f"in_index must choose features of one stride, got strides {strides}")
        self.stride = finer(self.stride, up_scale, 1)
        self.up_scale = up_scale
        self.branches = nn.ModuleList(
            nn.Sequential(
                conv_norm_relu(spec.channels, mla_channels, 3, norm=norm),
                conv_norm_relu(mla_channels, mla_channels, 3, norm=norm),
            )
            for spec in self.specs
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The enlarged levels, one after the other."""
        levels = [branch(feature) for branch, feature in zip(self.branches, self.chosen(features), strict=True)]
        return enlarged(torch.cat(levels, dim=1), self.up_scale, self.align_corners)


def finer(stride: int, scale: int, times: int) -> int:
    """The stride after so many enlargements.

    Raises:
        ValueError: If they leave no whole stride.
    """
    for _ in range(times):
        if scale < 1 or stride % scale:
            raise ValueError(f"up_scale={scale}, {times} times, leaves no whole stride")
        stride //= scale
    return stride


def enlarged(
    x: Float[Tensor, "batch channels _ _"], scale: int, align_corners: bool
) -> Float[Tensor, "batch channels height width"]:
    """A map at a multiple of its size, by bilinear interpolation."""
    return F.interpolate(x, scale_factor=float(scale), mode="bilinear", align_corners=align_corners)
