"""Online hard example mining over pixels."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def hard_pixels(
    losses: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
    *,
    thresh: float | None,
    min_kept: int,
) -> Bool[Tensor, "batch height width"]:
    """Online hard example mining (Shrivastava et al., CVPR 2016) over the pixels of a batch.

    Keeps every valid pixel whose true class has probability below `thresh`, and the `min_kept * batch` hardest, or
    all valid ones if there are fewer. Pixels as hard as the last of these are kept as well, so that the choice does not
    depend on the order of pixels. A void pixel is never kept.

    Args:
        losses: -log of the true class's probability, unweighted, in nats.
        valid: where the label is known.
        thresh: probability in (0, 1]; None keeps the hardest alone.
        min_kept: pixels per image of the batch; not negative.
    """
    losses = losses.detach()
    keep = valid & (losses > -math.log(thresh)) if thresh is not None else torch.zeros_like(valid)
    count = min(min_kept * len(losses), losses.numel())
    if count == 0:
        return keep
    # Void pixels rank last; where fewer than `count` are valid the limit is -inf, which keeps every valid one.
    ranked = losses.masked_fill(~valid, -math.inf).flatten()
    limit = ranked.kthvalue(ranked.numel() - count + 1).values
    return keep | (valid & (losses >= limit))


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

    def forward(
        self, losses: Float[Tensor, "batch height width"], valid: Bool[Tensor, "batch height width"]
    ) -> Bool[Tensor, "batch height width"]:
        """True at the pixels kept; no gradient. See `hard_pixels`."""
        return hard_pixels(losses, valid, thresh=self.thresh, min_kept=self.min_kept)
