"""The block of ResNeSt."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, convolution

SPLITS = 2


class SplitAttentionBottleneck(nn.Module):
    """A bottleneck whose 3 x 3 convolution is a `SplitAttention`; a stride averages after it."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        dilation: int,
        downsample: nn.Module | None,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, width, 1)
        self.norm1 = norm(width)
        self.conv2 = SplitAttention(width, dilation, norm)
        self.pool = nn.AvgPool2d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.conv3 = convolution(width, width * self.expansion, 1)
        self.norm3 = norm(width * self.expansion)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.Module:
        """The normalisation before the shortcut is added."""
        return self.norm3

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """The shortcut of `x` plus its residual."""
        residual = F.relu(self.norm1(self.conv1(x)), inplace=True)
        residual = self.norm3(self.conv3(self.pool(self.conv2(residual))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(residual + shortcut, inplace=True)


class SplitAttention(nn.Module):
    """Two convolutions, each of one half of the channels, and for each image and channel a share of either in the sum.

    The shares come of the map's average, normalised over the images of a batch: with batch normalisation, training
    needs two.
    """

    def __init__(self, channels: int, dilation: int, norm: NormFactory) -> None:
        super().__init__()
        squeezed = max(channels * SPLITS // 4, 32)
        self.conv = convolution(channels, channels * SPLITS, 3, dilation=dilation, groups=SPLITS)
        self.norm = norm(channels * SPLITS)
        self.squeeze = convolution(channels, squeezed, 1, bias=True)
        self.squeeze_norm = norm(squeezed)
        self.scores = convolution(squeezed, channels * SPLITS, 1, bias=True)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The weighted sum of both."""
        splits = torch.unflatten(F.relu(self.norm(self.conv(x)), inplace=True), 1, (SPLITS, -1))
        average = F.adaptive_avg_pool2d(splits.sum(dim=1), 1)
        squeezed = F.relu(self.squeeze_norm(self.squeeze(average)), inplace=True)
        shares = torch.unflatten(self.scores(squeezed), 1, (SPLITS, -1)).softmax(dim=1)
        return torch.sum(shares * splits, dim=1)
