"""Losses and samplers for the conformance kit to judge: without fault, and with one fault each."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seglit.losses import OHEMPixelSampler
from seglit.losses.ohem import hard_pixels
from seglit.losses.pixels import Pixels
from seglit.testing import LossUnderTest, SamplerUnderTest, of_module, of_sampler

WEIGHTS = (1.0, 2.0, 0.5, 3.0)


class Mean(nn.Module):
    """Cross-entropy with class weights, over the valid pixels. A fault is a method that differs."""

    ignore_index = 255

    def __init__(self, weights: tuple[float, ...] = WEIGHTS) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        valid = labels != self.ignore_index
        target = labels.masked_fill(~valid, 0)
        losses = self.pixel_losses(logits, target) * logits.new_tensor(self.weights)[target]
        return self.total(losses, valid) / self.divisor(valid)

    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), target, reduction="none")

    def total(self, losses: Tensor, valid: Tensor) -> Tensor:
        return torch.where(valid, losses, 0.0).sum()

    def divisor(self, valid: Tensor) -> Tensor:
        return valid.sum().clamp(min=1)


class VoidCounted(Mean):
    def total(self, losses: Tensor, valid: Tensor) -> Tensor:
        return losses.sum()


class VoidTrained(Mean):
    def total(self, losses: Tensor, valid: Tensor) -> Tensor:
        """The right value, but not its gradient."""
        return super().total(losses, valid) + (losses - losses.detach())[~valid].sum()


class DividedByAll(Mean):
    def divisor(self, valid: Tensor) -> Tensor:
        return torch.tensor(valid.numel())


class NothingOverNothing(Mean):
    def divisor(self, valid: Tensor) -> Tensor:
        return valid.sum()


class CutOff(Mean):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().forward(logits, labels) if (labels != 255).any() else logits.new_tensor(0.0)


class OnePixelTooFew(Mean):
    """The unbiased divisor of a variance, which is none of a mean."""

    def divisor(self, valid: Tensor) -> Tensor:
        return valid.sum() - 1


class EasyOverNothing(Mean):
    def total(self, losses: Tensor, valid: Tensor) -> Tensor:
        return losses[valid & (losses > 1e-6)].mean() * valid.sum()


class NeedsAllClasses(NothingOverNothing):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean of the means of the classes."""
        by_class = [
            super(NeedsAllClasses, self).forward(logits, labels.masked_fill(labels != k, 255)) for k in range(4)
        ]
        return torch.stack(by_class).mean()


class FirstClassTwice(Mean):
    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        return super().pixel_losses(logits, target) * (1 + (target == 0))


class LeftTwice(Mean):
    def total(self, losses: Tensor, valid: Tensor) -> Tensor:
        return super().total(losses, valid) + super().total(losses[..., :1], valid[..., :1])


class FirstImageTwice(Mean):
    def total(self, losses: Tensor, valid: Tensor) -> Tensor:
        return super().total(losses, valid) + super().total(losses[:1], valid[:1])


class LogOfSoftmax(Mean):
    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        return -logits.float().softmax(1).log().gather(1, target[:, None])[:, 0].to(logits.dtype)


class HalfSum(Mean):
    def pixel_losses(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, reduction="none")


class SquaredWeights(Mean):
    def __init__(self, weights: tuple[float, ...] = WEIGHTS) -> None:
        super().__init__(tuple(weight**2 for weight in weights))


class RootOfWeights(Mean):
    """Doubled as a whole, but not by class."""

    def __init__(self, weights: tuple[float, ...] = WEIGHTS) -> None:
        mean = sum(weights) / len(weights)
        super().__init__(tuple(mean * (weight / mean) ** 0.5 for weight in weights))


def judged(kind: type[Mean], *, adds_up: bool = False) -> LossUnderTest:
    """With the claims of `Mean`."""

    def weighted(weights: tuple[float, ...]) -> LossUnderTest:
        return of_module(
            kind(weights), divisor="valid", class_weight=weights, with_class_weight=weighted, adds_up=adds_up
        )

    return weighted(WEIGHTS)


def good() -> LossUnderTest:
    return judged(Mean)


def void_counted() -> LossUnderTest:
    return judged(VoidCounted)


def void_trained() -> LossUnderTest:
    return judged(VoidTrained)


def divided_by_all() -> LossUnderTest:
    return judged(DividedByAll)


def first_class_twice() -> LossUnderTest:
    return judged(FirstClassTwice)


def nothing_over_nothing() -> LossUnderTest:
    return judged(NothingOverNothing)


def sampled(share: str) -> LossUnderTest:
    """Cross-entropy of the pixels that OHEM keeps, divided by their number or, wrongly, by that of `share`."""

    def keeps(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        pixels = Pixels(logits, labels, ignore_index)
        return hard_pixels(pixels.surprise(use_sigmoid=False), pixels.valid, thresh=0.3, min_kept=0)

    def compute(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        kept = keeps(logits, labels, ignore_index)
        total = (Pixels(logits, labels, ignore_index).surprise(use_sigmoid=False) * (kept | (share == "unheard"))).sum()
        return total / (labels.numel() if share == "all" else kept.sum().clamp(min=1))

    return LossUnderTest("sampled", compute, ignored=(255,), divisor="kept", keeps=keeps, adds_up=False)


def drops_ties(logits: Tensor, labels: Tensor, ignore_index: int, thresh: float | None, min_kept: int) -> Tensor:
    """Harder than the first that need not be kept."""
    pixels = Pixels(logits, labels, ignore_index)
    losses = pixels.surprise(use_sigmoid=False)
    ordered = losses[pixels.valid].sort(descending=True).values.tolist()
    return pixels.valid & (losses > [*ordered, *[-1.0] * min_kept * len(losses)][min_kept * len(losses)])


def first_come(logits: Tensor, labels: Tensor, ignore_index: int, thresh: float | None, min_kept: int) -> Tensor:
    """Exactly so many, and of pixels equally hard the first."""
    pixels = Pixels(logits, labels, ignore_index)
    losses = pixels.surprise(use_sigmoid=False).masked_fill(~pixels.valid, -1.0).flatten()
    order = losses.sort(descending=True, stable=True).indices[: min(min_kept * len(labels), int(pixels.valid.sum()))]
    return torch.zeros_like(losses, dtype=torch.bool).index_fill_(0, order, True).view(labels.shape)


def keeps_void(logits: Tensor, labels: Tensor, ignore_index: int, thresh: float | None, min_kept: int) -> Tensor:
    pixels = Pixels(logits, labels, ignore_index)
    return hard_pixels(pixels.surprise(use_sigmoid=False), pixels.valid | True, thresh=thresh, min_kept=min_kept)


def too_few(logits: Tensor, labels: Tensor, ignore_index: int, thresh: float | None, min_kept: int) -> Tensor:
    """For the batch, not for each image."""
    pixels = Pixels(logits, labels, ignore_index)
    losses = pixels.surprise(use_sigmoid=False).view(1, -1, labels.shape[-1])
    kept = hard_pixels(losses, pixels.valid.view(losses.shape), thresh=thresh, min_kept=min_kept)
    return kept.view(labels.shape)


def falls_with_thresh(logits: Tensor, labels: Tensor, ignore_index: int, thresh: float | None, min_kept: int) -> Tensor:
    turned = None if thresh is None else 1 - thresh
    pixels = Pixels(logits, labels, ignore_index)
    return hard_pixels(pixels.surprise(use_sigmoid=False), pixels.valid, thresh=turned, min_kept=min_kept)


def good_sampler() -> SamplerUnderTest:
    return of_sampler(OHEMPixelSampler())
