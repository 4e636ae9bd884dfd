"""How far a mean IoU depends on which images happen to be in the data set: the bootstrap over images."""

from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from seglit.metrics import ImageCounts

RESAMPLES = 1000
LEVEL = 0.95
DRAWS_AT_ONCE = 1 << 22
"""Images drawn before they are summed, which bounds the memory to some ten megabytes."""


class Interval(NamedTuple):
    """The bounds that hold the middle 95 % of a score over resampled data sets."""

    low: float
    high: float


def miou_interval(counts: ImageCounts, num_classes: int, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Percentile interval of the mean IoU (Efron, Annals of Statistics 1979) over resampled images.

    It says how much the score would vary over other images of the same kind; it says nothing of another seed. The
    mean of a resample is over the classes that occur in it. Fewer than two images say nothing of how images vary:
    both bounds are NaN.
    """
    return percentile_interval(resampled_miou(counts, num_classes, resamples, seed))


def percentile_interval(values: Float64[Tensor, " resamples"]) -> Interval:
    """The quantiles that cut off the same share at both ends, between neighbours linearly; NaNs are left out."""
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=values.dtype)
    low, high = values.nanquantile(ends).tolist()
    return Interval(low, high)


def resampled_miou(
    counts: ImageCounts, num_classes: int, resamples: int = RESAMPLES, seed: int = 0
) -> Float64[Tensor, " resamples"]:
    """The mean IoU of data sets of as many images, drawn from the images with replacement.

    The draws depend on the number of images, on `resamples` and on `seed` alone. So the values of two nets on the same
    images belong together in pairs. NaN for a resample without a counted pixel, and for all with fewer than two images.

    Args:
        counts: The pixel counts of each image.
        num_classes: The number of classes.
        resamples: How many data sets are drawn.
        seed: What the draws are made from.
    """
    images = counts.images
    if images < 2:
        return torch.full((resamples,), torch.nan, dtype=torch.float64)
    # float64 holds whole numbers up to 2**53, so the sums are exact.
    areas = counts.areas(num_classes).double().flatten(1)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for first in range(0, resamples, max(1, DRAWS_AT_ONCE // images)):
        size = min(max(1, DRAWS_AT_ONCE // images), resamples - first)
        drawn = torch.randint(images, (size, images), generator=generator)
        drawn += torch.arange(0, size * images, images).view(-1, 1)
        times = torch.bincount(drawn.flatten(), minlength=size * images).view(size, images)
        right, labelled, predicted = (times.double() @ areas).view(size, 3, num_classes).unbind(1)
        parts.append((right / (labelled + predicted - right)).nanmean(1))
    return torch.cat(parts)
