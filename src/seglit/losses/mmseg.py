"""MMSegmentation's own loss arithmetic, release 0.25 and 1.2, for `HeadCriterion(compat=...)`.

Where it differs from the definitions is listed, with the reasons, in `docs/differences.md`. Formulas only: inputs,
names and errors are seglit's. A pixel's weight here is the sampler's choice alone, as there.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from seglit.losses.boundary import BoundaryLoss
from seglit.losses.cross_entropy import CrossEntropyLoss
from seglit.losses.dice import DiceLoss
from seglit.losses.focal import FocalLoss
from seglit.losses.loss import Loss
from seglit.losses.lovasz import LovaszLoss
from seglit.losses.ohem import OHEMPixelSampler
from seglit.losses.pixel_mean import PixelMeanLoss
from seglit.losses.pixels import Pixels
from seglit.losses.targets import BoundaryTarget, DetailTarget, Target, around
from seglit.losses.tversky import TverskyLoss

EPSILON = torch.finfo(torch.float32).eps
"""Added to every divisor."""


def check(loss: Loss, compat: str, sampler: OHEMPixelSampler | None) -> None:
    """Refuse what the release has no arithmetic for, or fails at.

    Raises:
        ValueError: says what is missing and the mend.
    """
    if compat not in {"mmseg-0.25", "mmseg-1.2"}:
        raise ValueError(f"compat: {compat!r} is none of 'mmseg-0.25', 'mmseg-1.2'")
    without = f"compat='{compat}': MMSegmentation has no"
    if isinstance(loss, PixelMeanLoss) and loss.divisor is not None:
        raise ValueError(f"{without} divisor; use avg_non_ignore, or leave compat out")
    if sampler is not None and not sampler.per_image:
        if compat == "mmseg-0.25":
            raise ValueError(f"{without} per_image=False in a sampler of this release; leave compat out")
        if not isinstance(loss, CrossEntropyLoss) or loss.use_sigmoid or sampler.thresh is None or loss.avg_non_ignore:
            raise ValueError(
                f"{without} per_image=False in a sampler but in OhemCrossEntropy: softmax cross-entropy, thresh and no "
                "avg_non_ignore; leave compat out"
            )
    match loss:
        case BoundaryLoss():
            if compat == "mmseg-0.25" or sampler is not None or loss.avg_non_ignore:
                raise ValueError(
                    f"{without} boundary loss before 1.2, nor a sampler or avg_non_ignore with it; leave compat out"
                )
        case CrossEntropyLoss():
            if loss.use_sigmoid and sampler is not None and sampler.thresh is None:
                raise ValueError(
                    f"{without} sampling by loss of a sigmoid loss (it fails); give thresh, or leave compat out"
                )
        case FocalLoss():
            if not loss.use_sigmoid or loss.alpha is None or loss.avg_non_ignore:
                raise ValueError(f"{without} softmax, alpha=None or avg_non_ignore in focal loss; leave compat out")
            if sampler is not None:
                raise ValueError(f"{without} sampler on focal loss (it fails); leave compat out")
        case DiceLoss() | TverskyLoss():
            if not loss.per_image or loss.avg_non_ignore:
                raise ValueError(f"{without} per_image=False or avg_non_ignore in this loss; leave compat out")
            _check_overlap(loss, compat, sampler)
        case LovaszLoss():
            if loss.avg_non_ignore:
                raise ValueError(f"{without} avg_non_ignore in Lovász loss; leave compat out")
            if loss.per_image and sampler is not None and sampler.thresh is None:
                raise ValueError(f"{without} sampling by loss of a Lovász loss (it fails); give thresh")
        case _:
            raise ValueError(f"{without} {type(loss).__name__}; leave compat out")


def check_channels(loss: Loss, compat: str, sampler: OHEMPixelSampler | None, channels: int) -> None:
    """Refuse what the release fails at, or learns nothing by, for logits of so many channels.

    Raises:
        ValueError: names the argument and the mend.
    """
    theirs = f"compat='{compat}': MMSegmentation's"
    if isinstance(loss, CrossEntropyLoss) and loss.use_sigmoid and loss.class_weight_origin != "none":
        raise ValueError(
            f"class_weight: {theirs} sigmoid loss spreads it over the width of the image (it fails); leave it or "
            "compat out"
        )
    if channels > 1:
        return
    if sampler is not None and sampler.thresh is not None:
        raise ValueError(
            f"use_sigmoid: {theirs} sampler compares thresh with the softmax, which is 1 for the one channel; leave "
            "thresh or compat out"
        )
    if isinstance(loss, TverskyLoss) or (isinstance(loss, DiceLoss) and compat == "mmseg-0.25"):
        raise ValueError(
            f"use_sigmoid: {theirs} {type(loss).__name__} goes by the softmax, which is 1 for the one channel, so that "
            "nothing is learnt; leave compat out, or have a channel for each class"
        )


def _check_overlap(loss: DiceLoss | TverskyLoss, compat: str, sampler: OHEMPixelSampler | None) -> None:
    without = f"compat='{compat}': MMSegmentation has no"
    if isinstance(loss, TverskyLoss):
        if compat == "mmseg-0.25":
            raise ValueError(f"{without} Tversky loss in this release; use compat='mmseg-1.2', or leave compat out")
        if loss.use_sigmoid:
            raise ValueError(f"{without} use_sigmoid in Tversky loss; leave compat out")
    elif compat == "mmseg-0.25":
        if loss.use_sigmoid:
            raise ValueError(f"{without} use_sigmoid in the Dice loss of this release; leave compat out")
    else:
        if loss.class_weight_origin != "none":
            raise ValueError(f"{without} class_weight in the Dice loss of this release; leave compat out")
        if loss.exponent not in {1, 2}:
            raise ValueError(f"{without} exponent={loss.exponent} in the Dice loss of this release; give 1 or 2")
        if sampler is not None:
            raise ValueError(f"{without} sampler on the Dice loss of this release (it fails); leave compat out")


def terms(
    losses: Mapping[str, Loss], sampler: OHEMPixelSampler | None, pixels: Pixels, compat: str
) -> dict[str, Float[Tensor, ""]]:
    """The terms of one head as the release computes them."""
    weight = None
    if sampler is not None:
        with torch.no_grad():
            weight = _sampled(list(losses.values()), sampler, pixels)
    if sampler is not None and not sampler.per_image:
        return {name: loss.loss_weight * _ohem_cross_entropy(loss, pixels, weight) for name, loss in losses.items()}
    return {name: loss.loss_weight * _value(loss, pixels, weight, compat) for name, loss in losses.items()}


def target_labels(
    target: Target, labels: Int64[Tensor, "batch height width"], ignore_index: int
) -> Int64[Tensor, "batch height width"]:
    """Boundaries as the release makes them: no pixel is void, and to `STDCHead` a void label is a number like any."""
    match target:
        case BoundaryTarget():
            return target.boundaries(labels, labels != ignore_index).long()
        case DetailTarget():
            # Beyond the frame there is class 0.
            return target.at_all_scales(9 * labels.float() - around(labels.float())).long()
    raise ValueError(f"compat: MMSegmentation has no {type(target).__name__}; leave compat out")


def accuracy(pixels: Pixels) -> Float[Tensor, ""]:
    """Percent of valid pixels that are right, 100 where no pixel is valid."""
    valid = pixels.valid
    correct = valid & (pixels.logits.detach().max(1).indices == pixels.labels)
    return (100.0 * (correct.sum() + EPSILON) / (valid.sum() + EPSILON)).to(pixels.logits.dtype)


def divisor_name(loss: Loss, compat: str, sampler: OHEMPixelSampler | None) -> str:
    """What the release divides by, for the receipt."""
    if not isinstance(loss, PixelMeanLoss):
        return loss.divisor_name(sampled=False)
    if sampler is not None and not sampler.per_image:
        return "kept"
    if (
        isinstance(loss, CrossEntropyLoss)
        and not loss.use_sigmoid
        and loss.class_weight_origin != "none"
        and compat == "mmseg-1.2"
    ):
        return "class_weight of valid" if loss.avg_non_ignore else "class_weight of all"
    return "valid" if loss.avg_non_ignore else "all"


def _sampled(losses: list[Loss], sampler: OHEMPixelSampler, pixels: Pixels) -> Float[Tensor, "batch height width"]:
    """One at the pixels that the release's sampler keeps; the comparison is strict, so ties at the limit drop."""
    valid = pixels.valid
    kept = sampler.min_kept * len(valid) if sampler.per_image else max(1, sampler.min_kept)
    if sampler.thresh is not None:
        probability = pixels.logits.softmax(1).gather(1, pixels.target[:, None])[:, 0]
        ordered = probability[valid].sort().values
        limit = ordered[min(kept, ordered.numel() - 1)] if ordered.numel() else ordered.new_tensor(0.0)
        return (valid & (probability < limit.clamp(min=sampler.thresh))).to(probability.dtype)
    per_pixel = torch.zeros_like(valid, dtype=pixels.logits.dtype)
    for loss in losses:
        per_pixel = per_pixel + loss.loss_weight * _unreduced(loss, pixels)
    weight = torch.zeros_like(per_pixel)
    chosen = per_pixel[valid].sort(descending=True).indices[:kept]
    flat = torch.zeros(int(valid.sum()), dtype=weight.dtype, device=weight.device)
    flat[chosen] = 1.0
    weight[valid] = flat
    return weight


def _unreduced(loss: Loss, pixels: Pixels) -> Tensor:
    """What the release adds up to rank pixels by: cross-entropy by pixel, any other loss as one number for all."""
    if isinstance(loss, CrossEntropyLoss):
        return _cross_entropy_pixels(loss, pixels)
    return _value(loss, pixels, None, "mmseg-0.25")


def _value(loss: Loss, pixels: Pixels, weight: Tensor | None, compat: str) -> Float[Tensor, ""]:
    match loss:
        case BoundaryLoss():
            return _boundary(pixels)
        case CrossEntropyLoss(use_sigmoid=True):
            return _binary_cross_entropy(loss, pixels, weight)
        case CrossEntropyLoss():
            return _cross_entropy(loss, pixels, weight, compat)
        case FocalLoss():
            return _focal(loss, pixels)
        case DiceLoss() if compat == "mmseg-0.25":
            return _dice_025(loss, pixels)
        case DiceLoss():
            return _dice_12(loss, pixels)
        case TverskyLoss():
            return _tversky(loss, pixels)
        case LovaszLoss():
            return _lovasz(loss, pixels)
    raise AssertionError(f"{type(loss).__name__} passed the check")


def _cross_entropy_pixels(loss: CrossEntropyLoss, pixels: Pixels) -> Float[Tensor, "batch height width"]:
    class_weight = None if loss.class_weight is None else pixels.logits.new_tensor(loss.class_weight)
    return F.cross_entropy(
        pixels.logits, pixels.labels, weight=class_weight, ignore_index=pixels.ignore_index, reduction="none"
    )


def _cross_entropy(loss: CrossEntropyLoss, pixels: Pixels, weight: Tensor | None, compat: str) -> Float[Tensor, ""]:
    """The divisor never counts the sampler's choice; with class weights 1.2 divides by their sum over pixels."""
    per_pixel = _cross_entropy_pixels(loss, pixels)
    if weight is not None:
        per_pixel = per_pixel * weight
    if compat == "mmseg-1.2" and loss.class_weight is not None:
        # The sum runs over void pixels as well, where the release can read their label as a class.
        counted = torch.ones_like(pixels.valid)
        if loss.avg_non_ignore or not -pixels.channels <= pixels.ignore_index < pixels.channels:
            counted = pixels.valid
        by_label = pixels.logits.new_tensor(loss.class_weight)[torch.where(counted, pixels.labels, 0)]
        return per_pixel.sum() / (torch.where(counted, by_label, 0.0).sum() + EPSILON)
    if loss.avg_non_ignore:
        return per_pixel.sum() / (pixels.valid.to(per_pixel.dtype).sum() + EPSILON)
    return per_pixel.mean() if compat == "mmseg-0.25" else per_pixel.sum() / (per_pixel.numel() + EPSILON)


def _ohem_cross_entropy(loss: Loss, pixels: Pixels, kept: Tensor | None) -> Float[Tensor, ""]:
    """The mean over the kept pixels; not a number where none is, though some are valid."""
    assert isinstance(loss, CrossEntropyLoss)  # or the check would have refused it
    assert kept is not None
    total = (_cross_entropy_pixels(loss, pixels) * kept).sum()
    return total / torch.where(pixels.valid.any(), kept.sum(), 1.0)


def _boundary(pixels: Pixels) -> Float[Tensor, ""]:
    """Nothing where all pixels are of one kind."""
    ones, zeros = pixels.labels == 1, pixels.labels == 0
    numbers = ones.sum(), zeros.sum()
    shares = [number / sum(numbers) for number in reversed(numbers)]
    weight = torch.where(ones, shares[0], torch.where(zeros, shares[1], 0.0)).to(pixels.logits.dtype)
    target = ones[:, None].to(pixels.logits.dtype)
    return F.binary_cross_entropy_with_logits(pixels.logits, target, weight[:, None])


def _binary_cross_entropy(loss: CrossEntropyLoss, pixels: Pixels, weight: Tensor | None) -> Float[Tensor, ""]:
    """Class weights weigh positive targets, and broadcast over the last axis as they come."""
    valid = (pixels.labels >= 0) & pixels.valid
    target = pixels.one_hot()
    positive_weight = None if loss.class_weight is None else pixels.logits.new_tensor(loss.class_weight)
    terms_ = F.binary_cross_entropy_with_logits(pixels.logits, target, pos_weight=positive_weight, reduction="none")
    terms_ = terms_ * (valid if weight is None else valid * weight)[:, None]
    if loss.avg_non_ignore:
        return terms_.sum() / (valid.to(terms_.dtype).sum() * pixels.channels + EPSILON)
    return terms_.mean()


def _focal(loss: FocalLoss, pixels: Pixels) -> Float[Tensor, ""]:
    """The mean counts void pixels; class weights weigh channels."""
    target = pixels.one_hot()
    probability = pixels.logits.sigmoid()
    miss = (1 - probability) * target + probability * (1 - target)
    alpha = pixels.logits.new_tensor(loss.alpha)
    alpha = alpha[:, None, None] if alpha.ndim else alpha
    terms_ = F.binary_cross_entropy_with_logits(pixels.logits, target, reduction="none")
    terms_ = terms_ * (alpha * target + (1 - alpha) * (1 - target)) * miss**loss.gamma
    if loss.class_weight is not None:
        terms_ = terms_ * pixels.logits.new_tensor(loss.class_weight)[:, None, None]
    return (terms_ * pixels.valid[:, None]).mean()


def _class_terms(loss: DiceLoss | TverskyLoss, pixels: Pixels, per_class: Tensor) -> Float[Tensor, ""]:
    """Mean over all classes, that of the ignored number left out of the sum yet counted; class weights weigh terms."""
    if loss.class_weight is not None:
        per_class = per_class * pixels.logits.new_tensor(loss.class_weight)
    classes = [channel for channel in range(pixels.channels) if channel != pixels.ignore_index]
    return per_class[:, classes].sum(1).mean() / pixels.channels


def _clamped_one_hot(pixels: Pixels) -> Float[Tensor, "batch channels height width"]:
    """One at the label, where a label beyond the classes, void ones too, becomes the nearest class."""
    labels = pixels.labels.clamp(0, pixels.channels - 1)
    return F.one_hot(labels, pixels.channels).movedim(-1, 1).to(pixels.logits.dtype)


def _dice_025(loss: DiceLoss, pixels: Pixels) -> Float[Tensor, ""]:
    """Void pixels are masked in the numerator only; the sampler is not heard."""
    probability = pixels.logits.softmax(1).flatten(2)
    target = _clamped_one_hot(pixels).flatten(2)
    valid = pixels.valid.flatten(1)[:, None]
    both = (probability * target * valid).sum(2)
    either = (probability**loss.exponent + target**loss.exponent).sum(2)
    return _class_terms(loss, pixels, 1 - (2 * both + loss.smooth) / (either + loss.smooth))


def _dice_12(loss: DiceLoss, pixels: Pixels) -> Float[Tensor, ""]:
    """One Dice over all classes and pixels of an image; `smooth` is the release's `eps`, `exponent=1` its naive form.

    On one channel the target is class 0, not class 1, and without `use_sigmoid` the logits are taken as they are.
    """
    if loss.use_sigmoid:
        probability = pixels.logits.sigmoid()
    else:
        probability = pixels.logits if pixels.channels == 1 else pixels.logits.softmax(1)
    target = _clamped_one_hot(pixels) * (pixels.labels < pixels.channels)[:, None]
    classes = [channel for channel in range(pixels.channels) if channel != pixels.ignore_index]
    probability, target = probability[:, classes].flatten(1), target[:, classes].flatten(1)
    both = 2 * (probability * target).sum(1)
    if loss.exponent == 1:
        dice = (both + loss.smooth) / (probability.sum(1) + target.sum(1) + loss.smooth)
    else:
        dice = both / ((probability**2).sum(1) + loss.smooth + (target**2).sum(1) + loss.smooth)
    return (1 - dice).mean()


def _tversky(loss: TverskyLoss, pixels: Pixels) -> Float[Tensor, ""]:
    """The sampler is not heard."""
    target = _clamped_one_hot(pixels)
    valid = pixels.valid[:, None].to(pixels.logits.dtype)
    probability = pixels.logits.softmax(1)
    right = (probability * target * valid).sum((2, 3))
    wrong = loss.alpha * (probability * (1 - target) * valid).sum((2, 3))
    missed = loss.beta * ((1 - probability) * target * valid).sum((2, 3))
    return _class_terms(loss, pixels, 1 - (right + loss.smooth) / (right + wrong + missed + loss.smooth))


def _lovasz(loss: LovaszLoss, pixels: Pixels) -> Float[Tensor, ""]:
    """Class weights weigh classes; the sampler is not heard; a class numbered as the ignored label is still a class."""
    per_class, present = loss.class_terms(pixels, pixels.valid.to(pixels.logits.dtype))
    counted = loss.counted_classes(present)
    if loss.class_weight is not None:
        per_class = per_class * pixels.logits.new_tensor(loss.class_weight)
    return ((per_class * counted).sum(1) / counted.sum(1).clamp(min=1)).mean()
