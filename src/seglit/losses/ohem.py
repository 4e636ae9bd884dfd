"""Online hard example mining over pixels."""

import math
from functools import lru_cache

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
    ranks: Ranks = ALONE,
) -> Bool[Tensor, "batch height width"]:
    """Online hard example mining (Shrivastava et al., CVPR 2016) over the pixels of a batch: `losses >= limit`.

    A void pixel is never kept. Arguments as for `hardness_limit`.
    """
    return valid & (losses.detach() >= hardness_limit(losses, valid, thresh=thresh, min_kept=min_kept, ranks=ranks))


def hardness_limit(
    losses: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
    *,
    thresh: float | None,
    min_kept: int,
    ranks: Ranks = ALONE,
) -> Float[Tensor, ""]:
    """The least loss of a pixel that is hard; no gradient.

    Hard is every valid pixel whose true class has probability below `thresh`, and the `min_kept * batch` hardest, or
    all valid ones if there are fewer. Pixels as hard as the last of these are hard as well, so that the choice does not
    depend on the order of pixels, nor on which rank has which.

    Args:
        losses: -log of the true class's probability, unweighted, in nats; not negative.
        valid: where the label is known.
        thresh: probability in (0, 1]; None keeps the hardest alone.
        min_kept: pixels per image of the batch; not negative.
        ranks: who shares the batch. All its pixels are compared, and all its images counted.
    """
    losses = losses.detach()
    limit = losses.new_full((), math.inf if thresh is None else below(thresh, losses.dtype))
    if min_kept == 0:
        return limit
    below_thresh = (losses >= limit) & valid
    images, hard = ranks.summed([losses.new_full((1,), len(losses), dtype=torch.int64), below_thresh.sum()[None]])
    needed = min_kept * images[0]
    # Looking at a number costs nothing here, and no rank sees another.
    if can_look_at(losses) and hard >= needed:
        return limit
    return torch.minimum(limit, kth_greatest(losses, valid, needed, ranks))


@lru_cache(maxsize=64)
def below(thresh: float, dtype: torch.dtype) -> float:
    """The least -log of a probability that is below `thresh`, in that type."""
    limit = torch.nextafter(torch.tensor(-math.log(thresh), dtype=dtype), torch.tensor(math.inf, dtype=dtype))
    return limit.item()


def kth_greatest(
    values: Float[Tensor, "*shape"], chosen: Bool[Tensor, "*shape"], k: Int64[Tensor, ""], ranks: Ranks = ALONE
) -> Float[Tensor, ""]:
    """The k-th greatest of the chosen values of all ranks, 0 where there are fewer; exact, without sorting.

    Numbers that are not negative are in the order of their bits. So the bits of the answer are found from the highest
    down, some at a time, each time from a histogram of these bits among the values that agree with the higher ones.
    Nothing is read back to the host on the way.

    Args:
        values: not negative, float32 or float64.
        chosen: which of them take part.
        k: 1 or more.
        ranks: who has the rest of the values.
    """
    width = torch.finfo(values.dtype).bits
    # Adding zero makes a zero of minus zero, whose sign bit would come first.
    bits = (values + 0.0).flatten().view(torch.int32 if width == 32 else torch.int64)
    rest = chosen.flatten()
    prefix, left = k.new_zeros(()), k.clone()
    for shift in reversed(range(0, width - 1, DIGIT_BITS)):
        digits = (bits >> shift) & (DIGITS - 1)
        # A value that is out of the race is counted beyond the last digit.
        (counts,) = ranks.summed([histogram(digits.masked_fill(~rest, DIGITS), DIGITS + 1)])
        from_top = counts[:DIGITS].flip(0).cumsum(0).flip(0)
        # The digit of the answer is the greatest from which on there are `left` values, 0 if there never are.
        digit = ((from_top >= left).sum() - 1).clamp(min=0)
        # By an index that is a tensor of no dimension, `from_top[digit]`, torch would look at the index.
        left = left - (from_top - counts[:DIGITS]).gather(0, digit[None]).squeeze(0)
        prefix = prefix | (digit << shift)
        rest = rest & (digits == digit)
        # Elsewhere it would have to be waited for how many there are.
        if can_look_at(values):
            bits, rest = bits.masked_select(rest), rest.masked_select(rest)
    return prefix.to(torch.int32 if width == 32 else torch.int64).view(values.dtype)


class OHEMPixelSampler(nn.Module):
    """Chooses the pixels that losses are computed on: the hard ones. See `hard_pixels`.

    Args:
        thresh: pixels whose true class has a probability below it are hard; in (0, 1]. None: only `min_kept` counts.
        min_kept: keep at least this many pixels per image of the batch.
    """

    def __init__(self, thresh: float | None = None, min_kept: int = 100000) -> None:
        super().__init__()
        if thresh is not None and not 0.0 < thresh <= 1.0:
            raise ValueError(f"thresh: a probability in (0, 1], got {thresh}")
        if min_kept < 0:
            raise ValueError(f"min_kept: must not be negative, got {min_kept}")
        if thresh is None and min_kept == 0:
            raise ValueError("min_kept=0 without thresh keeps no pixel; raise min_kept or give thresh")
        self.thresh = thresh
        self.min_kept = min_kept

    def certain_limit(self, dtype: torch.dtype) -> float:
        """The least loss of a pixel that is kept however many others there are; infinity without `thresh`."""
        return math.inf if self.thresh is None else below(self.thresh, dtype)

    def limit(
        self,
        losses: Float[Tensor, "batch height width"],
        valid: Bool[Tensor, "batch height width"],
        ranks: Ranks = ALONE,
    ) -> Float[Tensor, ""]:
        """The least loss of a pixel that is kept. See `hardness_limit`."""
        return hardness_limit(losses, valid, thresh=self.thresh, min_kept=self.min_kept, ranks=ranks)

    def forward(
        self,
        losses: Float[Tensor, "batch height width"],
        valid: Bool[Tensor, "batch height width"],
        ranks: Ranks = ALONE,
    ) -> Bool[Tensor, "batch height width"]:
        """True at the pixels kept; no gradient. See `hard_pixels`."""
        return valid & (losses.detach() >= self.limit(losses, valid, ranks))
