"""Losses that are a formula of per-class sums over pixels: Dice, Tversky."""

from abc import abstractmethod
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from seglit.losses.loss import ClassWeight, Loss, image_count
from seglit.losses.pixels import Pixels


class OverlapLoss(Loss):
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

    @abstractmethod
    def image_sums(
        self,
        probabilities: Float[Tensor, "batch channels pixels"],
        one_hot: Float[Tensor, "batch channels pixels"],
        weight: Float[Tensor, "batch 1 pixels"],
    ) -> Float[Tensor, "sums batch channels"]:
        """The sums of the formula, over the pixels of each image."""

    @abstractmethod
    def formula(self, sums: Float[Tensor, "sums images channels"]) -> Float[Tensor, "images channels"]:
        """The loss of each class from its sums; zero where they are all zero."""

    def statistics(self, pixels: Pixels) -> dict[str, Tensor]:
        """The `sums` of the formula for each image and class, which add up over any cut of the images into tiles."""
        weight = pixels.weight(self.class_weight).flatten(1)[:, None]
        sums = self.image_sums(
            pixels.probabilities(use_sigmoid=self.use_sigmoid).flatten(2), pixels.one_hot().flatten(2), weight
        )
        if pixels.ignored_class is not None:
            sums = sums[:, :, [channel for channel in range(pixels.channels) if channel != pixels.ignored_class]]
        return {"sums": sums}

    def totals(self, pixels: Pixels) -> dict[str, Tensor]:
        """See `Loss.totals`."""
        sums = self.statistics(pixels)["sums"]
        if not self.per_image:
            return {"sums": sums.sum(1, keepdim=True)}
        # Where no pixel counts, every sum is zero and so are the terms and their gradients.
        return {"sum": self.formula(sums).mean(1).sum(), "divisor": self.divisor_of(pixels)}

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
