"""The plain vision transformer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.transformer import (
    MLP,
    STD,
    DropPath,
    attention,
    check_heads,
    check_stages,
    drop_path_rates,
    linear,
    padded,
)
from seglit.features import FeatureSpec

MODES = ("bicubic", "bilinear", "nearest")


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al., ICLR 2021), and DeiT (Touvron et al., ICML 2021); the default is ViT-B.

    Gives the outputs of some of its blocks, all at the stride of the patches; a neck such as `MultiLevelNeck`
    makes a pyramid of them. Any image size works: the image is padded with zeros to whole patches, and the
    embeddings of positions are resized where there are other rows or columns than `image_size` has.
    (MMSegmentation compares the number of patches alone, and leaves a wide image's embeddings as they are where
    a square one has as many.)

    As in MMSegmentation, stochastic depth leaves out the perceptrons alone, not attention, and there is no
    normalisation after the last block unless `final_norm` asks for it.

    Args:
        image_size: Height and width in pixels for which there is one embedding per patch; one number is both.
        patch_size: Side of a patch in pixels.
        embed_dims: Channels of a token.
        num_layers: Number of blocks.
        num_heads: Number of heads of attention, a divisor of the channels.
        mlp_ratio: Channels within a perceptron, times those of a token.
        out_indices: After which blocks there is a map, in increasing order; -1 is the last.
        with_cls_token: Whether the class token goes through the blocks; without, it stays as it began, and nothing
            sees it.
        patch_bias: Whether the convolution that embeds patches has a bias.
        final_norm: Whether the last block's output is normalised.
        drop_rate: Probability with which training zeroes a value after the embedding and each linear layer.
        drop_path_rate: Probability in [0, 1) with which training leaves out the last block's perceptron for an
            image; that of the blocks before grows evenly from zero.
        interpolate_mode: How embeddings of positions are resized: `bicubic`, `bilinear` or `nearest`.
        norm_eps: Added to the variance in layer normalisation.

    Raises:
        ValueError: If the image has no patch, if heads do not divide the channels, if there is no such block or
            mode, if a rate lies outside, or if `final_norm` changes no map.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 512,
        patch_size: int = 16,
        embed_dims: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_ratio: int = 4,
        out_indices: Sequence[int] = (2, 5, 8, 11),
        with_cls_token: bool = True,
        patch_bias: bool = False,
        final_norm: bool = False,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        interpolate_mode: str = "bicubic",
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        check_stages([num_layers])
        sides = sides_of(image_size, patch_size)
        if interpolate_mode not in MODES:
            raise ValueError(f"interpolate_mode must be one of {list(MODES)}, got {interpolate_mode!r}")
        indices = chosen_blocks(out_indices, num_layers)
        last = indices[-1] == num_layers - 1
        if final_norm and not last:
            raise ValueError(f"final_norm=True has no effect, as out_indices={list(out_indices)} lack the last block")
        self.grid = (sides[0] // patch_size, sides[1] // patch_size)
        self.out_indices = indices
        self.interpolate_mode = interpolate_mode
        self.with_cls_token = with_cls_token
        self.patch_embed = PatchEmbed(embed_dims, patch_size, patch_bias)
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dims))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid[0] * self.grid[1], embed_dims))
        for embedding in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(embedding, std=STD)
        self.dropout = nn.Dropout(drop_rate)
        # Blocks after the last map would never be seen.
        self.blocks = nn.ModuleList(
            Block(embed_dims, num_heads, mlp_ratio * embed_dims, drop_rate, rate, norm_eps)
            for rate in drop_path_rates(drop_path_rate, [num_layers])[0][: indices[-1] + 1]
        )
        self.norm = nn.LayerNorm(embed_dims, norm_eps) if final_norm else nn.Identity()
        self.feature_specs = len(indices) * (FeatureSpec(embed_dims, patch_size),)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The maps after the chosen blocks, as `feature_specs` describes them."""
        patches = self.patch_embed(image)
        batch, _, height, width = patches.shape
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = self.dropout(tokens + self.positions(height, width))
        if not self.with_cls_token:
            tokens = tokens[:, 1:]
        features = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in self.out_indices:
                seen = self.norm(tokens) if index == len(self.blocks) - 1 else tokens
                features.append(seen[:, -height * width :].transpose(1, 2).reshape(batch, -1, height, width))
        return tuple(features)

    def positions(self, height: int, width: int) -> Float[Tensor, "1 tokens channels"]:
        """The embeddings of the class token and of a number of rows and columns of patches."""
        if (height, width) == self.grid:
            return self.pos_embed
        of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        return torch.cat([of_class, resized(of_patches, self.grid, (height, width), self.interpolate_mode)], dim=1)


class PatchEmbed(nn.Module):
    """Patches side by side, each a vector."""

    def __init__(self, channels: int, patch_size: int, bias: bool) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv = nn.Conv2d(3, channels, patch_size, stride=patch_size, bias=bias)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")
        if bias:
            nn.init.zeros_(self.conv.get_parameter("bias"))

    def forward(self, image: Float[Tensor, "batch 3 _ _"]) -> Float[Tensor, "batch channels height width"]:
        """The map of patches."""
        embedded: Tensor = self.conv(padded(image, self.patch_size))
        return embedded


class Block(nn.Module):
    """Attention and perceptron, each around a shortcut."""

    def __init__(
        self, channels: int, num_heads: int, hidden_channels: int, dropout: float, drop_path: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, norm_eps)
        self.attn = SelfAttention(channels, num_heads, dropout)
        self.norm2 = nn.LayerNorm(channels, norm_eps)
        self.mlp = MLP(channels, hidden_channels, dropout)
        for layer in (self.mlp.hidden, self.mlp.out):
            nn.init.normal_(layer.bias, std=1e-6)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """The tokens after the block."""
        tokens = tokens + self.attn(self.norm1(tokens))
        residual: Tensor = self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens + residual


class SelfAttention(nn.Module):
    """Every token looks at all."""

    def __init__(self, channels: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        check_heads(channels, num_heads)
        self.num_heads = num_heads
        self.qkv = linear(channels, 3 * channels)
        self.out = linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """What each token saw."""
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        seen: Tensor = self.dropout(self.out(attention(query, key, value, self.num_heads)))
        return seen


def resized(
    rows: Float[Tensor, "1 _ channels"], grid: tuple[int, int], wanted: tuple[int, int], mode: str = "bicubic"
) -> Float[Tensor, "1 _ channels"]:
    """Vectors on a grid, row by row, on another, by interpolation."""
    if grid == wanted:
        return rows
    smooth = {} if mode == "nearest" else {"align_corners": False}
    grids = rows.transpose(1, 2).reshape(1, -1, *grid)
    return F.interpolate(grids, wanted, mode=mode, **smooth).flatten(2).transpose(1, 2)


def sides_of(image_size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """Height and width, one number being both.

    Raises:
        ValueError: If there is no patch.
    """
    sides = [image_size, image_size] if isinstance(image_size, int) else list(image_size)
    if len(sides) != 2 or min(sides) < patch_size:
        raise ValueError(f"image_size must be two numbers, at least patch_size={patch_size}, got {image_size}")
    return sides[0], sides[1]


def chosen_blocks(out_indices: Sequence[int], num_layers: int) -> tuple[int, ...]:
    """The numbers of the blocks after which there are maps, counted from zero.

    Raises:
        ValueError: If there are none or no such blocks, or if they do not increase.
    """
    indices = [index % num_layers for index in out_indices if -num_layers <= index < num_layers]
    if not indices or len(indices) < len(out_indices) or indices != sorted(set(indices)):
        raise ValueError(f"out_indices must be increasing numbers of the {num_layers} blocks, got {list(out_indices)}")
    return tuple(indices)
