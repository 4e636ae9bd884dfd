"""The interlaced sparse self-attention head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.attention import attend, two_convolutions
from seglit.heads.head import Features, Head


class ISAHead(Head):
    """Interlaced sparse self-attention (Huang et al., arXiv 1907.12273, 2019).

    Each pixel sees first those that lie a block apart from one another, then those of its block: through both, all.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of the attended map; None for a quarter of those of the feature.
        isa_channels: Channels that pixels are compared in; None for half of `channels`.
        down_factor: Height and width of a block. Maps are padded with zeros to whole blocks.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if `down_factor` is not two positive numbers.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        isa_channels: int | None = None,
        down_factor: Sequence[int] = (8, 8),
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
        if len(down_factor) != 2 or min(down_factor) < 1:
            raise ValueError(f"down_factor must be two positive numbers, got {list(down_factor)}")
        self.down_factor = tuple(down_factor)
        inner = max(self.channels // 2, 1) if isa_channels is None else isa_channels
        self.reduction = conv_norm_relu(self.in_channels, self.channels, 3, norm=norm)
        self.far = SelfAttention(self.channels, inner, norm=norm)
        self.near = SelfAttention(self.channels, inner, norm=norm)
        self.fusion = conv_norm_relu(2 * self.channels, self.channels, 1, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The reduced feature beside its attended self, fused by a convolution."""
        x = self.reduction(self.feature(features))
        fused: Tensor = self.fusion(torch.cat([self.interlaced(x), x], dim=1))
        return fused

    def interlaced(self, x: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """Attention among pixels at the same place of all blocks, then among those of each block."""
        count, channels, height, width = x.shape
        (rows, top, bottom), (columns, left, right) = (
            blocks(length, block) for length, block in zip((height, width), self.down_factor, strict=True)
        )
        inner_rows, inner_columns = self.down_factor
        x = F.pad(x, (left, right, top, bottom))
        x = x.view(count, channels, rows, inner_rows, columns, inner_columns)
        # One map of rows x columns for each place within a block.
        x = self.far(x.permute(0, 3, 5, 1, 2, 4).reshape(-1, channels, rows, columns))
        x = x.view(count, inner_rows, inner_columns, channels, rows, columns)
        # One map for each block.
        x = self.near(x.permute(0, 4, 5, 3, 1, 2).reshape(-1, channels, inner_rows, inner_columns))
        x = x.view(count, rows, columns, channels, inner_rows, inner_columns)
        x = x.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, rows * inner_rows, columns * inner_columns)
        return x[:, :, top : top + height, left : left + width]


class SelfAttention(nn.Module):
    """For each place of a map, a weighted mean over all of them, projected."""

    def __init__(self, channels: int, inner: int, *, norm: NormFactory) -> None:
        super().__init__()
        self.query = two_convolutions(channels, inner, norm)
        self.key = two_convolutions(channels, inner, norm)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = conv_norm_relu(channels, channels, 1, norm=norm)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The projected means."""
        query = self.query(x)
        found: Tensor = self.out(attend(query, self.key(x), self.value(x), scale=query.shape[1] ** -0.5))
        return found


def blocks(length: int, block: int) -> tuple[int, int, int]:
    """How many blocks cover a side, and the padding before and after it."""
    count = -(-length // block)
    padding = count * block - length
    return count, padding // 2, padding - padding // 2
