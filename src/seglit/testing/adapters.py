"""From what one has, a module, a criterion or a sampler, to what the laws take."""

import copy
import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seglit.losses import HeadCriterion, OHEMPixelSampler, SegmentationCriterion
from seglit.losses.loss import Loss
from seglit.losses.lovasz import LovaszLoss
from seglit.losses.pixel_mean import PixelMeanLoss
from seglit.losses.pixel_sum import PixelSumLoss
from seglit.losses.pixels import Pixels
from seglit.testing.under_test import ClassWeight, Cut, Divisor, LossUnderTest, SamplerUnderTest

MIXABLE = {"valid", "kept", "class_weight", "formula"}
"""Divisors that count no void pixel."""


def of_module(module: Callable[[Tensor, Tensor], Tensor], name: str = "loss", **claims: Any) -> LossUnderTest:
    """Anybody's loss, called as `module(logits, labels)`.

    Args:
        module: a module, which is moved to the type of the logits, or a function.
        name: what reports call it.
        **claims: fields of `LossUnderTest`. Without `ignored`, a module with an `ignore_index`, as torch's losses have
            it, claims to ignore that label.
    """

    def compute(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
        called = copy.deepcopy(module).to(logits.dtype) if isinstance(module, nn.Module) else module
        return called(logits, labels)

    label = getattr(module, "ignore_index", None)
    if isinstance(label, int):
        claims = {"ignored": (label,)} | claims
    return LossUnderTest(name, compute, **claims)


def of_criterion(
    criterion: HeadCriterion | SegmentationCriterion,
    name: str = "criterion",
    *,
    channels: int = 4,
    ignored: tuple[int, ...] | None = None,
) -> LossUnderTest:
    """A criterion of seglit; its claims are read off its losses and samplers.

    Every head gets the same logits, but for a factor that differs from head to head.

    Args:
        criterion: of one head or several, without `compat`.
        name: what reports call it.
        channels: of the logits.
        ignored: the labels to try in the place of its own `ignore_index`; None: that one.
    """
    whole = criterion if isinstance(criterion, SegmentationCriterion) else SegmentationCriterion(decode=criterion)
    heads = whole.head_criteria().values()
    losses = [loss for head in heads for loss in head.named_losses().values()]
    samplers = [head.sampler for head in heads if head.sampler is not None]
    labels = ignored or (next(iter(heads)).ignore_index,)
    by_label = {label: _ignoring(whole, label) for label in labels}
    weights = {loss.class_weight for loss in losses}
    summed = all(isinstance(loss, PixelSumLoss) for loss in losses)
    return LossUnderTest(
        name,
        lambda logits, labels, void: by_label[void](_outputs(by_label[void], logits), labels)["loss"],
        ignored=labels,
        classes=max(channels, 2),
        channels=channels,
        divisor=_divisor(list(heads)),
        class_weight=losses[0].class_weight,
        with_class_weight=lambda chosen: of_criterion(
            _weighing(whole, chosen), name, channels=channels, ignored=labels
        ),
        keeps=(lambda logits, labels, void: _kept(by_label[void], logits, labels)) if samplers else None,
        keeps_by_count=any(sampler.min_kept > 0 for sampler in samplers),
        adds_up=all(loss.adds_up for loss in losses),
        combine=lambda logits, labels, void, parts: _combined(by_label[void], logits, labels, parts),
        statistics=(lambda logits, labels, void, cut: _statistics(by_label[void], logits, labels, cut))
        if summed
        else None,
        classes_alike=len(weights) == 1
        and all(isinstance(loss.classes, str) if isinstance(loss, LovaszLoss) else True for loss in losses),
    )


def of_sampler(sampler: OHEMPixelSampler, name: str = "OHEMPixelSampler", **claims: Any) -> SamplerUnderTest:
    """The sampler of seglit; its own `thresh` and `min_kept` are replaced by those that the laws try.

    Args:
        sampler: its class is what is tried.
        name: what reports call it.
        **claims: fields of `SamplerUnderTest`.
    """

    def keeps(logits: Tensor, labels: Tensor, ignore_index: int, thresh: float | None, min_kept: int) -> Tensor:
        pixels = Pixels(logits, labels, ignore_index)
        kept: Tensor = type(sampler)(thresh, min_kept)(pixels.surprise(use_sigmoid=False), pixels.valid)
        return kept

    return SamplerUnderTest(name, keeps, **claims)


def named(path: str) -> LossUnderTest | SamplerUnderTest:
    """What `package.module:name` names: a class or a factory without arguments, or a ready `LossUnderTest`.

    Raises:
        ValueError: where the path is none, or what it makes is nothing that the laws can be held against.
    """
    module, separator, attribute = path.partition(":")
    if not separator:
        raise ValueError(f"{path}: give package.module:name")
    found = getattr(importlib.import_module(module), attribute, None)
    if found is None:
        raise ValueError(f"{path}: {module} has no {attribute}")
    if isinstance(found, LossUnderTest | SamplerUnderTest):
        return replace(found, name=path)
    if not callable(found):
        raise ValueError(f"{path}: is no class and no function")
    match made := found():
        case LossUnderTest() | SamplerUnderTest():
            return replace(made, name=path)
        case OHEMPixelSampler():
            return of_sampler(made, path)
        case Loss():
            return of_criterion(HeadCriterion({"loss_x": made}), path)
        case HeadCriterion() | SegmentationCriterion():
            return of_criterion(made, path)
        case _ if callable(made):
            return of_module(made, path)
    raise ValueError(f"{path}: makes a {type(made).__name__}, which cannot be called as loss(logits, labels)")


def _ignoring(criterion: SegmentationCriterion, label: int) -> SegmentationCriterion:
    other = copy.deepcopy(criterion)
    for head in other.head_criteria().values():
        head.ignore_index = label
    return other


def _weighing(criterion: SegmentationCriterion, weights: ClassWeight) -> SegmentationCriterion:
    other = copy.deepcopy(criterion)
    for head in other.head_criteria().values():
        for loss in head.named_losses().values():
            loss.class_weight = weights
    return other


def _outputs(criterion: SegmentationCriterion, logits: Tensor) -> dict[str, Tensor]:
    return {name: logits / (place + 1) for place, name in enumerate(criterion.head_criteria())}


def _pixels(criterion: SegmentationCriterion, logits: Tensor, labels: Tensor) -> dict[str, Pixels]:
    outputs = _outputs(criterion, logits)
    found = {name: head.pixels(outputs[name], labels) for name, head in criterion.head_criteria().items()}
    return {name: pixels for name, pixels in found.items() if isinstance(pixels, Pixels)}


def _kept(criterion: SegmentationCriterion, logits: Tensor, labels: Tensor) -> Tensor:
    """What any head keeps."""
    return torch.stack([pixels.counted for pixels in _pixels(criterion, logits, labels).values()]).any(dim=0)


def _part(pixels: Pixels, cut: Cut) -> Pixels:
    images, rows, columns = cut
    return replace(
        pixels,
        logits=pixels.logits[images, :, rows, columns],
        labels=pixels.labels[cut],
        kept=None if pixels.kept is None else pixels.kept[cut],
    )


def _combined(criterion: SegmentationCriterion, logits: Tensor, labels: Tensor, parts: list[Cut]) -> Tensor:
    """The loss from the totals of parts, whose pixels the samplers chose among those of the whole batch."""
    pixels = _pixels(criterion, logits, labels)
    totals = [criterion.totals({name: _part(whole, cut) for name, whole in pixels.items()}) for cut in parts]
    added = {key: torch.stack([one[key] for one in totals]).sum(0) for key in totals[0]}
    return criterion.terms(pixels, added)["loss"]


def _statistics(criterion: SegmentationCriterion, logits: Tensor, labels: Tensor, cut: Cut) -> Mapping[str, Tensor]:
    pixels = _pixels(criterion, logits, labels)
    return {
        f"{name}.{term}.{key}": value
        for name, head in criterion.head_criteria().items()
        for term, loss in head.named_losses().items()
        if isinstance(loss, PixelSumLoss)
        for key, value in loss.statistics(_part(pixels[name], cut)).items()
    }


def _divisor(heads: list[HeadCriterion]) -> Divisor | None:
    """The divisor that all losses share, or `mixed` where none counts pixels that are void or not kept."""
    names = {
        loss.divisor_name(sampled=head.sampler is not None) if isinstance(loss, PixelMeanLoss) else "formula"
        for head in heads
        for loss in head.named_losses().values()
    }
    sampled = any(head.sampler is not None for head in heads)
    if len(names) == 1 and (len(heads) == 1 or names != {"kept"}):
        match names.pop():
            case "all":
                return "all"
            case "valid":
                return "valid"
            case "kept":
                return "kept"
            case "class_weight":
                return "class_weight"
            case _:
                return "formula"
    return "mixed" if names <= MIXABLE - ({"valid"} if sampled else set()) else None
