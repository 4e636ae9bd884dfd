"""A tile: some rows of one image, whose softmax is computed once for all who ask."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seglit.losses.pixel_sum import Slopes
from seglit.losses.pixels import Pixels


class Softmax:
    """The softmax of logits over their channels, in the parts that it is made of, each computed when it is needed.

    Args:
        logits: not written to.
    """

    def __init__(self, logits: Float[Tensor, "batch channels height width"]) -> None:
        self._logits = logits

    @cached_property
    def peak(self) -> Float[Tensor, "batch height width"]:
        """The highest logit of each pixel."""
        return self._logits.amax(1)

    @cached_property
    def _exponentials(self) -> Float[Tensor, "batch channels height width"]:
        return torch.sub(self._logits, self.peak[:, None]).exp_()

    @cached_property
    def total(self) -> Float[Tensor, "batch height width"]:
        """The sum of the exponentials of the logits less the highest one."""
        return self._exponentials.sum(1)

    @cached_property
    def probabilities(self) -> Float[Tensor, "batch channels height width"]:
        """The softmax, in the place of the exponentials. To be written into by the last who asks."""
        return self._exponentials.mul_(self.total.reciprocal()[:, None])

    def times(self, factors: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch channels height width"]:
        """The softmax times a factor for each pixel, in its own place: the last thing to ask for."""
        if "probabilities" in self.__dict__:
            return self.probabilities.mul_(factors[:, None])
        return self._exponentials.mul_((factors / self.total)[:, None])


@dataclass(frozen=True)
class Tile(Pixels):
    """Pixels without graph that share one softmax.

    Attributes:
        softmax: of the logits, if another tile has it already.
    """

    softmax: Softmax | None = None

    @cached_property
    def _softmax(self) -> Softmax:
        return self.softmax or Softmax(self.logits)

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
        softmax = self._softmax
        return torch.where(self.valid, softmax.total.log() + (softmax.peak - self._own_logit), 0.0)

    @cached_property
    def _own_logit(self) -> Float[Tensor, "batch height width"]:
        return self.at_label(self.logits)

    def surprise_of(self, doubts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See `Pixels.surprise_of`: the same to the last digits of the numbers around 1, and many times as quick."""
        sure = doubts.abs()
        return (doubts + sure).mul_(0.5).sub_(sure.sigmoid_().log_())

    def correct(self) -> Bool[Tensor, "batch height width"]:
        """See `Pixels.correct`."""
        if self.channels == 1:
            return super().correct()
        return self.valid & (self._own_logit >= self._softmax.peak)

    def keeping(self, kept: Bool[Tensor, "batch height width"]) -> "Tile":
        """The same pixels and softmax with another choice among them."""
        other = Tile(self.logits, self.labels, self.ignore_index, kept, None, self._softmax)
        # What does not depend on the choice is not computed again.
        common = ("valid", "target", "_own_logit", "_surprise")
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name in common})
        return other

    def gradient(self, slopes: Slopes) -> Float[Tensor, "batch channels height width"]:
        """The gradient in the logits, from its parts. The last thing to ask for, as it writes into the softmax."""
        surprise, probabilities, result = slopes.surprise, slopes.probabilities, slopes.logits
        if surprise is None and probabilities is None:
            assert result is not None  # some loss has a gradient
            return result
        if surprise is None:
            surprise = torch.zeros_like(self.logits[:, 0])
        if probabilities is None:
            through = self._softmax.times(surprise)
        else:
            own = self._softmax.probabilities
            mean = (probabilities * own).sum(1)
            through = probabilities.sub_((mean - surprise)[:, None]).mul_(own)
        self.add_at_label(through, -surprise)
        return through if result is None else result.add_(through)
