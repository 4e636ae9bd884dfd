"""Swin transformers, whose attention stays within windows that shift."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.transformer import (
    MLP,
    STD,
    DropPath,
    attention,
    channels_first,
    channels_last,
    check_heads,
    check_stages,
    drop_path_rates,
    linear,
    padded,
)
from seglit.features import FeatureSpec

PATCH_SIZE = 4
APART = -100.0
"""Added to the score of two pixels that only the shift has brought into one window, as in the paper's code."""


class SwinTransformer(nn.Module):
    """Swin Transformer (Liu et al., ICCV 2021) as in MMSegmentation; the default is Swin-T.

    Gives the normalised outputs of the stages. Any image size works: the image is padded with zeros to whole
    patches, and each map to whole windows, which shift after the padding (in timm before, so that its numbers
    differ unless all sides are multiples of the window). A map at stride s has ceil(n / s) steps where the
    image has n pixels.

    Args:
        embed_dims: Channels of the first stage; each later one doubles them.
        depths: Number of blocks of each stage; every second block shifts its windows by half.
        num_heads: Number of heads of attention of each stage.
        window_size: Side of a window in steps of the map: 7, or 12 for weights from images of 384 x 384.
        mlp_ratio: Channels within a perceptron, times those of its stage.
        drop_path_rate: Probability in [0, 1) with which training leaves out the last block's residuals for an
            image; that of the blocks before grows evenly from zero.
        norm_eps: Added to the variance in layer normalisation.

    Raises:
        ValueError: If there are not as many depths as heads, if heads do not divide the channels, if a stage
            has no block, a window no pixel, or a rate lies outside.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        embed_dims: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4,
        drop_path_rate: float = 0.1,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        check_stages(depths, num_heads=num_heads)
        if window_size < 1:
            raise ValueError(f"window_size must be at least 1, got {window_size}")
        channels = [embed_dims * 2**stage for stage in range(len(depths))]
        self.patch_embed = PatchEmbed(embed_dims, norm_eps)
        self.stages = nn.ModuleList(
            Stage(width, index > 0, heads, window_size, int(mlp_ratio * width), rates, norm_eps)
            for index, (width, heads, rates) in enumerate(
                zip(channels, num_heads, drop_path_rates(drop_path_rate, depths), strict=True)
            )
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, norm_eps) for width in channels)
        self.feature_specs = tuple(FeatureSpec(width, PATCH_SIZE * 2**stage) for stage, width in enumerate(channels))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The outputs of the stages, highest resolution first, as `feature_specs` describes them."""
        x = self.patch_embed(image)
        features = []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            x = stage(x)
            features.append(channels_first(norm(x)))
        return tuple(features)


class PatchEmbed(nn.Module):
    """Patches side by side, each a vector."""

    def __init__(self, channels: int, norm_eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, PATCH_SIZE, stride=PATCH_SIZE)
        self.norm = nn.LayerNorm(channels, norm_eps)

    def forward(self, image: Float[Tensor, "batch 3 _ _"]) -> Float[Tensor, "batch height width channels"]:
        """The patches, channels last."""
        embedded: Tensor = self.norm(channels_last(self.conv(padded(image, PATCH_SIZE))))
        return embedded


class PatchMerging(nn.Module):
    """Four neighbours become one pixel of twice the channels.

    The neighbours of a channel lie side by side, row by row, as in MMSegmentation; the paper's code has all
    channels of a neighbour side by side, and goes down before it goes right.
    """

    def __init__(self, channels: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * channels, norm_eps)
        self.reduction = linear(2 * channels, channels, bias=False)

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch height width channels"]:
        """The map at half the resolution, rounded up."""
        neighbours = F.pixel_unshuffle(padded(channels_first(x), 2), 2)
        merged: Tensor = self.reduction(self.norm(channels_last(neighbours)))
        return merged


class Stage(nn.Module):
    """Blocks, of which every second one shifts its windows; all stages but the first halve the resolution before."""

    def __init__(
        self,
        channels: int,
        merges: bool,
        num_heads: int,
        window_size: int,
        hidden_channels: int,
        drop_paths: Sequence[float],
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.downsample = PatchMerging(channels, norm_eps) if merges else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                Block(channels, num_heads, window_size, index % 2 * (window_size // 2), hidden_channels, rate, norm_eps)
                for index, rate in enumerate(drop_paths)
            )
        )

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch height width channels"]:
        """The stage's map, channels last."""
        out: Tensor = self.blocks(self.downsample(x))
        return out


class Block(nn.Module):
    """Attention and perceptron, each around a shortcut."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: int,
        shift: int,
        hidden_channels: int,
        drop_path: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, norm_eps)
        self.attn = WindowAttention(channels, num_heads, window_size, shift)
        self.norm2 = nn.LayerNorm(channels, norm_eps)
        self.mlp = MLP(channels, hidden_channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch height width channels"]:
        """The map after the block."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        residual: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + residual


class WindowAttention(nn.Module):
    """Every pixel looks at those of its window; the score of two has a share that goes by their offset alone."""

    relative_position_index: Tensor

    def __init__(self, channels: int, num_heads: int, window_size: int, shift: int) -> None:
        super().__init__()
        check_heads(channels, num_heads)
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = shift
        self.qkv = linear(channels, 3 * channels)
        self.out = linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=STD)
        self.register_buffer("relative_position_index", offsets(window_size, window_size), persistent=False)

    def forward(self, x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch height width channels"]:
        """What each pixel saw."""
        batch, height, width, _ = x.shape
        size, shift = self.window_size, self.shift
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        rows, columns = x.shape[1] // size, x.shape[2] // size
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
            bias = (bias + apart(rows, columns, size, shift, x)[:, None]).repeat(batch, 1, 1, 1)
        windows = x.view(batch, rows, size, columns, size, -1).transpose(2, 3).reshape(-1, size**2, x.shape[-1])
        query, key, value = self.qkv(windows).chunk(3, dim=-1)
        seen: Tensor = self.out(attention(query, key, value, self.num_heads, bias))
        seen = seen.view(batch, rows, columns, size, size, -1).transpose(2, 3).reshape(x.shape)
        if shift:
            seen = seen.roll((shift, shift), dims=(1, 2))
        return seen[:, :height, :width]


def offsets(height: int, width: int) -> Int64[Tensor, "pixels pixels"]:
    """For each two pixels of a window, one number for all of the same offset."""
    rows, columns = torch.arange(height), torch.arange(width)
    down = (rows[:, None] - rows + height - 1)[:, None, :, None]
    right = (columns[:, None] - columns + width - 1)[None, :, None, :]
    return (down * (2 * width - 1) + right).reshape(height * width, height * width)


def apart(
    rows: int, columns: int, size: int, shift: int, like: Float[Tensor, "..."]
) -> Float[Tensor, "windows pixels pixels"]:
    """For each window after the shift, `APART` where two pixels come from opposite sides of the map, else zero."""
    row, column = (
        torch.arange(count * size, device=like.device).view(count, size) >= count * size - shift
        for count in (rows, columns)
    )
    sides = 2 * row[:, None, :, None].long() + column[None, :, None, :]
    sides = sides.reshape(rows * columns, size**2)
    return torch.where(sides[:, :, None] == sides[:, None, :], 0.0, APART).to(like.dtype)
