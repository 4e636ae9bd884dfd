"""MSCAN, the convolutional attention of SegNeXt."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.backbones.mit import begin
from seglit.backbones.transformer import DropPath, channels_first, channels_last, check_stages, drop_path_rates
from seglit.blocks import NormFactory
from seglit.features import FeatureSpec

STRIP_LENGTHS = (7, 11, 21)
LAYER_SCALE = 1e-2


class MSCAN(nn.Module):
    """Multi-scale convolutional attention net (Guo et al., SegNeXt, NeurIPS 2022); the default is MSCAN-T.

    Gives the normalised outputs of the stages. Any image size works: a map at stride s has ceil(n / s) steps
    where the image has n pixels.

    Args:
        embed_dims: Channels of each stage.
        depths: Number of blocks of each stage.
        mlp_ratios: Channels within a perceptron, times those of its stage.
        drop_path_rate: Probability in [0, 1) with which training leaves out the last block's residuals for an
            image; that of the blocks before grows evenly from zero.
        norm: Makes each normalisation from its number of channels, but for the layer normalisation of the maps.

    Raises:
        ValueError: If there are not as many values of each, if a stage has no block, or a rate lies outside.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        embed_dims: Sequence[int] = (32, 64, 160, 256),
        depths: Sequence[int] = (3, 3, 5, 2),
        mlp_ratios: Sequence[int] = (8, 8, 4, 4),
        drop_path_rate: float = 0.1,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        check_stages(depths, embed_dims=embed_dims, mlp_ratios=mlp_ratios)
        self.stages = nn.ModuleList(
            Stage(before, channels, ratio, rates, norm)
            for before, channels, ratio, rates in zip(
                [None, *embed_dims[:-1]],
                embed_dims,
                mlp_ratios,
                drop_path_rates(drop_path_rate, depths),
                strict=True,
            )
        )
        self.feature_specs = tuple(FeatureSpec(channels, 4 * 2**stage) for stage, channels in enumerate(embed_dims))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The outputs of the stages, highest resolution first, as `feature_specs` describes them."""
        features: list[Tensor] = []
        for stage in self.stages:
            features.append(stage(features[-1] if features else image))
        return tuple(features)


class Stage(nn.Module):
    """Half the resolution, of the image a quarter, then blocks and a last normalisation."""

    def __init__(
        self, in_channels: int | None, channels: int, mlp_ratio: int, drop_paths: Sequence[float], norm: NormFactory
    ) -> None:
        super().__init__()
        if in_channels is None:
            half = channels // 2
            self.patch_embed = nn.Sequential(
                halving(3, half, norm, activation=nn.GELU()), halving(half, channels, norm, activation=None)
            )
        else:
            self.patch_embed = nn.Sequential(halving(in_channels, channels, norm, activation=None))
        self.blocks = nn.Sequential(*(Block(channels, mlp_ratio * channels, rate, norm) for rate in drop_paths))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch channels height width"]:
        """The stage's map from the one before, or from the image."""
        return channels_first(self.norm(channels_last(self.blocks(self.patch_embed(x)))))


class Block(nn.Module):
    """Attention and perceptron, each around a shortcut, with a factor for each channel."""

    def __init__(self, channels: int, hidden_channels: int, drop_path: float, norm: NormFactory) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attn = Attention(channels)
        self.gamma1 = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))
        self.norm2 = norm(channels)
        self.mlp = nn.Sequential(
            OrderedDict(
                hidden=convolution(channels, hidden_channels),
                depthwise=depthwise(hidden_channels, (3, 3)),
                gelu=nn.GELU(),
                out=convolution(hidden_channels, channels),
            )
        )
        self.gamma2 = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map after the block."""
        x = x + self.drop_path(self.gamma1 * self.attn(self.norm1(x)))
        residual: Tensor = self.drop_path(self.gamma2 * self.mlp(self.norm2(x)))
        return x + residual


class Attention(nn.Module):
    """A map times what strips of several lengths see around each pixel, around a shortcut of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = convolution(channels, channels)
        self.gelu = nn.GELU()
        self.local = depthwise(channels, (5, 5))
        self.strips = nn.ModuleList(
            nn.Sequential(depthwise(channels, (1, length)), depthwise(channels, (length, 1)))
            for length in STRIP_LENGTHS
        )
        self.mix = convolution(channels, channels)
        self.after = convolution(channels, channels)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map after attention."""
        value = self.gelu(self.before(x))
        local = self.local(value)
        seen = local
        for strip in self.strips:
            seen = seen + strip(local)
        attended: Tensor = self.after(self.mix(seen) * value)
        return attended + x


def halving(in_channels: int, channels: int, norm: NormFactory, activation: nn.Module | None) -> nn.Sequential:
    """A 3 x 3 convolution of stride 2, normalisation and perhaps an activation."""
    conv = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
    begin(conv)
    parts = OrderedDict[str, nn.Module](conv=conv, norm=norm(channels))
    if activation is not None:
        parts["activation"] = activation
    return nn.Sequential(parts)


def convolution(in_channels: int, channels: int) -> nn.Conv2d:
    """A 1 x 1 convolution."""
    conv = nn.Conv2d(in_channels, channels, 1)
    begin(conv)
    return conv


def depthwise(channels: int, size: tuple[int, int]) -> nn.Conv2d:
    """A depthwise convolution that keeps the size of the map."""
    conv = nn.Conv2d(channels, channels, size, padding=(size[0] // 2, size[1] // 2), groups=channels)
    begin(conv)
    return conv
