"""Losses that are a formula of per-class sums over pixels: Dice, Tversky."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from seglit.losses.kernel import OverlapTerm
from seglit.losses.loss import ClassWeight, image_count
from seglit.losses.pixel_sum import PixelSumLoss, Slopes
from seglit.losses.pixels import Pixels


class OverlapLoss(PixelSumLoss):
    """A loss that is a formula of per-class sums over the pixels of each image, or of the whole batch.

    The mean is over the classes, a class whose number is the ignored label left out and not counted, and over images.

    Args:
        class_weight: see `Loss`.
        loss_weight: see `Loss`.
        use_sigmoid: probabilities are the sigmoid of each channel instead of the softmax over them.
        per_image: the formula is applied to the sums of each image and averaged; otherwise to those of the batch.
        avg_non_ignore: average over the images in which a pixel counts, instead of all; needs `per_image`.
    """

    def __init__(
        self,
        class_weight: ClassWeight,
        loss_weight: float,
        *,
        use_sigmoid: bool,
        per_image: bool,
        avg_non_ignore: bool,
    ) -> None:
        super().__init__(class_weight, loss_weight)
        if avg_non_ignore and not per_image:
            raise ValueError("avg_non_ignore=True has no effect with per_image=False; leave one of them out")
        self.use_sigmoid = use_sigmoid
        self.per_image = per_image
        self.avg_non_ignore = avg_non_ignore

    @property
    @abstractmethod
    def power(self) -> int:
        """The power of the probabilities in the second sum of the formula."""

    @abstractmethod
    def formula(self, sums: Float[Tensor, "images 3 channels"]) -> Float[Tensor, "images channels"]:
        """The loss of each class from its sums over the pixels; zero where they are all zero.

        With `w` the pixel weight, `p` the probability and `y` one at the true class, these are the sums of `w p y`, of
        `w p**power` and of `w y`.
        """

    def statistics(self, pixels: Pixels) -> dict[str, Tensor]:
        """The `sums` of the formula for each image and class, and the `weight` of each image."""
        weight = pixels.weight(self.class_weight)
        probabilities = pixels.probabilities(use_sigmoid=self.use_sigmoid)
        powers = torch.einsum("nchw,nhw->nc", raised(probabilities, self.power), weight)
        right = pixels.sums_by_label(pixels.at_label(probabilities) * weight)
        sums = torch.stack([right, powers, pixels.sums_by_label(weight)], dim=1)
        return {"sums": sums[:, :, self._classes(pixels)], "weight": weight.sum((1, 2))}

    def totals_of(self, statistics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `PixelSumLoss.totals_of`."""
        sums, weight = statistics["sums"], statistics["weight"]
        if not self.per_image:
            return {"sums": sums.sum(0, keepdim=True)}
        images = (weight > 0).sum() if self.avg_non_ignore else weight.new_full((), len(weight))
        # Where no pixel counts, every sum is zero and so are the terms and their gradients.
        return {"sum": self.formula(sums).mean(1).sum(), "divisor": images.to(weight.dtype)}

    def slopes(self, pixels: Pixels, coefficients: Mapping[str, Tensor]) -> Slopes:
        """See `PixelSumLoss.slopes`."""
        of_sums = coefficients["sums"].new_zeros(len(pixels.labels), 3, pixels.channels)
        of_sums[:, :, self._classes(pixels)] = coefficients["sums"]
        of_right, of_powers, _ = of_sums.unbind(1)
        weight = pixels.weight(self.class_weight)
        probabilities = pixels.probabilities(use_sigmoid=self.use_sigmoid)
        factors = (self.power * of_powers)[:, :, None, None]
        slope = factors * weight[:, None] if self.power == 1 else raised(probabilities, self.power - 1) * factors
        if self.power > 1:
            slope *= weight[:, None]
        # Channel 0 of logits of one channel is that of class 1, the only one that `add_at_label` adds to.
        places = torch.zeros_like(pixels.target) if pixels.channels == 1 else pixels.target
        right = of_right.gather(1, places.flatten(1)).view_as(weight) * weight
        own = pixels.at_label(probabilities)
        if not (self.use_sigmoid or pixels.channels == 1):
            return Slopes(surprise=-right * own, probabilities=slope)
        pixels.add_at_label(slope, right)
        return Slopes(logits=slope * probabilities * (1 - probabilities))

    def kernel_term(self, channels: int) -> OverlapTerm | None:
        """See `PixelSumLoss.kernel_term`."""
        known = not self.use_sigmoid and channels > 1 and self.power in (1, 2)
        return OverlapTerm(self.class_weight, self.power) if known else None

    def _classes(self, pixels: Pixels) -> list[int] | slice:
        """The channels that are classes."""
        if pixels.ignored_class is None:
            return slice(None)
        return [channel for channel in range(pixels.channels) if channel != pixels.ignored_class]

    def finish(self, totals: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        """See `Loss.finish`."""
        return super().finish(totals) if self.per_image else self.formula(totals["sums"]).mean()

    @property
    def is_mean(self) -> bool:
        """See `Loss.is_mean`."""
        return self.per_image

    def divisor_of(self, pixels: Pixels) -> Float[Tensor, ""]:
        """See `Loss.divisor_of`."""
        return image_count(pixels, self.class_weight, counted=self.avg_non_ignore)

    def divisor_name(self, *, sampled: bool) -> str:
        """See `Loss.divisor_name`."""
        if not self.per_image:
            return "formula of the batch"
        return "images with a counted pixel" if self.avg_non_ignore else "images"


def raised(probabilities: Float[Tensor, "*shape"], power: int) -> Float[Tensor, "*shape"]:
    """A power, by products where that is quicker."""
    match power:
        case 1:
            return probabilities
        case 2:
            return probabilities * probabilities
        case _:
            result: Tensor = probabilities**power
            return result
