"""What DDRNet and PIDNet share: residual blocks, a stem, and pyramid pooling."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm, conv_norm_relu, norm_relu_conv
from seglit.heads.head import resized

POOLINGS = ((5, 2), (9, 4), (17, 8))
"""Size and stride of each window but the last, which is the whole map."""


class Residual(nn.Module):
    """Convolutions beside a shortcut, which is projected where shapes differ; the last ReLU is optional.

    Two of 3 x 3, or with `bottleneck` one between two of 1 x 1, the last of which has twice `width`. The stride is in
    the first of 3 x 3.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        bottleneck: bool = False,
        stride: int = 1,
        relu: bool = False,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        channels = 2 * width if bottleneck else width
        if bottleneck:
            convs = [
                conv_norm_relu(in_channels, width, 1, norm=norm),
                conv_norm_relu(width, width, 3, stride=stride, norm=norm),
                conv_norm(width, channels, 1, norm=norm),
            ]
        else:
            convs = [
                conv_norm_relu(in_channels, width, 3, stride=stride, norm=norm),
                conv_norm(width, width, 3, norm=norm),
            ]
        self.convs = nn.Sequential(*convs)
        same = stride == 1 and in_channels == channels
        self.downsample = None if same else conv_norm(in_channels, channels, 1, stride=stride, norm=norm)
        self.relu = relu

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """The shortcut of `x` plus its residual."""
        shortcut = x if self.downsample is None else self.downsample(x)
        total: Tensor = self.convs(x) + shortcut
        return F.relu(total, inplace=True) if self.relu else total


def layer(in_channels: int, width: int, count: int, *, stride: int = 1, norm: NormFactory) -> nn.Sequential:
    """Blocks of two 3 x 3 convolutions with a ReLU after each but the last, so that branches are added before it."""
    return nn.Sequential(
        *(
            Residual(
                width if index else in_channels,
                width,
                stride=1 if index else stride,
                relu=index < count - 1,
                norm=norm,
            )
            for index in range(count)
        )
    )


def stem(channels: int, count: int, norm: NormFactory) -> nn.Sequential:
    """From the image to `2 * channels` at stride 8, with two layers of `count` blocks."""
    return nn.Sequential(
        conv_norm_relu(3, channels, 3, stride=2, norm=norm),
        conv_norm_relu(channels, channels, 3, stride=2, norm=norm),
        layer(channels, channels, count, norm=norm),
        nn.ReLU(inplace=True),
        layer(channels, 2 * channels, count, stride=2, norm=norm),
        nn.ReLU(inplace=True),
    )


class PyramidPooling(nn.Module):
    """A map beside its averages over windows of 5, 9 and 17 steps and over all of it (Hong et al., 2021, DAPPM).

    Each average is convolved together with the finer one before it; or, with `parallel`, all are together with the
    map itself (Xu et al., CVPR 2023, PAPPM), which is quicker.
    """

    def __init__(
        self, in_channels: int, branch_channels: int, channels: int, *, parallel: bool, norm: NormFactory
    ) -> None:
        super().__init__()
        pooled = len(POOLINGS) + 1
        self.scales = nn.ModuleList(
            norm_relu_conv(in_channels, branch_channels, 1, norm=norm) for _ in range(pooled + 1)
        )
        self.process: nn.Module
        if parallel:
            width = pooled * branch_channels
            self.process = norm_relu_conv(width, width, 3, groups=pooled, norm=norm)
        else:
            self.process = nn.ModuleList(
                norm_relu_conv(branch_channels, branch_channels, 3, norm=norm) for _ in range(pooled)
            )
        self.compression = norm_relu_conv((pooled + 1) * branch_channels, channels, 1, norm=norm)
        self.shortcut = norm_relu_conv(in_channels, channels, 1, norm=norm)

    def forward(self, x: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """The map with its surroundings."""
        own, *convs = self.scales
        averages = [F.avg_pool2d(x, size, stride=stride, padding=size // 2) for size, stride in POOLINGS]
        averages.append(F.adaptive_avg_pool2d(x, 1))
        finest = own(x)
        pooled = [resized(conv(average), x, False) for conv, average in zip(convs, averages, strict=True)]
        if isinstance(self.process, nn.ModuleList):
            scales = [finest]
            for process, average in zip(self.process, pooled, strict=True):
                scales.append(process(average + scales[-1]))
        else:
            scales = [finest, self.process(torch.cat([average + finest for average in pooled], dim=1))]
        result: Tensor = self.compression(torch.cat(scales, dim=1)) + self.shortcut(x)
        return result
