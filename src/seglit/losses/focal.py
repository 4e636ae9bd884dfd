"""Focal loss: cross-entropy that fades for pixels already right."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from seglit.losses.kernel import MeanTerm
from seglit.losses.loss import ClassWeight
from seglit.losses.pixel_mean import Divisor, PixelMeanLoss
from seglit.losses.pixel_sum import Slopes
from seglit.losses.pixels import Pixels, table


class FocalLoss(PixelMeanLoss):
    """Focal loss (Lin et al., ICCV 2017, equation 5): `-alpha (1 - p)**gamma log(p)`.

    `p` is the probability given to the truth.

    With sigmoids, each channel is a binary problem: `alpha` weighs "is this class" and `1 - alpha` "is not", and the
    mean is over channels too. With the softmax, `p` is the probability of the true class and `alpha` its weight.
    With `gamma=0` and `alpha=None` it is cross-entropy.

    Args:
        use_sigmoid: sigmoid of each channel (the paper's form), or the softmax over classes.
        gamma: how fast right pixels fade; not negative.
        alpha: one number for all classes, one for each, or None for no weighing.
        class_weight: weight of each class's pixels; see `Loss`.
        loss_weight: factor of the term.
        avg_non_ignore: divide by the valid pixels instead of all; see `PixelMeanLoss`.
        divisor: names the divisor outright; see `PixelMeanLoss`.

    Ignored pixels add nothing and get no gradient.
    """

    def __init__(
        self,
        use_sigmoid: bool = True,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = 0.5,
        class_weight: ClassWeight = None,
        loss_weight: float = 1.0,
        avg_non_ignore: bool = False,
        divisor: Divisor | None = None,
    ) -> None:
        super().__init__(class_weight, loss_weight, avg_non_ignore=avg_non_ignore, divisor=divisor)
        if gamma < 0:
            raise ValueError(f"gamma: must not be negative, got {gamma}")
        numbers = [] if alpha is None else [alpha] if isinstance(alpha, int | float) else list(alpha)
        if not all(0 <= number <= 1 for number in numbers):
            raise ValueError(f"alpha: a weight in [0, 1], or one for each class; got {alpha}")
        self.use_sigmoid = use_sigmoid
        self.gamma = gamma
        self.alpha = alpha if alpha is None or isinstance(alpha, int | float) else tuple(alpha)

    def pixel_loss(self, pixels: Pixels) -> Float[Tensor, "batch height width"]:
        """See `PixelMeanLoss.pixel_loss`."""
        if not self.use_sigmoid:
            surprise = pixels.surprise(use_sigmoid=False)
            return faded(surprise, contrary(surprise), self.gamma) * self._alpha_of(pixels)
        doubts = pixels.doubts()
        return (faded(pixels.surprise_of(doubts), doubts.sigmoid(), self.gamma) * self._alphas(pixels)).sum(1)

    def surprise_slope(self, pixels: Pixels) -> Float[Tensor, "batch height width"] | None:
        """See `PixelMeanLoss.surprise_slope`."""
        if self.use_sigmoid:
            return None
        surprise = pixels.surprise(use_sigmoid=False)
        return faded_slope(surprise, contrary(surprise), self.gamma) * self._alpha_of(pixels)

    def slopes(self, pixels: Pixels, coefficients: Mapping[str, Tensor]) -> Slopes:
        """See `PixelSumLoss.slopes`."""
        if not self.use_sigmoid:
            return super().slopes(pixels, coefficients)
        doubts = pixels.doubts()
        wrong = doubts.sigmoid()
        weight = pixels.weight(self.class_weight) * (coefficients["sum"] / self.parts_of(pixels))
        gradient = faded_slope(pixels.surprise_of(doubts), wrong, self.gamma).mul_(wrong).mul_(weight[:, None])
        gradient *= self._alphas(pixels)
        # There the doubt falls where the logit rises.
        pixels.add_at_label(gradient, -2 * pixels.at_label(gradient))
        return Slopes(logits=gradient)

    def kernel_term(self, channels: int) -> MeanTerm | None:
        """See `PixelSumLoss.kernel_term`."""
        if self.use_sigmoid:
            return None
        alphas = (
            self.alpha if isinstance(self.alpha, tuple) else (1.0 if self.alpha is None else self.alpha,) * channels
        )
        weights = self.class_weight or (1.0,) * channels
        return MeanTerm(tuple(alpha * weight for alpha, weight in zip(alphas, weights, strict=True)), self.gamma)

    def _alpha_of(self, pixels: Pixels) -> Float[Tensor, "batch height width"] | float:
        """The weight of each pixel's true class."""
        if isinstance(self.alpha, tuple):
            return table(self.alpha, pixels.logits.dtype, pixels.logits.device)[pixels.target]
        return 1.0 if self.alpha is None else self.alpha

    def _alphas(self, pixels: Pixels) -> Float[Tensor, "batch channels height width"] | float:
        """The weight of each channel: alpha at the true class, what is left to one at the others."""
        if self.alpha is None:
            return 1.0
        numbers = self.alpha if isinstance(self.alpha, tuple) else (self.alpha,) * pixels.channels
        alpha = table(numbers, pixels.logits.dtype, pixels.logits.device)
        factors = (1 - alpha)[:, None, None].expand_as(pixels.logits).clone()
        # One channel is that of class 1, to which alone something is added.
        own = alpha if pixels.channels == 1 else alpha[pixels.target]
        pixels.add_at_label(factors, torch.where(pixels.valid, 2 * own - 1, 0.0))
        return factors

    def check(self, num_classes: int, channels: int, *, sampled: bool) -> None:
        """See `Loss.check`."""
        super().check(num_classes, channels, sampled=sampled)
        if isinstance(self.alpha, tuple) and len(self.alpha) != channels:
            raise ValueError(
                f"alpha: {len(self.alpha)} numbers for {channels} channels of logits; give one per channel"
            )


def contrary(surprise: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`1 - p` from `surprise = -log p`, without the loss of digits near one."""
    return -(-surprise).expm1()


def faded(surprise: Float[Tensor, "*shape"], wrong: Float[Tensor, "*shape"], gamma: float) -> Float[Tensor, "*shape"]:
    """`(1 - p)**gamma * surprise` from `surprise = -log p` and `wrong = 1 - p`; its gradient is finite everywhere.

    A power below one has an infinite slope at zero, where the product's own slope is zero: the clamp keeps such pixels
    out of the gradient.
    """
    if gamma == 0:
        return surprise
    return wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** gamma * surprise


def faded_slope(
    surprise: Float[Tensor, "*shape"], wrong: Float[Tensor, "*shape"], gamma: float
) -> Float[Tensor, "*shape"]:
    """The derivative of `faded` in the surprise, `(1 - p)**gamma + gamma (1 - p)**(gamma - 1) p surprise`."""
    if gamma == 0:
        return torch.ones_like(surprise)
    wrong = wrong.clamp(min=torch.finfo(surprise.dtype).tiny)
    return wrong**gamma * (1 + gamma * (1 - wrong) * surprise / wrong)
