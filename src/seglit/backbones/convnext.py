"""ConvNeXts, convolutional nets with the habits of transformers."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.backbones.transformer import (
    MLP,
    STD,
    DropPath,
    channels_first,
    channels_last,
    check_stages,
    drop_path_rates,
)
from seglit.features import FeatureSpec

STEM_STRIDE = 4


class ConvNeXt(nn.Module):
    """ConvNeXt (Liu et al., CVPR 2022), as MMPretrain's for MMSegmentation; the default is ConvNeXt-T.

    Gives the normalised outputs of the stages. An image of n pixels has floor(n / s) steps at stride s, so its
    sides must be at least the deepest stride, 32 with four stages.

    Args:
        depths: Number of blocks of each stage.
        channels: Channels of each stage.
        drop_path_rate: Probability in [0, 1) with which training leaves out the last block's residual for an
            image; that of the blocks before grows evenly from zero.
        layer_scale_init_value: Where the factor of each channel of a residual begins; the recipes that start
            from trained weights have 1.
        norm_eps: Added to the variance in layer normalisation.

    Raises:
        ValueError: If there are not as many depths as channels, if a stage has no block, or a rate lies outside.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        depths: Sequence[int] = (3, 3, 9, 3),
        channels: Sequence[int] = (96, 192, 384, 768),
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        check_stages(depths, channels=channels)
        self.stem = Stem(channels[0], norm_eps)
        self.stages = nn.ModuleList(
            Stage(before, width, rates, layer_scale_init_value, norm_eps)
            for before, width, rates in zip(
                [None, *channels[:-1]], channels, drop_path_rates(drop_path_rate, depths), strict=True
            )
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, norm_eps) for width in channels)
        self.feature_specs = tuple(FeatureSpec(width, STEM_STRIDE * 2**stage) for stage, width in enumerate(channels))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The outputs of the stages, highest resolution first, as `feature_specs` describes them."""
        x = self.stem(image)
        features = []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = stage(x)
            features.append(channels_first(norm(channels_last(x))))
        return tuple(features)


class Stem(nn.Module):
    """Patches side by side, each a vector."""

    def __init__(self, channels: int, norm_eps: float) -> None:
        super().__init__()
        self.conv = convolution(3, channels, STEM_STRIDE, stride=STEM_STRIDE)
        self.norm = nn.LayerNorm(channels, norm_eps)

    def forward(self, image: Float[Tensor, "batch 3 _ _"]) -> Float[Tensor, "batch channels height width"]:
        """The map of patches."""
        return channels_first(self.norm(channels_last(self.conv(image))))


class Downsample(nn.Module):
    """Normalisation, then half the resolution by a convolution."""

    def __init__(self, in_channels: int, channels: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels, norm_eps)
        self.conv = convolution(in_channels, channels, 2, stride=2)

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch channels height width"]:
        """The smaller map."""
        smaller: Tensor = self.conv(channels_first(self.norm(channels_last(x))))
        return smaller


class Stage(nn.Module):
    """Blocks, at half the resolution of the stage before, if there is one, which has `in_channels`."""

    def __init__(
        self, in_channels: int | None, channels: int, drop_paths: Sequence[float], layer_scale: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.downsample = nn.Identity() if in_channels is None else Downsample(in_channels, channels, norm_eps)
        self.blocks = nn.Sequential(*(Block(channels, rate, layer_scale, norm_eps) for rate in drop_paths))

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch channels height width"]:
        """The stage's map."""
        out: Tensor = self.blocks(self.downsample(x))
        return out


class Block(nn.Module):
    """A 7 x 7 depthwise convolution and a perceptron, together around a shortcut."""

    def __init__(self, channels: int, drop_path: float, layer_scale: float, norm_eps: float) -> None:
        super().__init__()
        self.depthwise = convolution(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, norm_eps)
        self.mlp = MLP(channels, 4 * channels)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map after the block."""
        residual: Tensor = self.gamma * self.mlp(self.norm(channels_last(self.depthwise(x))))
        residual = self.drop_path(channels_first(residual))
        return x + residual


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Conv2d:
    """A convolution as ConvNeXts begin: weights from a truncated N(0, 0.02^2), the bias zero."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, groups=groups)
    nn.init.trunc_normal_(conv.weight, std=STD)
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv
