"""The disentangled non-local head."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm
from seglit.features import FeatureSpec
from seglit.heads.attention import ConvsAround, attend, begin_at_zero
from seglit.heads.head import Features, Head
from seglit.heads.nl import projection, reduced


class DNLHead(Head):
    """Two convolutions around a disentangled non-local block (Yin et al., ECCV 2020).

    How two pixels fit and how much a pixel matters to all of them are learned apart.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each convolution; None for a quarter of those of the feature.
        reduction: By how much fewer channels the pixels are compared in, at least 1.
        use_scale: Whether the products of pixels are divided by the root of their number of channels.
        temperature: The products are divided by this before the softmax; positive.
        concat_input: Whether one more convolution sees the input again beside the result of the others.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if `reduction` is less than 1 or `temperature` not positive.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        reduction: int = 2,
        use_scale: bool = True,
        temperature: float = 0.05,
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
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        block = partial(
            DisentangledNonLocal, reduction=reduction, use_scale=use_scale, temperature=temperature, norm=norm
        )
        self.body = ConvsAround(self.in_channels, self.channels, block, concat_input=concat_input, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature after the convolutions and the block."""
        embedded: Tensor = self.body(self.feature(features))
        return embedded


class DisentangledNonLocal(nn.Module):
    """A map plus means over its places: one weighted by whitened pairs, one that is the same for all."""

    def __init__(
        self, channels: int, *, reduction: int, use_scale: bool, temperature: float, norm: NormFactory
    ) -> None:
        super().__init__()
        inner = reduced(channels, reduction)
        self.query = projection(channels, inner)
        self.key = projection(channels, inner)
        self.value = projection(channels, inner)
        self.saliency = nn.Conv2d(channels, 1, 1)
        self.out = conv_norm(inner, channels, 1, norm=norm)
        begin_at_zero(self.out[1])
        self.scale = (inner**-0.5 if use_scale else 1.0) / temperature

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map and what is added to it."""
        query, key, value = self.query(x), self.key(x), self.value(x)
        query = query - query.mean(dim=(2, 3), keepdim=True)
        key = key - key.mean(dim=(2, 3), keepdim=True)
        pairwise = attend(query, key, value, scale=self.scale)
        share = self.saliency(x).flatten(2).softmax(dim=2)
        unary = torch.einsum("bvp,bup->bv", value.flatten(2), share)
        added: Tensor = self.out(pairwise + unary[:, :, None, None])
        return x + added
