"""Cross-entropy, over a softmax or over independent sigmoids."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from seglit.losses.kernel import MeanTerm
from seglit.losses.loss import ClassWeight
from seglit.losses.pixel_mean import Divisor, PixelMeanLoss
from seglit.losses.pixel_sum import Slopes
from seglit.losses.pixels import Pixels


class CrossEntropyLoss(PixelMeanLoss):
    """Cross-entropy of each pixel in nats, summed with pixel weights and divided by a named number.

    Args:
        use_sigmoid: binary cross-entropy of each channel against "is this class", averaged over the channels, instead
            of the softmax over classes. Logits of one channel need it; their labels are 0 and 1.
        class_weight: weight of each class's pixels; see `Loss`.
        loss_weight: factor of the term.
        avg_non_ignore: divide by the valid pixels instead of all; see `PixelMeanLoss`.
        divisor: names the divisor outright; see `PixelMeanLoss`.

    Ignored pixels add nothing and get no gradient.
    """

    def __init__(
        self,
        use_sigmoid: bool = False,
        class_weight: ClassWeight = None,
        loss_weight: float = 1.0,
        avg_non_ignore: bool = False,
        divisor: Divisor | None = None,
    ) -> None:
        super().__init__(class_weight, loss_weight, avg_non_ignore=avg_non_ignore, divisor=divisor)
        self.use_sigmoid = use_sigmoid

    def pixel_loss(self, pixels: Pixels) -> Float[Tensor, "batch height width"]:
        """See `PixelMeanLoss.pixel_loss`."""
        if not self.use_sigmoid:
            return pixels.surprise(use_sigmoid=False)
        return pixels.surprise_of(pixels.doubts()).sum(1)

    def surprise_slope(self, pixels: Pixels) -> Float[Tensor, ""] | None:
        """See `PixelMeanLoss.surprise_slope`."""
        return None if self.use_sigmoid else pixels.logits.new_ones(())

    def slopes(self, pixels: Pixels, coefficients: Mapping[str, Tensor]) -> Slopes:
        """See `PixelSumLoss.slopes`: of a sigmoid, what it has too much of the truth."""
        if not self.use_sigmoid:
            return super().slopes(pixels, coefficients)
        weight = pixels.weight(self.class_weight) * (coefficients["sum"] / self.parts_of(pixels))
        gradient = pixels.probabilities(use_sigmoid=True) * weight[:, None]
        pixels.add_at_label(gradient, -weight)
        return Slopes(logits=gradient)

    def kernel_term(self, channels: int) -> MeanTerm | None:
        """See `PixelSumLoss.kernel_term`."""
        return None if self.use_sigmoid else MeanTerm(self.class_weight)

    def check(self, num_classes: int, channels: int, *, sampled: bool) -> None:
        """See `Loss.check`."""
        super().check(num_classes, channels, sampled=sampled)
        if channels == 1 and not self.use_sigmoid:
            raise ValueError("use_sigmoid=False on logits of one channel; give use_sigmoid=true or two channels")
