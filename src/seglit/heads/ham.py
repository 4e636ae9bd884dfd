"""The head of SegNeXt."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from seglit.blocks import GroupNorm, NormFactory, conv_norm, conv_norm_relu, convolution
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head

EPSILON = 1e-6
"""Against division by zero."""


class LightHamHead(Head):
    """A light Hamburger (Geng et al., ICLR 2021; SegNeXt, Guo et al., NeurIPS 2022): global context of low rank.

    The features are fused at the finest's resolution, and to the result is added what remains of it when all
    its pixels are written as sums of `rank` vectors, found by so many steps of non-negative matrix
    factorisation. The steps begin with random vectors: new ones at each step of training; in evaluation always
    the same, where MMSegmentation draws anew, so that the same image has the same logits whatever stands beside it.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels before the classifier.
        ham_channels: Channels of the fused features.
        rank: Number of vectors.
        train_steps: Steps of the factorisation in training, which gradients go through.
        eval_steps: Steps in evaluation.
        in_index: See `Head`; the finest comes first.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the features too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, if the first feature is not the finest, and if the rank or a number of steps is
            less than 1.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int = 256,
        ham_channels: int = 256,
        rank: int = 16,
        train_steps: int = 6,
        eval_steps: int = 7,
        in_index: int | Sequence[int] = (1, 2, 3),
        dropout_ratio: float = 0.1,
        align_corners: bool = False,
        out_channels: int | None = None,
        norm: NormFactory = GroupNorm,
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
        self.finest_first()
        for name, value in {"rank": rank, "train_steps": train_steps, "eval_steps": eval_steps}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.rank = rank
        self.train_steps = train_steps
        self.eval_steps = eval_steps
        self.squeeze = conv_norm_relu(self.in_channels, ham_channels, 1, norm=norm)
        self.ham_in = convolution(ham_channels, ham_channels, 1, bias=True)
        self.ham_out = conv_norm(ham_channels, ham_channels, 1, norm=norm)
        self.align = conv_norm_relu(ham_channels, channels, 1, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The fused features with their global context."""
        fused: Tensor = self.squeeze(self.feature(features))
        pixels = F.relu(self.ham_in(fused)).flatten(2)
        steps = self.train_steps if self.training else self.eval_steps
        context = self.ham_out(factorised(pixels, self.bases(pixels), steps).view_as(fused))
        aligned: Tensor = self.align(F.relu(fused + context))
        return aligned

    def bases(self, pixels: Float[Tensor, "batch channels pixels"]) -> Float[Tensor, "batch channels rank"]:
        """The vectors of each image to begin with, of length 1."""
        batch, channels, _ = pixels.shape
        if self.training:
            bases = torch.rand(batch, channels, self.rank, device=pixels.device)
        else:
            generator = torch.Generator().manual_seed(0)
            bases = torch.rand(1, channels, self.rank, generator=generator, device="cpu").to(pixels.device)
            bases = bases.expand(batch, -1, -1)
        return F.normalize(bases, dim=1).to(pixels.dtype)


def factorised(
    pixels: Float[Tensor, "batch channels pixels"], bases: Float[Tensor, "batch channels rank"], steps: int
) -> Float[Tensor, "batch channels pixels"]:
    """Non-negative pixels as sums of few vectors, by multiplicative updates (Lee and Seung, NeurIPS 2000)."""

    def shares_of(shares: Tensor) -> Tensor:
        """Better shares of the vectors in each pixel."""
        return shares * (pixels.mT @ bases) / (shares @ (bases.mT @ bases) + EPSILON)

    shares = torch.softmax(pixels.mT @ bases, dim=-1)
    for _ in range(steps):
        shares = shares_of(shares)
        bases = bases * (pixels @ shares) / (bases @ (shares.mT @ shares) + EPSILON)
    return bases @ shares_of(shares).mT
