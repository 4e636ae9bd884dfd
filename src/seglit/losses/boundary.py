"""Binary cross-entropy that balances boundaries against the rest."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from seglit.losses.pixel_sum import PixelSumLoss
from seglit.losses.pixels import Pixels


class BoundaryLoss(PixelSumLoss):
    """Binary cross-entropy of one channel, in which both kinds of pixels weigh the same in sum (Xie and Tu, ICCV 2015).

    With P pixels of class 1 and N of class 0 in the batch, each of class 1 weighs N / (P + N) and each of class 0
    P / (P + N); the weighted sum is divided by the number of pixels. Where all are of one kind there is nothing to
    balance, and each weighs 1/2, as where both are equally many: MMSegmentation's loss is zero there, and nobody learns
    that there is no boundary.

    Args:
        loss_weight: factor of the term.
        avg_non_ignore: divide by the pixels that count instead of all.

    Ignored pixels are in none of the numbers but that of all pixels, and get no gradient.
    """

    use_sigmoid = True

    def __init__(self, loss_weight: float = 1.0, avg_non_ignore: bool = False) -> None:
        super().__init__(None, loss_weight)
        self.avg_non_ignore = avg_non_ignore

    def statistics(self, pixels: Pixels) -> dict[str, Tensor]:
        """The cross-entropy of the pixels of both classes, how many they are, and the number to divide by."""
        weight = pixels.weight(None)
        surprise = pixels.surprise(use_sigmoid=True)
        ones = weight * (pixels.labels == 1)
        zeros = weight - ones
        divisor = weight.sum() if self.avg_non_ignore else weight.new_full((), float(weight.numel()))
        sums = {"ones": (ones * surprise).sum(), "zeros": (zeros * surprise).sum()}
        return sums | {"number_of_ones": ones.sum(), "number_of_zeros": zeros.sum(), "divisor": divisor}

    def finish(self, totals: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """See `Loss.finish`."""
        ones, zeros = totals["number_of_ones"], totals["number_of_zeros"]
        both = ones + zeros
        share = torch.where((ones > 0) & (zeros > 0), ones / both.clamp(min=1), 0.5)
        weighted = (1 - share) * totals["ones"] + share * totals["zeros"]
        return weighted / totals["divisor"].clamp(min=1)

    @property
    def is_mean(self) -> bool:
        """See `Loss.is_mean`: how much a pixel weighs depends on all others."""
        return False

    def divisor_name(self, *, sampled: bool) -> str:
        """See `Loss.divisor_name`."""
        return "kept" if self.avg_non_ignore and sampled else "valid" if self.avg_non_ignore else "all"

    def check(self, num_classes: int, channels: int, *, sampled: bool) -> None:
        """See `Loss.check`."""
        super().check(num_classes, channels, sampled=sampled)
        if channels != 1:
            raise ValueError(f"BoundaryLoss: learns one channel, got {channels}; give the head out_channels=1")
