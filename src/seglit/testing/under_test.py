"""What the laws are held against: a loss or a sampler, and what it claims; and the batch they are tried on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Divisor = Literal["all", "valid", "kept", "class_weight", "formula", "mixed"]
ClassWeight = tuple[float, ...]
Cut = tuple[slice, slice, slice]
"""A part of a batch: which images, rows and columns."""
WHOLE: Cut = (slice(None), slice(None), slice(None))
VOID = 255


class LawBrokenError(AssertionError):
    """A law does not hold; says what was expected and what came."""


class NotClaimedError(Exception):
    """A law does not apply, as the loss does not claim what it is about; says what that is."""


@dataclass(frozen=True)
class LossUnderTest:
    """A loss, and what it claims. A law about something that is not claimed is not held against it.

    Attributes:
        name: what reports call it.
        compute: `(logits, labels, ignore_index)` to the loss, a scalar. Logits are `batch channels height width`,
            labels `batch height width`. Without a claim in `ignored` the labels hold no void.
        ignored: the labels that it can be told to ignore; the laws try each.
        classes: number of classes.
        channels: of the logits; `classes`, or 1 for the sigmoid of class 1 among two.
        divisor: what the sum over pixels is divided by. `all`: the pixels. `valid`: those with a known label. `kept`:
            those that the sampler chose. `class_weight`: the sum of the weights of the pixels that count. `formula`: it
            is no such quotient, but a formula of the pixels that count, as Dice is. `mixed`: a sum of losses, whose
            divisors differ, but none counts a pixel that is void or not kept. None: no claim.
        class_weight: the weights of the classes in `compute`; None without.
        with_class_weight: the same loss with other weights, by which the pixels of a class count.
        keeps: the pixels that its sampler chooses, bool; None without a sampler. Arguments as those of `compute`.
        keeps_by_count: whether the sampler keeps some number of pixels, so that more pixels change which are kept.
        adds_up: whether the loss of a batch follows from those of its parts.
        combine: the loss of a batch from its parts, each seen alone: as `compute`, with the parts as fourth argument.
            None: their mean, which is what data-parallel training and accumulation take; parts are then equally large.
        statistics: sums over the pixels of a part of the batch, the fourth argument; None if there are no such sums.
        classes_alike: whether no class is treated apart, other than by `class_weight`.
        differentiable: false for a score, of which only the values are looked at.
        tolerance: relative error that is taken for rounding, in float64.
    """

    name: str
    compute: Callable[[Tensor, Tensor, int], Tensor]
    ignored: tuple[int, ...] = ()
    classes: int = 4
    channels: int = 4
    divisor: Divisor | None = None
    class_weight: ClassWeight | None = None
    with_class_weight: Callable[[ClassWeight], "LossUnderTest"] | None = None
    keeps: Callable[[Tensor, Tensor, int], Tensor] | None = None
    keeps_by_count: bool = False
    adds_up: bool = True
    combine: Callable[[Tensor, Tensor, int, list[Cut]], Tensor] | None = None
    statistics: Callable[[Tensor, Tensor, int, Cut], Mapping[str, Tensor]] | None = None
    classes_alike: bool = True
    differentiable: bool = True
    tolerance: float = 1e-9


@dataclass(frozen=True)
class SamplerUnderTest:
    """A sampler of hard pixels, and what it claims.

    Attributes:
        name: what reports call it.
        keeps: `(logits, labels, ignore_index, thresh, min_kept)` to the pixels kept, bool. Hard are pixels whose true
            class has a probability below `thresh`; `min_kept` is the least number to keep for each image of the batch.
        ignored: the labels that it can be told to ignore; the laws try each.
        classes: number of classes.
        channels: of the logits.
        ranks_by_loss: whether `thresh=None` keeps the hardest pixels alone.
    """

    name: str
    keeps: Callable[[Tensor, Tensor, int, float | None, int], Tensor]
    ignored: tuple[int, ...] = (VOID,)
    classes: int = 4
    channels: int = 4
    ranks_by_loss: bool = True


@dataclass(frozen=True)
class Batch:
    """Logits and labels.

    Attributes:
        logits: before the activation.
        labels: class numbers, `ignore_index` where a pixel is void.
        ignore_index: the label of void pixels.
        seed: of whatever else a law draws.
    """

    logits: Float[Tensor, "batch channels height width"]
    labels: Int64[Tensor, "batch height width"]
    ignore_index: int = VOID
    seed: int = 0

    @property
    def valid(self) -> Bool[Tensor, "batch height width"]:
        """Where the label is known."""
        return self.labels != self.ignore_index

    @property
    def generator(self) -> torch.Generator:
        """For whatever else a law draws; the same numbers at each call."""
        return torch.Generator().manual_seed(self.seed)

    def with_labels(self, labels: Tensor) -> "Batch":
        """The same with other labels."""
        return replace(self, labels=labels)

    def with_logits(self, logits: Tensor) -> "Batch":
        """The same with other logits."""
        return replace(self, logits=logits)

    def right(self, size: float) -> "Batch":
        """The same with logits that are right everywhere, and equally sure: `size` at the true class, else `-size`."""
        channels = self.logits.shape[1]
        numbers = torch.arange(channels)[:, None, None] + (channels == 1)
        target = self.labels.masked_fill(~self.valid, 0)[:, None]
        return self.with_logits(torch.where(target == numbers, size, -size).to(self.logits.dtype))

    def first_image(self) -> "Batch":
        """The batch of its first image."""
        return replace(self, logits=self.logits[:1], labels=self.labels[:1])

    def chosen(self, places: Int64[Tensor, " places"]) -> "Batch":
        """These pixels of the first image, side by side, in this order; a pixel may be there twice."""
        return replace(
            self,
            logits=self.logits[:1].flatten(2)[:, :, places][:, :, None],
            labels=self.labels[:1].flatten(1)[:, places][:, None],
        )


def true_classes(subject: LossUnderTest | SamplerUnderTest, ignore_index: int) -> list[int]:
    """The classes that a pixel can have; not the one whose number is the ignored label."""
    void = {ignore_index} if subject.ignored else set()
    return [number for number in range(subject.classes) if number not in void]


def random_batch(
    subject: LossUnderTest | SamplerUnderTest,
    *,
    seed: int = 0,
    images: int = 2,
    height: int = 6,
    width: int = 5,
    void: float = 0.3,
    scale: float = 2.0,
    ignore_index: int | None = None,
) -> Batch:
    """A batch in float64 that fits the loss or sampler; every image has two valid pixels.

    Args:
        subject: its classes, channels and ignored labels are kept to.
        seed: of everything drawn.
        images: number of images.
        height: in pixels.
        width: in pixels.
        void: mean share of void pixels, spread unevenly over the images; without effect where no label is ignored.
        scale: standard deviation of the logits.
        ignore_index: one of the ignored labels; None: the first.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (images, height, width)
    if ignore_index is None:
        ignore_index = subject.ignored[0] if subject.ignored else VOID
    classes = torch.tensor(true_classes(subject, ignore_index))
    labels = classes[torch.randint(len(classes), shape, generator=generator)]
    if subject.ignored:
        share = 2 * void * torch.rand(images, 1, 1, generator=generator)
        voids = torch.rand(shape, generator=generator) < share
        voids[:, 0, :2] = False
        labels = labels.masked_fill(voids, ignore_index)
    logits = scale * torch.randn(images, subject.channels, height, width, dtype=torch.float64, generator=generator)
    return Batch(logits, labels, ignore_index, seed)
