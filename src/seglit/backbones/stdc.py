"""STDC with its context path."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.bisenet_v1 import ContextPath
from seglit.blocks import NormFactory, conv_norm, conv_norm_relu, convolution
from seglit.features import FeatureSpec

BLOCK_COUNTS = {1: (2, 2, 2), 2: (4, 5, 3)}


class STDC(nn.Module):
    """STDC (Fan et al., CVPR 2021) with the context path of BiSeNet, as MMSegmentation's `STDCContextPathNet`.

    Gives four maps: 0, what the stage at stride 8 says, for the head that learns details; 1 and 3, the context at
    strides 8 and 16; 2, detail and context fused at stride 8, for the decode head. Any image size works.

    The context begins with an average over the image, so batch normalisation cannot train on a single one.

    Args:
        variant: 1 or 2, for STDC1 or the deeper STDC2.
        channels: Of the five stages, at strides 2, 4, 8, 16 and 32; the last three divisible by
            `2 ** (num_convs - 1)`.
        context_channels: Of each map of the context.
        fused_channels: Of detail and context fused, divisible by 4.
        num_convs: Convolutions in each block, at least 2.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: On a value not named above.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        variant: int,
        *,
        channels: Sequence[int] = (32, 64, 256, 512, 1024),
        context_channels: int = 128,
        fused_channels: int = 256,
        num_convs: int = 4,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if variant not in BLOCK_COUNTS:
            raise ValueError(f"variant must be 1 or 2, got {variant}")
        if len(channels) != 5:
            raise ValueError(f"channels must be those of five stages, got {list(channels)}")
        if num_convs < 2:
            raise ValueError(f"num_convs must be at least 2, got {num_convs}")
        if any(width % 2 ** (num_convs - 1) for width in channels[2:]):
            raise ValueError(
                f"channels of the last three stages must be divisible by {2 ** (num_convs - 1)}, "
                f"as num_convs={num_convs} halves them so often; got {list(channels)}"
            )
        if fused_channels % 4:
            raise ValueError(f"fused_channels must be divisible by 4, got {fused_channels}")
        self.stem = nn.Sequential(
            conv_norm_relu(3, channels[0], 3, stride=2, norm=norm),
            conv_norm_relu(channels[0], channels[1], 3, stride=2, norm=norm),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    ShortTermConcat(after if index else before, after, num_convs, halve=index == 0, norm=norm)
                    for index in range(count)
                )
            )
            for (before, after), count in zip(pairwise(channels[1:]), BLOCK_COUNTS[variant], strict=True)
        )
        detail, middle, deep = channels[2:]
        self.context = ContextPath([middle, deep], context_channels, norm)
        self.fusion = FeatureFusion(detail + context_channels, fused_channels, norm)
        self.feature_specs = (
            FeatureSpec(detail, 8),
            FeatureSpec(context_channels, 8),
            FeatureSpec(fused_channels, 8),
            FeatureSpec(context_channels, 16),
        )

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """Detail, context, both fused, and the context at stride 16, as `feature_specs` describes them."""
        x = self.stem(image)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        fine, coarse = self.context(stages)
        return stages[0], fine, self.fusion(torch.cat([stages[0], fine], dim=1)), coarse


class ShortTermConcat(nn.Module):
    """A row of ever narrower convolutions whose results lie side by side.

    Where the map is halved, the first of them stays what it was, averaged, and the others see it convolved.
    """

    def __init__(self, in_channels: int, channels: int, num_convs: int, *, halve: bool, norm: NormFactory) -> None:
        super().__init__()
        widths = [channels // 2**index for index in range(1, num_convs)]
        widths.append(widths[-1])
        self.convs = nn.ModuleList([conv_norm_relu(in_channels, widths[0], 1, norm=norm)])
        self.convs.extend(conv_norm_relu(before, after, 3, norm=norm) for before, after in pairwise(widths))
        half = widths[0]
        self.downsample = conv_norm(half, half, 3, stride=2, groups=half, norm=norm) if halve else None

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """`x` at the same or half the size."""
        first, *others = self.convs
        x = first(x)
        results = [x]
        if self.downsample is not None:
            results = [F.avg_pool2d(x, 3, stride=2, padding=1)]
            x = self.downsample(x)
        for conv in others:
            x = conv(x)
            results.append(x)
        return torch.cat(results, dim=1)


class FeatureFusion(nn.Module):
    """Several maps mixed into one, to which its channels weighed by the whole image are added."""

    def __init__(self, in_channels: int, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv = conv_norm_relu(in_channels, channels, 1, norm=norm)
        self.squeeze = convolution(channels, channels // 4, 1)
        self.excite = convolution(channels // 4, channels, 1)

    def forward(self, x: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """The maps, one after the other, as one."""
        x = self.conv(x)
        weight = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)), inplace=True))
        fused: Tensor = x + x * torch.sigmoid(weight)
        return fused
