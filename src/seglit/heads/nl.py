"""The non-local head."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm
from seglit.features import FeatureSpec
from seglit.heads.attention import ConvsAround, attend, begin_at_zero
from seglit.heads.head import Features, Head

MODES = ("embedded_gaussian", "dot_product")


class NLHead(Head):
    """Two convolutions around a non-local block (Wang et al., CVPR 2018): each pixel sees a mean over all others.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each convolution; None for a quarter of those of the feature.
        reduction: By how much fewer channels the pixels are compared in, at least 1.
        mode: How products of pixels become weights: `embedded_gaussian` by a softmax; `dot_product` as they are.
        use_scale: Whether the products are divided, for `embedded_gaussian` by the root of their number of channels,
            for `dot_product` by the number of pixels, which the original always does.
        concat_input: Whether one more convolution sees the input again beside the result of the others.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and on another mode or a `reduction` less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        reduction: int = 2,
        mode: str = "embedded_gaussian",
        use_scale: bool = True,
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
        if mode not in MODES:
            raise ValueError(f"mode must be one of {list(MODES)}, got {mode!r}")
        block = partial(NonLocal, reduction=reduction, softmax=mode == MODES[0], use_scale=use_scale, norm=norm)
        self.body = ConvsAround(self.in_channels, self.channels, block, concat_input=concat_input, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature after the convolutions and the block."""
        embedded: Tensor = self.body(self.feature(features))
        return embedded


class NonLocal(nn.Module):
    """A map plus means over all its places, weighted by how well they fit."""

    def __init__(self, channels: int, *, reduction: int, softmax: bool, use_scale: bool, norm: NormFactory) -> None:
        super().__init__()
        inner = reduced(channels, reduction)
        self.query = projection(channels, inner)
        self.key = projection(channels, inner)
        self.value = projection(channels, inner)
        self.out = conv_norm(inner, channels, 1, norm=norm)
        begin_at_zero(self.out[1])
        self.softmax = softmax
        self.use_scale = use_scale

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map and what is added to it."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        if self.softmax:
            means = attend(query, key, value, scale=query.shape[1] ** -0.5 if self.use_scale else 1.0)
        else:
            # Keys and values first, which takes no product of all pairs of places.
            pairs = torch.einsum("bkhw,bvhw->bkv", key, value)
            means = torch.einsum("bkhw,bkv->bvhw", query, pairs)
            if self.use_scale:
                means = means / x[0, 0].numel()
        added: Tensor = self.out(means)
        return x + added


def reduced(channels: int, reduction: int) -> int:
    """The channels that pixels are compared in.

    Raises:
        ValueError: If `reduction` is less than 1.
    """
    if reduction < 1:
        raise ValueError(f"reduction must be at least 1, got {reduction}")
    return max(channels // reduction, 1)


def projection(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 1 x 1 convolution that begins near zero, as those of a non-local block do."""
    conv = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv
