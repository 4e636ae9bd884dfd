"""The context encoding head."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head, resized


class EncHead(Head):
    """Context encoding (Zhang et al., CVPR 2018): channels are scaled by what a code book says of the whole image.

    The original's second loss, on which classes are present in the image (SE loss), and the linear layer that only it
    reads, are left out; they take no part in a prediction.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of the encoded map; None for a quarter of those of the last feature.
        num_codes: Number of code words, at least 1.
        in_index: See `Head`; of several features the last is encoded, with all others fused into it.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the features that are fused too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels, that over the code words included.

    Raises:
        ValueError: As in `Head`, and if `num_codes` is less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        num_codes: int = 32,
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
        if num_codes < 1:
            raise ValueError(f"num_codes must be at least 1, got {num_codes}")
        *others, last = self.specs
        self.stride = last.stride
        self.bottleneck = conv_norm_relu(last.channels, self.channels, 3, norm=norm)
        self.laterals = nn.ModuleList(conv_norm_relu(spec.channels, self.channels, 1, norm=norm) for spec in others)
        self.fusion = (
            conv_norm_relu(len(self.specs) * self.channels, self.channels, 3, norm=norm) if others else nn.Identity()
        )
        self.encoding = Encoding(self.channels, num_codes, norm=norm)
        self.scaling = nn.Linear(self.channels, self.channels)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The last feature with its channels scaled."""
        *others, last = self.chosen(features)
        x = self.bottleneck(last)
        laterals = [
            resized(lateral(other), x, self.align_corners) for lateral, other in zip(self.laterals, others, strict=True)
        ]
        x = self.fusion(torch.cat([x, *laterals], dim=1))
        factor = self.scaling(self.encoding(x)).sigmoid()
        return F.relu(x + x * factor[:, :, None, None])


class Encoding(nn.Module):
    """How the places of a map differ from learned code words: one vector for the image."""

    def __init__(self, channels: int, num_codes: int, *, norm: NormFactory) -> None:
        super().__init__()
        self.projection = conv_norm_relu(channels, channels, 1, norm=norm)
        limit = 1 / math.sqrt(num_codes * channels)
        self.codewords = nn.Parameter(torch.empty(num_codes, channels).uniform_(-limit, limit))
        self.scale = nn.Parameter(torch.empty(num_codes).uniform_(-1, 0))
        self.norm = norm(num_codes)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels"]:
        """The mean over the code words of the differences that fall to each."""
        places = self.projection(x).flatten(2).transpose(1, 2)
        # By `cdist`, as autocast leaves it in full precision.
        share = (self.scale * torch.cdist(places, self.codewords).square()).softmax(dim=2)
        # The sum of share * (place - codeword), multiplied out, as the differences of all pairs would fill the memory.
        differences = share.transpose(1, 2) @ places - share.sum(dim=1)[..., None] * self.codewords
        return F.relu(self.norm(differences[..., None])).mean(dim=(1, 3))
