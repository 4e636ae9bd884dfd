"""The pixels of one head, of which only sums are kept."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from seglit.losses.pixel_mean import PixelMeanLoss
from seglit.losses.pixel_sum import PixelSumLoss

Key = tuple[str, str]
"""A term, or none for what is watched, and the name of a statistic."""
Found = dict[Key, Tensor]


class LeanPixels(ABC):
    """The statistics of a head's losses, and their gradient, without all logits at full resolution.

    Where the trained loss is a single weighted sum over pixels, its gradient is known up to one factor, and comes with
    the statistics. Otherwise each pixel is made again once the formulas have told how much each sum matters.

    Args:
        logits: at any stride.
        losses: the losses of the head; `is_pixel_sum`.
        trained: the names of those that get a gradient.

    Attributes:
        limit: the least surprise of a pixel that the sampler keeps; None without a sampler.
    """

    _statistics: Found

    def __init__(
        self,
        logits: Float[Tensor, "batch channels low_height low_width"],
        losses: Mapping[str, PixelSumLoss],
        trained: set[str],
    ) -> None:
        for loss in losses.values():
            loss.refuse_unmeasured()
        self.logits = logits
        self.losses = losses
        self.trained = {name: loss for name, loss in losses.items() if name in trained}
        self.dtype = torch.promote_types(logits.dtype, torch.float32)
        self.limit: Tensor | None = None
        (alone,) = self.trained.values() if len(self.trained) == 1 else (None,)
        needs_gradient = logits.requires_grad and torch.is_grad_enabled()
        self._comes_along = needs_gradient and isinstance(alone, PixelMeanLoss) and alone.is_one_sum
        self._gradient: Tensor | None = None

    def totals(self) -> dict[Key, Tensor]:
        """The totals of all losses, by term and name, with a graph to the logits; see `Loss.totals`."""
        statistics = dict(self._statistics)
        keys = [key for key in statistics if key[0] in self.trained]
        if self.logits.requires_grad and torch.is_grad_enabled():
            values = [statistics[key] for key in keys]
            connected = _Connected.apply(self.logits, self, keys, *values)
            statistics |= dict(zip(keys, connected, strict=True))
        totals = {key: value.sum(0) if value.ndim else value for key, value in statistics.items() if not key[0]}
        for term, loss in self.losses.items():
            own = {name: value for (of, name), value in statistics.items() if of == term}
            totals |= {(term, name): value for name, value in loss.totals_of(own).items()}
        return totals

    def gradient(self, coefficients: Mapping[Key, Tensor]) -> Tensor:
        """The gradient in the logits of the statistics, each times its coefficients, and summed."""
        if self._gradient is None:
            return self._second_visit(coefficients)
        # Given away, as it may be as large as the logits; who asks again has another made.
        gradient, self._gradient = self._gradient, None
        (name,) = self.trained
        return gradient.mul_(coefficients[name, "sum"])

    @abstractmethod
    def _second_visit(self, coefficients: Mapping[Key, Tensor]) -> Tensor:
        """The same, where it did not come with the statistics or was given away."""

    def _room(self) -> Tensor:
        """For the gradient, whatever is in it."""
        return torch.empty_like(self.logits, dtype=self.dtype, memory_format=torch.contiguous_format)


class _Connected(torch.autograd.Function):
    """Statistics that are known already, as functions of the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, pixels: LeanPixels, keys: list[Key], *statistics: Tensor) -> Any:
        # So that torch notices if they are changed before the backward pass, which reads them again.
        ctx.save_for_backward(logits)
        ctx.pixels = pixels
        ctx.keys = keys
        ctx.set_materialize_grads(False)
        return tuple(value.clone() for value in statistics)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "criterion: the tiled loss has no second derivative, as create_graph=True needs; give tiled=False"
            )
        (logits,) = ctx.saved_tensors
        given = {key: value for key, value in zip(ctx.keys, gradients, strict=True) if value is not None}
        nothing = [None] * (2 + len(gradients))
        if not given:
            return (None, *nothing)
        return (ctx.pixels.gradient(given).to(logits.dtype), *nothing)


def size_of(maps: Tensor) -> tuple[int, int]:
    """Height and width."""
    height, width = maps.shape[-2:]
    return height, width
