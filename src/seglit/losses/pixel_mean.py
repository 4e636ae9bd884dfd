"""Losses that are a weighted sum over pixels divided by a named number."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from seglit.losses.loss import ClassWeight
from seglit.losses.pixel_sum import PixelSumLoss, Slopes
from seglit.losses.pixels import Pixels

Divisor = Literal["all", "valid", "kept", "class_weight"]
DIVISORS = get_args(Divisor)


class PixelMeanLoss(PixelSumLoss):
    """A loss that is a weighted sum over pixels divided by a named number.

    Args:
        class_weight: see `Loss`.
        loss_weight: see `Loss`.
        avg_non_ignore: divide by the valid pixels instead of all; ignored pixels never add to the sum either way.
        divisor: says it outright. `all`: every pixel of the batch, void ones too. `valid`: pixels with a known label.
            `kept`: valid pixels that the sampler chose. `class_weight`: the sum of the pixel weights. None: `kept`
            in a head with a sampler, else `valid` or `all` as `avg_non_ignore` says.
    """

    def __init__(
        self, class_weight: ClassWeight, loss_weight: float, *, avg_non_ignore: bool, divisor: Divisor | None
    ) -> None:
        super().__init__(class_weight, loss_weight)
        if divisor is not None and divisor not in DIVISORS:
            raise ValueError(f"divisor: {divisor!r} is none of {', '.join(DIVISORS)}")
        if divisor is not None and avg_non_ignore:
            raise ValueError(
                f"avg_non_ignore=True and divisor={divisor!r} both name a divisor; leave avg_non_ignore out"
            )
        if divisor == "class_weight" and class_weight is None:
            raise ValueError("divisor='class_weight' without class_weight; give class_weight or divisor='valid'")
        self.avg_non_ignore = avg_non_ignore
        self.divisor = divisor

    @abstractmethod
    def pixel_loss(self, pixels: Pixels) -> Float[Tensor, "batch height width"]:
        """The loss of each pixel before any weight, summed over channels; finite everywhere.

        Of each by itself: the pixels may be some of an image, and are not next to their neighbours.
        """

    def statistics(self, pixels: Pixels) -> dict[str, Float[Tensor, ""]]:
        """The weighted sum over pixels and the divisor; both add up over any cut of the pixels."""
        total = (pixels.weight(self.class_weight) * self.pixel_loss(pixels)).sum()
        return {"sum": total / self.parts_of(pixels), "divisor": self.divisor_of(pixels)}

    def surprise_slope(self, pixels: Pixels) -> Float[Tensor, "*shape"] | None:
        """How fast each pixel's loss grows with its surprise, if it is a function of that alone; None if it is not.

        The surprise is that of the softmax, see `Pixels.surprise`.
        """
        return None

    def slopes(self, pixels: Pixels, coefficients: Mapping[str, Tensor]) -> Slopes:
        """See `PixelSumLoss.slopes`."""
        slope = self.surprise_slope(pixels)
        if slope is None:
            return self.slopes_by_autograd(pixels, coefficients)
        weight = pixels.weight(self.class_weight)
        return Slopes(surprise=weight * (slope * coefficients["sum"] / self.parts_of(pixels)))

    @property
    def is_one_sum(self) -> bool:
        """Whether it is its `sum` by its divisor and nothing else, as it is unless a subclass has changed that."""
        own = type(self)
        return (
            own.statistics is PixelMeanLoss.statistics
            and own.divisor_of is PixelMeanLoss.divisor_of
            and own.totals_of is PixelSumLoss.totals_of
            and own.finish is PixelSumLoss.finish
        )

    def parts_of(self, pixels: Pixels) -> int:
        """By how many channels the sum is divided beside the divisor."""
        return pixels.channels if self.divides_by_channels else 1

    @property
    def is_mean(self) -> bool:
        """See `Loss.is_mean`."""
        return True

    def divisor_of(self, pixels: Pixels) -> Float[Tensor, ""]:
        """See `Loss.divisor_of`."""
        dtype = pixels.logits.dtype
        match self.divisor_name(sampled=pixels.kept is not None):
            case "class_weight":
                return pixels.weight(self.class_weight).sum()
            case "all":
                return pixels.logits.new_full((), float(pixels.labels.numel()))
            case "kept":
                return pixels.counted.sum().to(dtype)
            case _:
                return pixels.valid.sum().to(dtype)

    @property
    def divides_by_channels(self) -> bool:
        """Whether the mean is over the channels too, as for a sigmoid of each."""
        return self.use_sigmoid

    def divisor_name(self, *, sampled: bool) -> str:
        """See `Loss.divisor_name`."""
        if self.divisor is not None:
            return self.divisor
        if sampled:
            return "kept"
        return "valid" if self.avg_non_ignore else "all"

    def check(self, num_classes: int, channels: int, *, sampled: bool) -> None:
        """See `Loss.check`."""
        super().check(num_classes, channels, sampled=sampled)
        if self.divisor == "kept" and not sampled:
            raise ValueError("divisor='kept' in a head without a sampler; give a sampler or divisor='valid'")
