"""A tile: some rows of one image, whose softmax is computed once for all who ask."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from seglit.losses.pixel_sum import Slopes
from seglit.losses.pixels import Pixels


class Softmax:
    """The softmax of logits over their channels, first as a logarithm, then itself in the same memory.

    Args:
        logits: not written to.
        own: takes the channel of each pixel's true class out of a map.
    """

    def __init__(self, logits: Float[Tensor, "batch channels height width"], own: Callable[[Tensor], Tensor]) -> None:
        self._logits = logits
        self._own = own

    @cached_property
    def _log(self) -> Float[Tensor, "batch channels height width"]:
        return F.log_softmax(self._logits, 1)

    @cached_property
    def own(self) -> Float[Tensor, "batch height width"]:
        """The logarithm of the true class's probability; at void pixels that of some class."""
        return self._own(self._log)

    @cached_property
    def highest(self) -> Float[Tensor, "batch height width"]:
        """The logarithm of the highest probability."""
        return self._log.amax(1)

    @cached_property
    def probabilities(self) -> Float[Tensor, "batch channels height width"]:
        """The softmax. To be written into by the last who asks."""
        # These are read off the logarithm while it is there.
        _ = self.own, self.highest
        return self._log.exp_()


@dataclass(frozen=True)
class Tile(Pixels):
    """Pixels without graph that share one softmax.

    Attributes:
        softmax: of the logits, if another tile has it already.
    """

    softmax: Softmax | None = None

    @cached_property
    def _softmax(self) -> Softmax:
        return self.softmax or Softmax(self.logits, self.at_label)

    @cached_property
    def _weights(self) -> dict[tuple[float, ...] | None, Tensor]:
        return {}

    def weight(self, class_weight: tuple[float, ...] | None) -> Float[Tensor, "batch height width"]:
        """See `Pixels.weight`."""
        if class_weight not in self._weights:
            self._weights[class_weight] = super().weight(class_weight)
        return self._weights[class_weight]

    def probabilities(self, *, use_sigmoid: bool) -> Float[Tensor, "batch channels height width"]:
        """See `Pixels.probabilities`."""
        if use_sigmoid or self.channels == 1:
            return super().probabilities(use_sigmoid=True)
        return self._softmax.probabilities

    def surprise(self, *, use_sigmoid: bool) -> Float[Tensor, "batch height width"]:
        """See `Pixels.surprise`."""
        if use_sigmoid or self.channels == 1:
            return super().surprise(use_sigmoid=use_sigmoid)
        return self._surprise

    @cached_property
    def _surprise(self) -> Float[Tensor, "batch height width"]:
        return torch.where(self.valid, -self._softmax.own, 0.0)

    def surprise_of(self, doubts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See `Pixels.surprise_of`: the same to the last digits of the numbers around 1, and many times as quick."""
        sure = doubts.abs()
        return (doubts + sure).mul_(0.5).sub_(sure.sigmoid_().log_())

    def correct(self) -> Bool[Tensor, "batch height width"]:
        """See `Pixels.correct`."""
        if self.channels == 1:
            return super().correct()
        return self.valid & (self._softmax.own >= self._softmax.highest)

    def keeping(self, kept: Bool[Tensor, "batch height width"]) -> "Tile":
        """The same pixels and softmax with another choice among them."""
        return Tile(self.logits, self.labels, self.ignore_index, kept, None, self._softmax)

    def gradient(self, slopes: Slopes) -> Float[Tensor, "batch channels height width"]:
        """The gradient in the logits, from its parts. The last thing to ask for, as it writes into the softmax."""
        surprise, probabilities, result = slopes.surprise, slopes.probabilities, slopes.logits
        if surprise is None and probabilities is None:
            assert result is not None  # some loss has a gradient
            return result
        through = self._softmax.probabilities
        if surprise is None:
            surprise = torch.zeros_like(through[:, 0])
        if probabilities is None:
            through.mul_(surprise[:, None])
        else:
            mean = torch.einsum("nchw,nchw->nhw", probabilities, through)
            through.mul_(probabilities.sub_((mean - surprise)[:, None]))
        self.add_at_label(through, -surprise)
        return through if result is None else result.add_(through)
