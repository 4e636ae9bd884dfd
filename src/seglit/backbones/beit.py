"""BEiT and MAE, plain vision transformers that were trained without labels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.swin import offsets
from seglit.backbones.transformer import (
    MLP,
    STD,
    DropPath,
    attention,
    check_heads,
    check_stages,
    drop_path_rates,
    linear,
)
from seglit.backbones.vit import PatchEmbed, chosen_blocks, resized, sides_of
from seglit.features import FeatureSpec

OF_CLASS = 3
"""Shares of scores that have no offset: of the class token looking at a patch, of a patch at it, of it at itself."""
VARIANTS = ("beit", "mae")


class BEiT(nn.Module):
    """BEiT (Bao et al., ICLR 2022) or MAE (He et al., CVPR 2022) as in MMSegmentation; the default is BEiT-B.

    Gives the outputs of some of its blocks, all at the stride of the patches; `Feature2Pyramid` makes a pyramid of
    them. Any image size works: the image is padded with zeros to whole patches, and what goes by position is
    resized where there are other rows or columns than `image_size` has. MMSegmentation fails there.

    The key's bias, which changes no softmax, is there and begins at zero; BEiT's own has none.

    Args:
        image_size: Height and width in pixels for which weights by position are; one number is both.
        patch_size: Side of a patch in pixels.
        embed_dims: Channels of a token.
        num_layers: Number of blocks.
        num_heads: Number of heads of attention, a divisor of the channels.
        mlp_ratio: Channels within a perceptron, times those of a token.
        out_indices: After which blocks there is a map, in increasing order; -1 is the last.
        variant: `beit`, or `mae`, which has embeddings of positions besides.
        drop_path_rate: Probability in [0, 1) with which training leaves out the last block's residuals for an
            image; that of the blocks before grows evenly from zero.
        init_values: Where the factor of each channel of a residual begins.
        norm_eps: Added to the variance in layer normalisation.

    Raises:
        ValueError: If the image has no patch, if heads do not divide the channels, if there is no such block or
            variant, or a rate lies outside.
    """

    feature_specs: tuple[FeatureSpec, ...]
    index: Tensor

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 640,
        patch_size: int = 16,
        embed_dims: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_ratio: int = 4,
        out_indices: Sequence[int] = (3, 5, 7, 11),
        variant: str = "beit",
        drop_path_rate: float = 0.1,
        init_values: float = 0.1,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        check_stages([num_layers])
        check_heads(embed_dims, num_heads)
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {list(VARIANTS)}, got {variant!r}")
        height, width = sides_of(image_size, patch_size)
        self.grid = (height // patch_size, width // patch_size)
        self.out_indices = chosen_blocks(out_indices, num_layers)
        self.patch_embed = PatchEmbed(embed_dims, patch_size, bias=True)
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dims))
        nn.init.trunc_normal_(self.cls_token, std=STD)
        tokens = 1 + self.grid[0] * self.grid[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, embed_dims)) if variant == "mae" else None
        rates = drop_path_rates(drop_path_rate, [num_layers])[0][: self.out_indices[-1] + 1]
        self.blocks = nn.ModuleList(
            Block(embed_dims, num_heads, mlp_ratio * embed_dims, self.grid, rate, init_values, norm_eps)
            for rate in rates
        )
        if variant == "beit":
            for name, parameter in self.named_parameters():
                if name.endswith("relative_position_bias_table"):
                    nn.init.trunc_normal_(parameter, std=STD)
        self.register_buffer("index", index_of(*self.grid), persistent=False)
        self.feature_specs = len(self.out_indices) * (FeatureSpec(embed_dims, patch_size),)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The maps after the chosen blocks, as `feature_specs` describes them."""
        patches = self.patch_embed(image)
        batch, _, height, width = patches.shape
        grid = (height, width)
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        if self.pos_embed is not None:
            of_class, of_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
            tokens = tokens + torch.cat([of_class, resized(of_patches, self.grid, grid)], dim=1)
        index = self.index if grid == self.grid else index_of(*grid).to(tokens.device)
        features = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, grid, index)
            if number in self.out_indices:
                features.append(tokens[:, 1:].transpose(1, 2).reshape(batch, -1, height, width))
        return tuple(features)


class Block(nn.Module):
    """Attention and perceptron, each around a shortcut, with a factor for each channel."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        hidden_channels: int,
        grid: tuple[int, int],
        drop_path: float,
        init_values: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, norm_eps)
        self.attn = RelativeAttention(channels, num_heads, grid)
        self.gamma1 = nn.Parameter(torch.full((channels,), init_values))
        self.norm2 = nn.LayerNorm(channels, norm_eps)
        self.mlp = MLP(channels, hidden_channels)
        for layer in (self.mlp.hidden, self.mlp.out):
            nn.init.normal_(layer.bias, std=1e-6)
        self.gamma2 = nn.Parameter(torch.full((channels,), init_values))
        self.drop_path = DropPath(drop_path)

    def forward(
        self, tokens: Float[Tensor, "batch tokens channels"], grid: tuple[int, int], index: Int64[Tensor, "_ _"]
    ) -> Float[Tensor, "batch tokens channels"]:
        """The tokens after the block."""
        tokens = tokens + self.drop_path(self.gamma1 * self.attn(self.norm1(tokens), grid, index))
        residual: Tensor = self.drop_path(self.gamma2 * self.mlp(self.norm2(tokens)))
        return tokens + residual


class RelativeAttention(nn.Module):
    """Every token looks at all; the score of two has a share that goes by their offset alone."""

    def __init__(self, channels: int, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.extent = (2 * grid[0] - 1, 2 * grid[1] - 1)
        self.qkv = linear(channels, 3 * channels)
        self.out = linear(channels, channels)
        count = self.extent[0] * self.extent[1] + OF_CLASS
        self.relative_position_bias_table = nn.Parameter(torch.zeros(count, num_heads))

    def forward(
        self, tokens: Float[Tensor, "batch tokens channels"], grid: tuple[int, int], index: Int64[Tensor, "_ _"]
    ) -> Float[Tensor, "batch tokens channels"]:
        """What each token saw."""
        table = self.relative_position_bias_table
        by_offset = resized(table[None, :-OF_CLASS], self.extent, (2 * grid[0] - 1, 2 * grid[1] - 1))[0]
        bias = torch.cat([by_offset, table[-OF_CLASS:]])[index].permute(2, 0, 1)[None]
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        seen: Tensor = self.out(attention(query, key, value, self.num_heads, bias))
        return seen


def index_of(height: int, width: int) -> Int64[Tensor, "tokens tokens"]:
    """For each two tokens the place of their share: by their offset, or the last three with the class token."""
    count = (2 * height - 1) * (2 * width - 1)
    index = F.pad(offsets(height, width), (1, 0, 1, 0))
    index[0, :], index[:, 0], index[0, 0] = count, count + 1, count + 2
    return index
