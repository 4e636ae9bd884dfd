"""Online hard example mining over pixels."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from seglit.losses.pixels import can_look_at, histogram
from seglit.losses.ranks import ALONE, Ranks

DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS
"""Bits of a number that one histogram tells, and what they can be."""


def hard_pixels(
    losses: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
    *,
    thresh: float | None,
    min_kept: int,
    per_image: bool = True,
    ranks: Ranks = ALONE,
) -> Bool[Tensor, "batch height width"]:
    """Online hard example mining (Shrivastava et al., CVPR 2016) over the pixels of a batch: `losses >= limit`.

    A void pixel is never kept. `losses` are -log of the true class's probability, unweighted, in nats and not negative;
    `valid` is where the label is known; the rest as for `hardness_limit`.
    """
    ranked = ranking(losses, valid)
    return ranked >= hardness_limit(ranked, thresh=thresh, min_kept=min_kept, per_image=per_image, ranks=ranks)


def ranking(
    losses: Float[Tensor, "batch height width"], valid: Bool[Tensor, "batch height width"]
) -> Float[Tensor, "batch height width"]:
    """The losses without gradient, below zero where a pixel is void, so that it is never kept.

    A loss that is no number is the greatest of all: a net that has gone astray is not to be hidden by the choice.
    """
    known = torch.where(valid, losses.detach(), -1.0)
    return known.nan_to_num(nan=math.inf, posinf=math.inf)


def hardness_limit(
    ranked: Float[Tensor, "batch *pixels"],
    *,
    thresh: float | None,
    min_kept: int,
    per_image: bool = True,
    ranks: Ranks = ALONE,
) -> Float[Tensor, ""]:
    """The least loss of a pixel that is hard; no gradient.

    Hard is every valid pixel whose true class has probability below `thresh`, and the `min_kept * batch` hardest, or
    all valid ones if there are fewer. Pixels as hard as the last of these are hard as well, so that the choice does not
    depend on the order of pixels, nor on which rank has which.

    Args:
        ranked: what `ranking` makes of -log of the true class's probability, unweighted, in nats.
        thresh: probability in (0, 1]; None keeps the hardest alone.
        min_kept: pixels per image of the batch; not negative.
        per_image: False has `min_kept` for the whole batch, however many images it has.
        ranks: who shares the batch. All its pixels are compared, and all its images counted.
    """
    limit = ranked.new_full((), math.inf if thresh is None else below(thresh, ranked.dtype))
    if min_kept == 0:
        return limit
    images = torch.full((1,), len(ranked), device=ranked.device)
    images, hard = ranks.summed([images, (ranked >= limit).sum()[None]])
    needed = min_kept * images.squeeze(0)
    if not per_image:
        needed = torch.full_like(needed, min_kept)
    # Looking at a number costs nothing here, and no rank sees another.
    if can_look_at(ranked) and hard >= needed:
        return limit
    return torch.minimum(limit, kth_greatest(ranked, needed, ranks))


def below(thresh: float, dtype: torch.dtype) -> float:
    """The least -log of a probability that is below `thresh`, in the numbers of a type."""
    return torch.nextafter(torch.tensor(-math.log(thresh), dtype=dtype), torch.tensor(math.inf, dtype=dtype)).item()


def kth_greatest(values: Float[Tensor, "*shape"], k: Int64[Tensor, ""], ranks: Ranks = ALONE) -> Float[Tensor, ""]:
    """The k-th greatest of the values of all ranks that are not negative, 0 where there are fewer; without sorting.

    Numbers that are not negative are in the order of their bits. So the bits of the answer are found from the highest
    down, some at a time, each time from a histogram of these bits among the values that agree with the higher ones.
    Nothing is read back to the host on the way.

    Args:
        values: float32 or float64; negative ones, minus zero too, take no part.
        k: 1 or more.
        ranks: who has the rest of the values.
    """
    width = torch.finfo(values.dtype).bits
    bits = values.flatten().view(torch.int32 if width == 32 else torch.int64)
    prefix, left, rest = k.new_zeros(()), k.clone(), None
    for shift in reversed(range(0, width - 1, DIGIT_BITS)):
        # The highest digit has the sign before it, so that of a negative number is beyond those of the others.
        highest = shift + DIGIT_BITS >= width - 1
        length = 1 << (width - 1 - shift) if highest else DIGITS
        digits = (bits >> shift) & ((2 * length if highest else length) - 1)
        if rest is not None:
            # A value that is out of the race is counted beyond the last digit.
            digits = digits.masked_fill(~rest, length)
        (counts,) = ranks.summed([histogram(digits, 2 * length)[:length]])
        from_top = counts.flip(0).cumsum(0).flip(0)
        # The digit of the answer is the greatest from which on there are `left` values, 0 if there never are.
        digit = ((from_top >= left).sum() - 1).clamp(min=0)
        # By an index that is a tensor of no dimension, `from_top[digit]`, torch would look at the index.
        left = left - (from_top - counts).gather(0, digit[None]).squeeze(0)
        prefix = prefix | (digit << shift)
        agrees = digits == digit
        if can_look_at(values):
            bits = bits[agrees.nonzero()[:, 0]]
        else:
            # There it would have to be waited for how many there are.
            rest = agrees if rest is None else rest & agrees
    return prefix.to(torch.int32 if width == 32 else torch.int64).view(values.dtype)


class OHEMPixelSampler(nn.Module):
    """Chooses the pixels that losses are computed on: the hard ones. See `hard_pixels`.

    Args:
        thresh: pixels whose true class has a probability below it are hard; in (0, 1]. None: only `min_kept` counts.
        min_kept: keep at least this many pixels per image of the batch.
        per_image: False has `min_kept` for the whole batch, that of all ranks, however many images it has: what
            MMSegmentation's `OhemCrossEntropy` does, of PIDNet and DDRNet.
    """

    def __init__(self, thresh: float | None = None, min_kept: int = 100000, per_image: bool = True) -> None:
        super().__init__()
        if thresh is not None and not 0.0 < thresh <= 1.0:
            raise ValueError(f"thresh: a probability in (0, 1], got {thresh}")
        if min_kept < 0:
            raise ValueError(f"min_kept: must not be negative, got {min_kept}")
        if thresh is None and min_kept == 0:
            raise ValueError("min_kept=0 without thresh keeps no pixel; raise min_kept or give thresh")
        self.thresh = thresh
        self.min_kept = min_kept
        self.per_image = per_image

    def certain_limit(self, dtype: torch.dtype) -> float:
        """The least loss of a pixel that is kept however many others there are; infinity without `thresh`."""
        return math.inf if self.thresh is None else below(self.thresh, dtype)

    def limit(self, ranked: Float[Tensor, "batch *pixels"], ranks: Ranks = ALONE) -> Float[Tensor, ""]:
        """The least loss of a pixel that is kept. See `hardness_limit`."""
        return hardness_limit(ranked, thresh=self.thresh, min_kept=self.min_kept, per_image=self.per_image, ranks=ranks)

    def forward(
        self,
        losses: Float[Tensor, "batch height width"],
        valid: Bool[Tensor, "batch height width"],
        ranks: Ranks = ALONE,
    ) -> Bool[Tensor, "batch height width"]:
        """True at the pixels kept; no gradient. See `hard_pixels`."""
        return hard_pixels(
            losses, valid, thresh=self.thresh, min_kept=self.min_kept, per_image=self.per_image, ranks=ranks
        )
