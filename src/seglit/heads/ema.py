"""The expectation-maximisation attention head."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm, conv_norm_relu, convolution
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head


class EMAHead(Head):
    """Expectation-maximisation attention (Li et al., ICCV 2019): pixels are rebuilt from a few bases found in them.

    The search begins at bases that training keeps a moving average of, over all processes where there are several.
    No gradient goes through it, as in the original, nor to the projection before it, which keeps its first weights.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of what `embed` returns; None for a quarter of those of the feature.
        ema_channels: Channels of the bases; None for twice `channels`.
        num_bases: Number of bases, at least 1.
        num_stages: Steps of the search, at least 1.
        momentum: The share of a batch in the moving average; in [0, 1].
        concat_input: Whether one more convolution sees the input again beside the result of the others.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if `num_bases`, `num_stages` or `momentum` are out of range.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        ema_channels: int | None = None,
        num_bases: int = 64,
        num_stages: int = 3,
        momentum: float = 0.1,
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
        inner = 2 * self.channels if ema_channels is None else ema_channels
        self.reduction = conv_norm_relu(self.in_channels, inner, 3, norm=norm)
        self.projection = convolution(inner, inner, 1, bias=True)
        self.projection.requires_grad_(False)
        self.attention = BasesAttention(inner, num_bases=num_bases, num_stages=num_stages, momentum=momentum)
        self.out = conv_norm(inner, inner, 1, norm=norm)
        self.bottleneck = conv_norm_relu(inner, self.channels, 3, norm=norm)
        self.fusion = (
            conv_norm_relu(self.in_channels + self.channels, self.channels, 3, norm=norm) if concat_input else None
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature plus what the bases say of it, after the convolutions."""
        feature = self.feature(features)
        x = self.reduction(feature)
        rebuilt = F.relu(self.attention(self.projection(x)))
        embedded: Tensor = self.bottleneck(F.relu(x + self.out(rebuilt)))
        return embedded if self.fusion is None else self.fusion(torch.cat([feature, embedded], dim=1))


class BasesAttention(nn.Module):
    """A map rebuilt from few bases.

    Attributes:
        bases: Where the search begins, `1 channels bases`, each of length one; a moving average in training.
    """

    bases: Tensor

    def __init__(self, channels: int, *, num_bases: int, num_stages: int, momentum: float) -> None:
        super().__init__()
        if num_bases < 1:
            raise ValueError(f"num_bases must be at least 1, got {num_bases}")
        if num_stages < 1:
            raise ValueError(f"num_stages must be at least 1, got {num_stages}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie between 0 and 1, got {momentum}")
        bases = torch.randn(1, channels, num_bases) * math.sqrt(2 / num_bases)
        self.register_buffer("bases", F.normalize(bases, dim=1))
        self.num_stages = num_stages
        self.momentum = momentum

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """Each place as a mixture of the bases that were found for its image."""
        places = x.flatten(2)
        bases = self.bases.to(x.dtype).expand(len(x), -1, -1)
        for _ in range(self.num_stages):
            share = (places.transpose(1, 2) @ bases).softmax(dim=2)
            bases = F.normalize(places @ F.normalize(share, p=1, dim=1), dim=1)
        if self.training:
            self.remember(bases)
        return (bases @ share.transpose(1, 2)).view_as(x)

    def remember(self, bases: Float[Tensor, "batch channels bases"]) -> None:
        """Move the average towards the bases of a batch, shared out to processes or not."""
        mean = bases.mean(dim=0, keepdim=True).to(self.bases.dtype)
        if distributed.is_available() and distributed.is_initialized():
            # Of the sum over processes only the direction counts.
            distributed.all_reduce(mean)
        self.bases.lerp_(F.normalize(mean, dim=1), self.momentum)
