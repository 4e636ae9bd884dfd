"""What heads with attention share: the weighted mean itself, and the convolutions around a block."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu


def attend(
    query: Float[Tensor, "batch inner height width"],
    key: Float[Tensor, "batch inner *places"],
    value: Float[Tensor, "batch channels *places"],
    *,
    scale: float,
) -> Float[Tensor, "batch channels height width"]:
    """For each place of the query, the mean of the values, weighted by softmax(scale * query . key).

    Where torch has a kernel for it, the weights of all pairs of places are never in memory at once.
    """
    # One head of attention, each place a row.
    query_rows, key_rows, value_rows = (x.flatten(2).transpose(1, 2)[:, None] for x in (query, key, value))
    means = F.scaled_dot_product_attention(query_rows, key_rows, value_rows, scale=scale)
    return means[:, 0].transpose(1, 2).reshape(*value.shape[:2], *query.shape[2:])


def begin_at_zero(part: nn.Module) -> None:
    """Make all parameters of a part zero, so that a residual block that it ends begins as its shortcut."""
    for parameter in part.parameters():
        nn.init.zeros_(parameter)


class ConvsAround(nn.Module):
    """A convolution, a block, a convolution, and, beside the input, one more.

    Args:
        in_channels: Channels of the feature.
        channels: Channels of each convolution's result.
        block: Made of that number of channels; keeps the shape of its map.
        concat_input: Whether the last convolution, which sees the input again, is there.
        norm: Makes each normalisation from its number of channels.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        block: Callable[[int], nn.Module],
        *,
        concat_input: bool,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.before = conv_norm_relu(in_channels, channels, 3, norm=norm)
        self.block = block(channels)
        self.after = conv_norm_relu(channels, channels, 3, norm=norm)
        self.fusion = conv_norm_relu(in_channels + channels, channels, 3, norm=norm) if concat_input else None

    def forward(self, feature: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """The feature with what the block adds."""
        seen: Tensor = self.after(self.block(self.before(feature)))
        return seen if self.fusion is None else self.fusion(torch.cat([feature, seen], dim=1))


def two_convolutions(in_channels: int, channels: int, norm: NormFactory) -> nn.Sequential:
    """Two 1 x 1 convolutions, as those that make queries and keys."""
    return nn.Sequential(
        conv_norm_relu(in_channels, channels, 1, norm=norm), conv_norm_relu(channels, channels, 1, norm=norm)
    )
