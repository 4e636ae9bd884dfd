"""The global context head."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory
from seglit.features import FeatureSpec
from seglit.heads.attention import ConvsAround, begin_at_zero
from seglit.heads.head import Features, Head

POOLINGS = ("att", "avg")
FUSIONS = ("channel_add", "channel_mul")


class GCHead(Head):
    """Two convolutions around a global context block (Cao et al., ICCVW 2019): one mean for all pixels.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each convolution; None for a quarter of those of the feature.
        ratio: How many channels the mean is squeezed to, as a share of `channels`; in (0, 1].
        pooling_type: `att` weighs each pixel by a learned score, `avg` all alike.
        fusion_types: What is done with the mean: `channel_add` adds it, `channel_mul` scales channels by its sigmoid;
            both together scale first.
        concat_input: Whether one more convolution sees the input again beside the result of the others.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels; that of the mean is always a LayerNorm.

    Raises:
        ValueError: As in `Head`, and on a value not named above.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        ratio: float = 0.25,
        pooling_type: str = "att",
        fusion_types: Sequence[str] = ("channel_add",),
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
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must lie in (0, 1], got {ratio}")
        if pooling_type not in POOLINGS:
            raise ValueError(f"pooling_type must be one of {list(POOLINGS)}, got {pooling_type!r}")
        if not fusion_types or not set(fusion_types) <= set(FUSIONS):
            raise ValueError(f"fusion_types must be one or more of {list(FUSIONS)}, got {list(fusion_types)}")
        block = partial(
            GlobalContext,
            ratio=ratio,
            scored=pooling_type == "att",
            added="channel_add" in fusion_types,
            scaled="channel_mul" in fusion_types,
        )
        self.body = ConvsAround(self.in_channels, self.channels, block, concat_input=concat_input, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature after the convolutions and the block."""
        embedded: Tensor = self.body(self.feature(features))
        return embedded


class GlobalContext(nn.Module):
    """A map with what one mean over its places says of each channel."""

    def __init__(self, channels: int, *, ratio: float, scored: bool, added: bool, scaled: bool) -> None:
        super().__init__()
        self.score = None
        if scored:
            self.score = nn.Conv2d(channels, 1, 1)
            nn.init.kaiming_normal_(self.score.weight, nonlinearity="relu")
            nn.init.zeros_(self.score.get_parameter("bias"))
        inner = max(int(channels * ratio), 1)
        self.addend = transform(channels, inner) if added else None
        self.factor = transform(channels, inner) if scaled else None

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map, scaled and added to."""
        if self.score is None:
            mean = x.mean(dim=(2, 3), keepdim=True)
        else:
            share = self.score(x).flatten(2).softmax(dim=2)
            mean = torch.einsum("bcp,bup->bc", x.flatten(2), share)[:, :, None, None]
        scaled = x if self.factor is None else x * self.factor(mean).sigmoid()
        return scaled if self.addend is None else scaled + self.addend(mean)


def transform(channels: int, inner: int) -> nn.Sequential:
    """From a mean to one number for each channel, at first zero."""
    expand = nn.Conv2d(inner, channels, 1)
    begin_at_zero(expand)
    return nn.Sequential(
        OrderedDict(
            reduce=nn.Conv2d(channels, inner, 1),
            norm=nn.LayerNorm([inner, 1, 1]),
            relu=nn.ReLU(inplace=True),
            expand=expand,
        )
    )
