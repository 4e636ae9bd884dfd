"""What the transformers and ConvNeXt share: attention, perceptron, stochastic depth, and how their weights begin."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

STD = 0.02
"""Of the normal distribution, cut off at 2, from which the weights of these nets are drawn."""


def linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer as transformers begin: weights from a truncated N(0, 0.02^2), a bias, if there is one, at zero."""
    layer = nn.Linear(in_features, out_features, bias=bias)
    nn.init.trunc_normal_(layer.weight, std=STD)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., ECCV 2016): in training an image loses this residual, or has it enlarged.

    Args:
        rate: Probability in [0, 1) that an image loses it; the others' is divided by 1 - rate.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, residual: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *rest"]:
        """What is to be added to the shortcut."""
        if not self.training or self.rate == 0.0:
            return residual
        kept = residual.new_empty(len(residual), *(residual.ndim - 1) * (1,)).bernoulli_(1.0 - self.rate)
        return residual * (kept / (1.0 - self.rate))

    def extra_repr(self) -> str:
        """The rate."""
        return f"{self.rate:.3g}"


def drop_path_rates(last: float, counts: Sequence[int]) -> list[list[float]]:
    """The rates of all blocks, stage by stage: they grow evenly from zero to that of the last block.

    Args:
        last: `drop_path_rate` of a backbone.
        counts: Number of blocks of each stage.

    Raises:
        ValueError: If the last is not in [0, 1).
    """
    if not 0.0 <= last < 1.0:
        raise ValueError(f"drop_path_rate must lie in [0, 1), got {last}")
    rates = torch.linspace(0.0, last, sum(counts), device="cpu").tolist()
    return [rates[begin:end] for begin, end in pairwise(accumulate(counts, initial=0))]


class MLP(nn.Module):
    """Two linear layers on each token with GELU between them.

    Args:
        channels: Of a token.
        hidden_channels: Between the layers.
        dropout: Probability with which training zeroes a value after either layer.
    """

    def __init__(self, channels: int, hidden_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = linear(channels, hidden_channels)
        self.out = linear(hidden_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "*rest channels"]) -> Float[Tensor, "*rest channels"]:
        """The tokens, each by itself."""
        hidden = self.dropout(F.gelu(self.hidden(tokens)))
        out: Tensor = self.dropout(self.out(hidden))
        return out


def attention(
    query: Float[Tensor, "batch queries channels"],
    key: Float[Tensor, "batch keys channels"],
    value: Float[Tensor, "batch keys channels"],
    num_heads: int,
    bias: Float[Tensor, "#batch heads queries keys"] | None = None,
) -> Float[Tensor, "batch queries channels"]:
    """Attention of several heads (Vaswani et al., NeurIPS 2017), each on its share of the channels.

    Args:
        query: Tokens that look.
        key: What the tokens that are seen show.
        value: What they give.
        num_heads: A divisor of the channels.
        bias: Added before the softmax.
    """
    query, key, value = (x.view(*x.shape[:2], num_heads, -1).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)


def check_heads(channels: int, num_heads: int) -> None:
    """That each head gets as many channels.

    Raises:
        ValueError: If not.
    """
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f"num_heads must divide the {channels} channels of its stage, got {num_heads}")


def check_stages(counts: Sequence[int], **others: Sequence[int]) -> None:
    """That there are stages, each of a block or more, and as many of everything.

    Raises:
        ValueError: If not; names the argument.
    """
    if not counts or min(counts) < 1:
        raise ValueError(f"each stage needs a block, got {list(counts)}")
    for name, values in others.items():
        if len(values) != len(counts):
            raise ValueError(f"{name} must have one value for each of the {len(counts)} stages, got {list(values)}")


def padded(x: Float[Tensor, "batch channels _ _"], multiple: int) -> Float[Tensor, "batch channels height width"]:
    """A map with zeros below and to the right, until both sides are multiples of a number."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple))


def channels_first(x: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch channels height width"]:
    """A map as convolutions want it."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch height width channels"]:
    """A map as linear layers and layer normalisation want it."""
    return x.permute(0, 2, 3, 1)
