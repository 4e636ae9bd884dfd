"""The criss-cross head."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory
from seglit.features import FeatureSpec
from seglit.heads.attention import ConvsAround
from seglit.heads.head import Features, Head


class CCHead(Head):
    """Two convolutions around criss-cross attention (Huang et al., ICCV 2019).

    Each pixel sees its row and its column; the second time, through them, all others.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each convolution; None for a quarter of those of the feature.
        recurrence: How often the block is applied, with the same weights; at least 1.
        concat_input: Whether one more convolution sees the input again beside the result of the others.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if `recurrence` is less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        recurrence: int = 2,
        concat_input: bool = True,
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
        if recurrence < 1:
            raise ValueError(f"recurrence must be at least 1, got {recurrence}")
        block = partial(CrissCross, recurrence=recurrence)
        self.body = ConvsAround(self.in_channels, self.channels, block, concat_input=concat_input, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature after the convolutions and the block."""
        embedded: Tensor = self.body(self.feature(features))
        return embedded


class CrissCross(nn.Module):
    """A map plus, some times over, weighted means over the row and the column of each place."""

    def __init__(self, channels: int, *, recurrence: int) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))
        self.recurrence = recurrence

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map with what was added to it."""
        for _ in range(self.recurrence):
            x = x + self.gamma * self.means(x)
        return x

    def means(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """For each place the mean over its cross, itself counted once."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        height = x.shape[2]
        column = torch.einsum("bchw,bciw->bhwi", query, key)
        itself = torch.eye(height, dtype=torch.bool, device=x.device)[:, None]
        column = column.masked_fill(itself, float("-inf"))
        row = torch.einsum("bchw,bchj->bhwj", query, key)
        share = torch.cat([column, row], dim=3).softmax(dim=3)
        in_column = torch.einsum("bciw,bhwi->bchw", value, share[..., :height])
        return in_column + torch.einsum("bchj,bhwj->bchw", value, share[..., height:])
