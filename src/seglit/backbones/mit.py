"""Mix Transformers, the backbones of SegFormer."""

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.transformer import (
    DropPath,
    attention,
    channels_first,
    channels_last,
    check_heads,
    check_stages,
    drop_path_rates,
    linear,
)
from seglit.features import FeatureSpec

PATCH_SIZES = (7, 3, 3, 3)
STRIDES = (4, 2, 2, 2)


class MixVisionTransformer(nn.Module):
    """Mix Transformer, MiT (Xie et al., SegFormer, NeurIPS 2021); the default is MiT-B0.

    Each stage embeds overlapping patches; attention sees the map at a lower resolution, and the perceptron's
    depthwise convolution tells positions apart, so that there is no embedding of positions to fit to a size.
    Gives the normalised outputs of the stages. Any image size works: a map at stride s has ceil(n / s) steps
    where the image has n pixels, at each stage; MMSegmentation fails where a map is smaller than its
    `sr_ratios`, here it is padded with zeros.

    All linear layers begin with weights from a truncated N(0, 0.02^2), as in the paper's code; MMSegmentation
    leaves those of query, key and value to torch, and treats those of the perceptron as convolutions.

    Args:
        embed_dims: Channels for each head; a stage has `embed_dims * num_heads` channels.
        num_layers: Number of blocks of each of the four stages.
        num_heads: Number of heads of attention of each stage.
        sr_ratios: By how much each stage's map shrinks before attention sees it.
        mlp_ratio: Channels within a perceptron, times those of its stage.
        drop_path_rate: Probability in [0, 1) with which training leaves out the last block's residuals for an
            image; that of the blocks before grows evenly from zero.
        norm_eps: Added to the variance in layer normalisation.

    Raises:
        ValueError: If there are not four values of each, if a stage has no block, or a rate lies outside.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        embed_dims: int = 32,
        num_layers: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (1, 2, 5, 8),
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        mlp_ratio: int = 4,
        drop_path_rate: float = 0.1,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        check_stages(PATCH_SIZES, num_layers=num_layers, num_heads=num_heads, sr_ratios=sr_ratios)
        check_stages(num_layers)
        channels = [embed_dims * heads for heads in num_heads]
        self.stages = nn.ModuleList(
            Stage(
                before,
                width,
                patch_size=patch_size,
                stride=stride,
                num_heads=heads,
                sr_ratio=sr_ratio,
                mlp_ratio=mlp_ratio,
                drop_paths=rates,
                norm_eps=norm_eps,
            )
            for before, width, patch_size, stride, heads, sr_ratio, rates in zip(
                [3, *channels[:-1]],
                channels,
                PATCH_SIZES,
                STRIDES,
                num_heads,
                sr_ratios,
                drop_path_rates(drop_path_rate, num_layers),
                strict=True,
            )
        )
        strides = (4, 8, 16, 32)
        self.feature_specs = tuple(map(FeatureSpec, channels, strides))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The outputs of the stages, highest resolution first, as `feature_specs` describes them."""
        features: list[Tensor] = []
        for stage in self.stages:
            features.append(stage(features[-1] if features else image))
        return tuple(features)


class Stage(nn.Module):
    """Overlapping patches, blocks, and a last normalisation."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        patch_size: int,
        stride: int,
        num_heads: int,
        sr_ratio: int,
        mlp_ratio: int,
        drop_paths: Sequence[float],
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(in_channels, channels, patch_size, stride, norm_eps)
        self.blocks = nn.Sequential(
            *(Block(channels, num_heads, sr_ratio, mlp_ratio * channels, rate, norm_eps) for rate in drop_paths)
        )
        self.norm = nn.LayerNorm(channels, norm_eps)

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch channels height width"]:
        """The stage's map from the one before, or from the image."""
        return channels_first(self.norm(self.blocks(self.patch_embed(x))))


class PatchEmbed(nn.Module):
    """A strided convolution and normalisation."""

    def __init__(self, in_channels: int, channels: int, patch_size: int, stride: int, norm_eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, patch_size, stride=stride, padding=patch_size // 2)
        self.norm = nn.LayerNorm(channels, norm_eps)
        begin(self.conv)

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch height width channels"]:
        """The patches, channels last."""
        embedded: Tensor = self.norm(channels_last(self.conv(x)))
        return embedded


class Block(nn.Module):
    """Attention and perceptron, each around a shortcut."""

    def __init__(
        self, channels: int, num_heads: int, sr_ratio: int, hidden_channels: int, drop_path: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, norm_eps)
        self.attn = ReducedAttention(channels, num_heads, sr_ratio, norm_eps)
        self.norm2 = nn.LayerNorm(channels, norm_eps)
        self.mlp = MixMLP(channels, hidden_channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch height width channels"]:
        """The map after the block."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        residual: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + residual


class ReducedAttention(nn.Module):
    """Every pixel looks at the whole map, which a strided convolution has shrunk."""

    def __init__(self, channels: int, num_heads: int, sr_ratio: int, norm_eps: float) -> None:
        super().__init__()
        check_heads(channels, num_heads)
        if sr_ratio < 1:
            raise ValueError(f"sr_ratios must be at least 1, got {sr_ratio}")
        self.num_heads = num_heads
        self.sr_ratio = sr_ratio
        self.query = linear(channels, channels)
        self.key_value = linear(channels, 2 * channels)
        self.out = linear(channels, channels)
        self.reduction = PatchReduction(channels, sr_ratio, norm_eps) if sr_ratio > 1 else nn.Identity()

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch height width channels"]:
        """What each pixel saw."""
        key, value = self.key_value(self.reduction(x)).flatten(1, 2).chunk(2, dim=-1)
        seen = attention(self.query(x).flatten(1, 2), key, value, self.num_heads)
        projected: Tensor = self.out(seen).view_as(x)
        return projected


class PatchReduction(nn.Module):
    """Patches side by side become one token each; what is left over at the borders is not seen."""

    def __init__(self, channels: int, ratio: int, norm_eps: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.conv = nn.Conv2d(channels, channels, ratio, stride=ratio)
        self.norm = nn.LayerNorm(channels, norm_eps)
        begin(self.conv)

    def forward(self, x: Float[Tensor, "batch _ _ channels"]) -> Float[Tensor, "batch height width channels"]:
        """The smaller map."""
        _, height, width, _ = x.shape
        x = F.pad(channels_first(x), (0, max(0, self.ratio - width), 0, max(0, self.ratio - height)))
        reduced: Tensor = self.norm(channels_last(self.conv(x)))
        return reduced


class MixMLP(nn.Module):
    """A perceptron that sees the eight pixels around as well, by a depthwise convolution before GELU."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.hidden = linear(channels, hidden_channels)
        self.depthwise = nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels)
        self.out = linear(hidden_channels, channels)
        begin(self.depthwise)

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch height width channels"]:
        """The map after the perceptron."""
        hidden = self.depthwise(channels_first(self.hidden(x)))
        out: Tensor = self.out(F.gelu(channels_last(hidden)))
        return out


def begin(conv: nn.Conv2d) -> None:
    """He's normal distribution, fan out within a group, and a bias of zero."""
    fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels // conv.groups
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
    nn.init.zeros_(conv.get_parameter("bias"))
