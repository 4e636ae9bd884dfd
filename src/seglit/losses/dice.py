"""Soft Dice loss."""

from jaxtyping import Float
from torch import Tensor

from seglit.losses.loss import ClassWeight
from seglit.losses.overlap import OverlapLoss


class DiceLoss(OverlapLoss):
    """Soft Dice (Milletari et al., 3DV 2016, section 3).

    One term per class: `1 - (2 sum(w p y) + smooth) / (sum(w (p**exponent + y)) + smooth)`, with `w` the pixel weight.

    Args:
        smooth: keeps the quotient defined for absent classes; above zero.
        exponent: power of the probabilities in the denominator: 2 as in the paper, or 1.
        class_weight: weight of each class's pixels within the sums; see `Loss`.
        loss_weight: factor of the term.
        use_sigmoid: probabilities are the sigmoid of each channel instead of the softmax over them.
        per_image: average the Dice of each image; otherwise one Dice of the whole batch.
        avg_non_ignore: average over the images in which a pixel counts, instead of all.

    Ignored pixels are in none of the sums and get no gradient. A class whose number is `ignore_index` is no class.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        exponent: int = 2,
        class_weight: ClassWeight = None,
        loss_weight: float = 1.0,
        use_sigmoid: bool = False,
        per_image: bool = True,
        avg_non_ignore: bool = False,
    ) -> None:
        super().__init__(
            class_weight,
            loss_weight,
            use_sigmoid=use_sigmoid,
            per_image=per_image,
            avg_non_ignore=avg_non_ignore,
        )
        if smooth <= 0:
            raise ValueError(f"smooth: must be above zero, or an absent class divides by zero; got {smooth}")
        if exponent < 1:
            raise ValueError(f"exponent: 1 or more, got {exponent}")
        self.smooth = smooth
        self.exponent = exponent

    @property
    def power(self) -> int:
        """See `OverlapLoss.power`."""
        return self.exponent

    def formula(self, sums: Float[Tensor, "images 3 channels"]) -> Float[Tensor, "images channels"]:
        """See `OverlapLoss.formula`."""
        right, predicted, labelled = sums.unbind(1)
        loss: Tensor = 1 - (2 * right + self.smooth) / (predicted + labelled + self.smooth)
        return loss
