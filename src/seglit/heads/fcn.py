"""The fully convolutional head."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm_relu, separable_conv
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head


class FCNHead(Head):
    """A few convolutions on one feature (after Long et al., CVPR 2015); also the usual auxiliary head.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each convolution; None for a quarter of those of the feature.
        num_convs: Number of convolutions; with 0 `channels` must be those of the feature.
        kernel_size: Size of each convolution, odd.
        dilation: Dilation of each convolution.
        concat_input: Whether one more convolution sees the input again beside the result of the others.
        separable: Whether each convolution is depthwise separable, without ReLU in between, as in Fast-SCNN (Poudel et
            al., BMVC 2019).
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if `num_convs` is negative, or zero with other channels, or `kernel_size` even.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        num_convs: int = 2,
        kernel_size: int = 3,
        dilation: int = 1,
        concat_input: bool = True,
        separable: bool = False,
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
        if num_convs < 0:
            raise ValueError(f"num_convs must not be negative, got {num_convs}")
        if num_convs == 0 and self.channels != self.in_channels:
            raise ValueError(
                f"num_convs=0 needs channels={self.in_channels}, those of the feature, got {self.channels}"
            )
        block = partial(separable_conv, depthwise_relu=False) if separable else conv_norm_relu
        self.convs = nn.Sequential(
            *(
                block(
                    self.channels if index else self.in_channels,
                    self.channels,
                    kernel_size,
                    dilation=dilation,
                    norm=norm,
                )
                for index in range(num_convs)
            )
        )
        self.fusion = (
            block(self.in_channels + self.channels, self.channels, kernel_size, norm=norm) if concat_input else None
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature after the convolutions."""
        feature = self.feature(features)
        convolved: Tensor = self.convs(feature)
        if self.fusion is not None:
            convolved = self.fusion(torch.cat([feature, convolved], dim=1))
        return convolved
