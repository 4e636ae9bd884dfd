"""Losses that are a formula of sums over pixels, which may be added up piece by piece."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from seglit.losses.kernel import Term
from seglit.losses.loss import Loss
from seglit.losses.pixels import Pixels


@dataclass(frozen=True)
class Slopes:
    """A gradient, in parts that a softmax is common to; None is zero.

    Attributes:
        surprise: in the surprise of each pixel, -log of its true class's probability by the softmax; zero where void.
        probabilities: in the softmax.
        logits: in the logits themselves.
    """

    surprise: Float[Tensor, "batch height width"] | None = None
    probabilities: Float[Tensor, "batch channels height width"] | None = None
    logits: Float[Tensor, "batch channels height width"] | None = None

    def __add__(self, other: "Slopes") -> "Slopes":
        """The gradient of a sum."""
        return Slopes(
            _sum(self.surprise, other.surprise),
            _sum(self.probabilities, other.probabilities),
            _sum(self.logits, other.logits),
        )


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


class PixelSumLoss(Loss):
    """A loss that is a formula of sums over the pixels of each image: it can be computed a tile at a time."""

    @abstractmethod
    def statistics(self, pixels: Pixels) -> dict[str, Tensor]:
        """The sums over the pixels, which add up over any cut of the images into tiles.

        Each is a number for all images, or has one entry for each image along its first dimension. Differentiable in
        the logits.
        """

    def totals_of(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The totals, see `Loss.totals`, of images from their statistics."""
        return dict(statistics)

    def totals(self, pixels: Pixels) -> dict[str, Tensor]:
        """See `Loss.totals`."""
        return self.totals_of(self.statistics(pixels))

    def slopes(self, pixels: Pixels, coefficients: Mapping[str, Tensor]) -> Slopes:
        """The gradient of the statistics, each times its coefficients, and summed.

        A loss that knows its gradient says so here, which is quicker than to find it out. Asked for only if it is
        written for the formula that the loss has, see `gradient_parts`.
        """
        return self.slopes_by_autograd(pixels, coefficients)

    def slopes_by_autograd(self, pixels: Pixels, coefficients: Mapping[str, Tensor]) -> Slopes:
        """The same from the statistics themselves."""
        logits = pixels.logits.detach().requires_grad_()
        with torch.enable_grad():
            statistics = self.statistics(Pixels(logits, pixels.labels, pixels.ignore_index, pixels.kept))
            total = sum((coefficients[name] * statistics[name]).sum() for name in coefficients)
        assert isinstance(total, Tensor)  # of one coefficient at least
        return Slopes(logits=torch.autograd.grad(total, logits)[0])

    def gradient_parts(self, pixels: Pixels, coefficients: Mapping[str, Tensor]) -> Slopes:
        """`slopes`, or what autograd finds where a subclass has changed the formula and not its slopes."""
        if slopes_fit(type(self)):
            return self.slopes(pixels, coefficients)
        return self.slopes_by_autograd(pixels, coefficients)

    def kernel_term(self, channels: int) -> Term | None:
        """What a kernel computes for this loss with logits of so many channels; None if it does not know how."""
        return None

    def known_term(self, channels: int) -> Term | None:
        """`kernel_term`, unless a subclass has changed the formula after it."""
        return self.kernel_term(channels) if term_fits(type(self)) else None

    @property
    def is_pixel_sum(self) -> bool:
        """See `Loss.is_pixel_sum`: unless a subclass has totals of its own."""
        return type(self).totals is PixelSumLoss.totals


@lru_cache
def slopes_fit(loss: type[PixelSumLoss]) -> bool:
    """Whether the slopes were written with the formula or after it, and not inherited from the loss of another."""
    return newest(loss, "slopes", "surprise_slope") <= newest(loss, *FORMULA)


@lru_cache
def term_fits(loss: type[PixelSumLoss]) -> bool:
    """The same of the term for a kernel."""
    return newest(loss, "kernel_term") <= newest(loss, *FORMULA, "slopes", "surprise_slope", "divisor_of")


FORMULA = ("statistics", "pixel_loss")


def newest(loss: type[PixelSumLoss], *names: str) -> int:
    """How many classes back one of the names was last given a meaning."""
    return min(place for place, one in enumerate(loss.__mro__) for name in names if name in vars(one))
