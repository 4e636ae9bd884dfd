"""What a kernel computes: the sums of a head's losses over its pixels and their gradient, each pixel made once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from jaxtyping import Float, Int64
from torch import Tensor

from seglit.losses.pixels import table
from seglit.upsampling import Upsampling


@dataclass(frozen=True)
class MeanTerm:
    """A sum over pixels of `weights[label] * (1 - p)**gamma * surprise`, with `surprise = -log p` of the softmax.

    Attributes:
        weights: of each class; None for one.
        gamma: not negative.
    """

    weights: tuple[float, ...] | None
    gamma: float = 0.0


@dataclass(frozen=True)
class OverlapTerm:
    """For each class the sums over pixels of `w p y` and `w p**power`, with `w = weights[label]`; see `OverlapLoss`.

    Attributes:
        weights: of each class; None for one.
        power: 1 or 2.
    """

    weights: tuple[float, ...] | None
    power: int


Term = MeanTerm | OverlapTerm
ALL, LOOK, CHOSEN = range(3)
"""Modes of a visit, see `mode_of`; kernels know them by these numbers."""


@dataclass(frozen=True)
class Job:
    """What stays the same over the visits of a batch.

    Attributes:
        logits: float32 or float64, at any stride, contiguous, without graph.
        labels: at full size.
        upsampling: from the one size to the other.
        ignore_index: the label of void pixels.
        means: the terms of one kind.
        overlaps: those of the other.
    """

    logits: Float[Tensor, "batch channels low_height low_width"]
    labels: Int64[Tensor, "batch height width"]
    upsampling: Upsampling
    ignore_index: int
    means: Sequence[MeanTerm]
    overlaps: Sequence[OverlapTerm]

    def weights(self, terms: Sequence[Term]) -> Float[Tensor, "terms channels"]:
        """The weights of each class, on the device."""
        channels = self.logits.shape[1]
        rows = [term.weights or (1.0,) * channels for term in terms]
        flat = tuple(weight for row in rows for weight in row)
        return table(flat, self.logits.dtype, self.logits.device).view(len(terms), channels)


@dataclass(frozen=True)
class Choice:
    """Which of the valid pixels count.

    Attributes:
        surprise: of each pixel; -1 where it is void, infinity where it is no number.
        known: whether an earlier visit computed it; otherwise this one does, and writes it there.
        lower: the least surprise of a pixel that counts.
        upper: where those end that count; None for no end.
    """

    surprise: Float[Tensor, "batch height width"]
    known: bool
    lower: Float[Tensor, ""]
    upper: Float[Tensor, ""] | None = None


def mode_of(choice: Choice | None) -> int:
    """Whether a visit is to all pixels, looks at them to choose, or is to those that are chosen."""
    return ALL if choice is None else CHOSEN if choice.known else LOOK


@dataclass(frozen=True)
class Slopes:
    """How much each sum matters, and where the gradient of all of them goes.

    Attributes:
        means: of the sum of each term.
        overlaps: of the two sums of each term, by image and class.
        total: to which the gradient in the logits is added.
        is_fresh: whether nothing is in the total yet, not even zeros.
    """

    means: Float[Tensor, " means"]
    overlaps: Float[Tensor, "batch overlaps 2 channels"]
    total: Float[Tensor, "batch channels low_height low_width"]
    is_fresh: bool


@dataclass(frozen=True)
class Sums:
    """What a visit found.

    Attributes:
        correct: valid pixels in which no class has a higher score than the true one; zero where the surprise was known.
        valid: pixels of each class; zero where the surprise was known.
        counted: those of them that count.
        means: the sum of each term.
        overlaps: the two sums of each term.
    """

    correct: Float[Tensor, " batch"]
    valid: Float[Tensor, "batch channels"]
    counted: Float[Tensor, "batch channels"]
    means: Float[Tensor, "batch means"]
    overlaps: Float[Tensor, "batch overlaps 2 channels"]

    def __add__(self, other: "Sums") -> "Sums":
        """The sums of two visits."""
        return Sums(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


Kernel = Callable[[Job, Choice | None, Slopes | None], Sums]
"""One visit: makes each pixel once, or where the surprise is known each that counts, adds up what the terms want of it,
and forgets it. Without a choice all valid pixels count; without slopes no gradient is wanted."""
