"""The laws of a sampler. Each is a function of the sampler and a batch, which raises where the law does not hold."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from seglit.testing.under_test import Batch, LawBrokenError, SamplerUnderTest

SamplerLaw = Callable[[SamplerUnderTest, Batch], None]
LEVELS = 2
"""Logits are whole multiples of this in the laws about ties."""


def never_void(sampler: SamplerUnderTest, batch: Batch) -> None:
    """A void pixel is never kept, even where there are too few others."""
    for thresh, min_kept in settings(sampler):
        kept = sampler.keeps(batch.logits, batch.labels, batch.ignore_index, thresh, min_kept)
        if (kept & ~batch.valid).any():
            raise LawBrokenError(f"{told(thresh, min_kept)}: keeps {int((kept & ~batch.valid).sum())} void pixels")


def enough_kept(sampler: SamplerUnderTest, batch: Batch) -> None:
    """At least `min_kept` pixels for each image are kept, or all valid ones if there are fewer."""
    enough(sampler, batch)


def enough_kept_under_ties(sampler: SamplerUnderTest, batch: Batch) -> None:
    """The same where many pixels, or all, are equally hard."""
    for one in (batch.right(2.0), batch.with_logits(torch.zeros_like(batch.logits)), tied(batch)):
        enough(sampler, one)


def monotone_in_thresh(sampler: SamplerUnderTest, batch: Batch) -> None:
    """A pixel that is kept stays so under a higher `thresh`."""
    for one in (batch, tied(batch)):
        before = torch.zeros_like(one.valid)
        for thresh in (0.1, 0.3, 0.5, 0.7, 0.9):
            kept = sampler.keeps(one.logits, one.labels, one.ignore_index, thresh, 2)
            if (before & ~kept).any():
                raise LawBrokenError(
                    f"thresh={thresh}: drops {int((before & ~kept).sum())} pixels that a lower one keeps"
                )
            before = kept


def order_of_pixels(sampler: SamplerUnderTest, batch: Batch) -> None:
    """The same pixels are kept in whatever order they come, ties included."""
    for one in (batch, tied(batch)):
        order = torch.randperm(one.labels.numel(), generator=batch.generator)
        moved = replace(one, logits=shuffled(one.logits, order), labels=shuffled(one.labels[:, None], order)[:, 0])
        for thresh, min_kept in settings(sampler):
            kept = sampler.keeps(one.logits, one.labels, one.ignore_index, thresh, min_kept)
            again = sampler.keeps(moved.logits, moved.labels, moved.ignore_index, thresh, min_kept)
            expected = shuffled(kept[:, None], order)[:, 0]
            if not torch.equal(again, expected):
                raise LawBrokenError(
                    f"{told(thresh, min_kept)}: in another order {int((again != expected).sum())} pixels are chosen "
                    "otherwise"
                )


SAMPLER_LAWS: tuple[SamplerLaw, ...] = (
    never_void,
    enough_kept,
    enough_kept_under_ties,
    monotone_in_thresh,
    order_of_pixels,
)
"""All laws of a sampler."""


def settings(sampler: SamplerUnderTest) -> list[tuple[float | None, int]]:
    """What `thresh` and `min_kept` the laws try."""
    counts = (2, 5, 1000)
    return [(thresh, count) for thresh in (0.3, 0.7) for count in counts] + [
        (None, count) for count in counts if sampler.ranks_by_loss
    ]


def told(thresh: float | None, min_kept: int) -> str:
    """The setting in words."""
    return f"thresh={thresh}, min_kept={min_kept}"


def tied(batch: Batch) -> Batch:
    """The batch with logits of few values, so that many pixels are equally hard."""
    return batch.with_logits((batch.logits / LEVELS).round() * LEVELS)


def shuffled(tensor: Tensor, order: Tensor) -> Tensor:
    """All pixels of all images in another order."""
    by_channel = tensor.transpose(0, 1)
    return by_channel.flatten(1)[:, order].reshape(by_channel.shape).transpose(0, 1)


def enough(sampler: SamplerUnderTest, batch: Batch) -> None:
    """Demand as many kept pixels as there should be at least."""
    for thresh, min_kept in settings(sampler):
        kept = sampler.keeps(batch.logits, batch.labels, batch.ignore_index, thresh, min_kept)
        least = min(min_kept * len(batch.labels), int(batch.valid.sum()))
        if kept.sum() < least:
            raise LawBrokenError(f"{told(thresh, min_kept)}: keeps {int(kept.sum())} pixels, not {least} at least")
