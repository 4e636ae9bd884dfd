"""A tile: some rows of one image, whose softmax is computed once for all who ask."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from seglit.losses.pixel_sum import Slopes
from seglit.losses.pixels import Pixels


class Softmax:
    """The softmax of logits over their channels, in the parts that it is made of, each computed when it is needed.

    Args:
        logits: not written to.
    """

    def __init__(self, logits: Float[Tensor, "batch channels height width"]) -> None:
        self.logits = logits

    @cached_property
    def peak(self) -> Float[Tensor, "batch height width"]:
        """The highest logit of each pixel."""
        return self.logits.amax(1)

    @cached_property
    def exponentials(self) -> Float[Tensor, "batch channels height width"]:
        """Those of the logits less the highest one."""
        return torch.sub(self.logits, self.peak[:, None]).exp_()

    @cached_property
    def total(self) -> Float[Tensor, "batch height width"]:
        """Their sum."""
        return self.exponentials.sum(1)

    @cached_property
    def probabilities(self) -> Float[Tensor, "batch channels height width"]:
        """The softmax. Takes the place of `exponentials`, which are not to be used any more."""
        return self.exponentials.mul_(self.total.reciprocal()[:, None])

    def times(self, factors: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch channels height width"]:
        """The softmax times a factor for each pixel. Takes its place, so it is the last thing to ask for."""
        if "probabilities" in self.__dict__:
            return self.probabilities.mul_(factors[:, None])
        return self.exponentials.mul_((factors / self.total)[:, None])


@dataclass(frozen=True)
class Tile(Pixels):
    """Pixels without graph that share one softmax.

    Attributes:
        softmax: of the logits; the same object in tiles that differ in what is kept.
    """

    softmax: Softmax = field(default_factory=lambda: Softmax(torch.empty(0)))

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
        return self.softmax.probabilities

    def surprise(self, *, use_sigmoid: bool) -> Float[Tensor, "batch height width"]:
        """See `Pixels.surprise`."""
        if use_sigmoid or self.channels == 1:
            return super().surprise(use_sigmoid=use_sigmoid)
        return self._surprise

    @cached_property
    def _surprise(self) -> Float[Tensor, "batch height width"]:
        softmax = self.softmax
        return torch.where(self.valid, softmax.total.log() + (softmax.peak - self._own_logit), 0.0)

    @cached_property
    def _own_logit(self) -> Float[Tensor, "batch height width"]:
        return self.at_label(self.logits)

    def surprise_of(self, doubts: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """See `Pixels.surprise_of`: the same to the last digits of the numbers around 1, and many times as quick."""
        sure = doubts.abs()
        return (doubts + sure).mul_(0.5).sub_(sure.sigmoid_().log_())

    def correct(self) -> Tensor:
        """See `Pixels.correct`."""
        if self.channels == 1:
            return super().correct()
        return self.valid & (self._own_logit >= self.softmax.peak)

    def gradient(self, slopes: Slopes) -> Float[Tensor, "batch channels height width"]:
        """The gradient in the logits, from its parts. The last thing to ask for, as it uses the softmax up."""
        surprise, probabilities, result = slopes.surprise, slopes.probabilities, slopes.logits
        if probabilities is not None:
            own = self.softmax.probabilities
            mean = torch.einsum("nchw,nchw->nhw", probabilities, own)
            through = probabilities.sub_((mean if surprise is None else mean - surprise)[:, None]).mul_(own)
        elif surprise is not None:
            through = self.softmax.times(surprise)
        else:
            assert result is not None  # some loss has a gradient
            return result
        if surprise is not None:
            self.add_at_label(through, -surprise)
        return through if result is None else result.add_(through)
