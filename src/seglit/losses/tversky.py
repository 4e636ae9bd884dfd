"""Tversky loss: Dice with a price of its own for each kind of mistake."""

from jaxtyping import Float
from torch import Tensor

from seglit.losses.loss import ClassWeight
from seglit.losses.overlap import OverlapLoss


class TverskyLoss(OverlapLoss):
    """Tversky loss (Salehi et al., MLMI 2017, equation 3).

    One term per class: `1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)`, each a sum over pixels with the pixel
    weight.

    Args:
        smooth: keeps the quotient defined for absent classes; above zero.
        alpha: price of a false positive; not negative.
        beta: price of a false negative; not negative. 0.5 and 0.5 make it Dice with `exponent=1` and half the `smooth`.
        class_weight: weight of each class's pixels within the sums; see `Loss`.
        loss_weight: factor of the term.
        use_sigmoid: probabilities are the sigmoid of each channel instead of the softmax over them.
        per_image: average over images; otherwise one formula for the whole batch.
        avg_non_ignore: average over the images in which a pixel counts, instead of all.

    Ignored pixels are in none of the sums and get no gradient. A class whose number is `ignore_index` is no class.
    """

    def __init__(
        self,
        smooth: float = 1.0,
        alpha: float = 0.3,
        beta: float = 0.7,
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
        if alpha < 0 or beta < 0 or alpha + beta == 0:
            raise ValueError(f"alpha and beta: not negative and not both zero; got alpha={alpha}, beta={beta}")
        self.smooth = smooth
        self.alpha = alpha
        self.beta = beta

    @property
    def power(self) -> int:
        """See `OverlapLoss.power`."""
        return 1

    def formula(self, sums: Float[Tensor, "images 3 channels"]) -> Float[Tensor, "images channels"]:
        """See `OverlapLoss.formula`."""
        right, predicted, labelled = sums.unbind(1)
        mistakes = self.alpha * (predicted - right) + self.beta * (labelled - right)
        loss: Tensor = 1 - (right + self.smooth) / (right + mistakes + self.smooth)
        return loss
