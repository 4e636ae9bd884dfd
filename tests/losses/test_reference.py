"""Losses and the sampler against the slow references, values and gradients, in float64."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from reference import losses as reference
from seglit.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    HeadCriterion,
    LovaszLoss,
    OHEMPixelSampler,
    TverskyLoss,
)
from seglit.losses.loss import Loss

SHAPE = (2, 3, 3, 4)
WEIGHTS = [0.5, 2.0, 1.25]


def inputs(ignore_index: int, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(3)
    logits = 2 * random.standard_normal((SHAPE[0], channels, *SHAPE[2:]))
    labels = random.randint(0, max(channels, 2), (SHAPE[0], *SHAPE[2:]))
    labels[random.rand(*labels.shape) < 0.25] = ignore_index
    return logits, labels


Case = tuple[Callable[..., Loss], Callable[..., float], dict[str, Any], bool]

CASES: dict[str, Case] = {
    "ce": (CrossEntropyLoss, reference.cross_entropy, {}, False),
    "bce": (CrossEntropyLoss, reference.cross_entropy, {"use_sigmoid": True}, True),
    "focal": (FocalLoss, reference.focal, {}, True),
    "focal-list": (FocalLoss, reference.focal, {"alpha": [0.2, 0.5, 0.9], "gamma": 1.5}, True),
    "focal-none": (FocalLoss, reference.focal, {"alpha": None, "gamma": 0.5}, True),
    "focal-softmax": (FocalLoss, reference.focal, {"use_sigmoid": False}, False),
    "focal-softmax-list": (FocalLoss, reference.focal, {"use_sigmoid": False, "alpha": [0.2, 0.5, 0.9]}, False),
    "focal-softmax-none": (FocalLoss, reference.focal, {"use_sigmoid": False, "alpha": None}, False),
    "dice": (DiceLoss, reference.dice, {}, False),
    "dice-1": (DiceLoss, reference.dice, {"exponent": 1, "smooth": 0.1}, False),
    "dice-sigmoid": (DiceLoss, reference.dice, {"use_sigmoid": True}, True),
    "dice-batch": (DiceLoss, reference.dice, {"per_image": False}, False),
    "tversky": (TverskyLoss, reference.tversky, {}, False),
    "tversky-batch": (TverskyLoss, reference.tversky, {"per_image": False, "alpha": 0.6, "beta": 0.2}, False),
    "tversky-sigmoid": (TverskyLoss, reference.tversky, {"use_sigmoid": True}, True),
    "lovasz": (LovaszLoss, reference.lovasz, {}, False),
    "lovasz-all": (LovaszLoss, reference.lovasz, {"classes": "all"}, False),
    "lovasz-list": (LovaszLoss, reference.lovasz, {"classes": [1, 2]}, False),
    "lovasz-image": (LovaszLoss, reference.lovasz, {"per_image": True}, False),
}
SAMPLERS = {"all": None, "thresh": OHEMPixelSampler(0.4, 2), "hardest": OHEMPixelSampler(None, 3)}
VARIANTS = [
    {},
    {"avg_non_ignore": True},
    {"divisor": "all"},
    {"divisor": "valid"},
    {"divisor": "class_weight"},
]


def variants(name: str, class_weight: object) -> list[dict[str, Any]]:
    make, _, options, _ = CASES[name]
    if make in (CrossEntropyLoss, FocalLoss):
        return [entry for entry in VARIANTS if class_weight is not None or entry.get("divisor") != "class_weight"]
    batched = options.get("per_image", make is not LovaszLoss)
    return VARIANTS[:2] if batched else VARIANTS[:1]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("ignore_index", [255, 0, -100, 254])
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, ignore_index: int, sampler: str) -> None:
    make, expected, options, sigmoid = CASES[name]
    logits, labels = inputs(ignore_index)
    chosen = SAMPLERS[sampler]
    keep = None
    if chosen is not None:
        keep = reference.hard_pixels(
            logits,
            labels,
            thresh=chosen.thresh,
            min_kept=chosen.min_kept,
            ignore_index=ignore_index,
            use_sigmoid=sigmoid,
        )
    for class_weight in (None, WEIGHTS):
        for variant in variants(name, class_weight):
            loss = make(class_weight=class_weight, **options, **variant)
            criterion = HeadCriterion({"loss_x": loss}, chosen, ignore_index)
            criterion.check(3, 3)
            terms = criterion(torch.from_numpy(logits), torch.from_numpy(labels))
            value = expected(
                logits, labels, ignore_index=ignore_index, keep=keep, class_weight=class_weight, **options, **variant
            )
            assert_close(terms["loss_x"].item(), value, rtol=1e-9, atol=1e-12)
            assert_close(
                terms["acc_seg"].item(),
                reference.accuracy(logits, labels, ignore_index=ignore_index),
                rtol=1e-9,
                atol=0,
            )


@pytest.mark.parametrize("name", [name for name in CASES if "list" not in name])
def test_gradients(name: str) -> None:
    make, expected, options, _ = CASES[name]
    logits, labels = inputs(255)
    tensor = torch.from_numpy(logits).requires_grad_()
    HeadCriterion({"loss_x": make(class_weight=WEIGHTS, **options)})(tensor, torch.from_numpy(labels))[
        "loss_x"
    ].backward()
    numeric = reference.numeric_gradient(lambda x: expected(x, labels, class_weight=WEIGHTS, **options), logits)
    assert_close(tensor.grad, torch.from_numpy(numeric), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("ignore_index", [255, -100])
@pytest.mark.parametrize("class_weight", [None, [0.5, 2.0]])
def test_one_channel(ignore_index: int, class_weight: list[float] | None) -> None:
    logits, labels = inputs(ignore_index, channels=1)
    for make, expected, options in (
        (CrossEntropyLoss, reference.cross_entropy, {"use_sigmoid": True}),
        (FocalLoss, reference.focal, {}),
        (DiceLoss, reference.dice, {}),
        (TverskyLoss, reference.tversky, {}),
        (LovaszLoss, reference.lovasz, {}),
    ):
        loss = make(class_weight=class_weight, **options)
        criterion = HeadCriterion({"loss_x": loss}, ignore_index=ignore_index)
        criterion.check(2, 1)
        terms = criterion(torch.from_numpy(logits), torch.from_numpy(labels))
        value = expected(logits, labels, ignore_index=ignore_index, class_weight=class_weight, **options)
        assert_close(terms["loss_x"].item(), value, rtol=1e-9, atol=1e-12)
        accuracy = reference.accuracy(logits, labels, ignore_index=ignore_index)
        assert_close(terms["acc_seg"].item(), accuracy, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("thresh", "min_kept", "use_sigmoid"), list(itertools.product([None, 0.2, 0.7, 1.0], [1, 4, 100], [False, True]))
)
def test_sampler(thresh: float | None, min_kept: int, use_sigmoid: bool) -> None:
    logits, labels = inputs(255)
    logits = np.round(logits)  # so that there are ties
    expected = reference.hard_pixels(logits, labels, thresh=thresh, min_kept=min_kept, use_sigmoid=use_sigmoid)
    probability = torch.from_numpy(reference.true_class_probability(logits, labels, use_sigmoid=use_sigmoid))
    valid = torch.from_numpy(labels != 255)
    kept = OHEMPixelSampler(thresh, min_kept)(-probability.nan_to_num(1.0).log(), valid)
    assert torch.equal(kept, torch.from_numpy(expected))


@pytest.mark.parametrize("align_corners", [False, True])
def test_logits_are_upsampled_to_the_labels(align_corners: bool) -> None:
    logits, _ = inputs(255)
    labels = np.random.RandomState(0).randint(0, 3, (2, 7, 9))
    big = reference.resize_bilinear(logits, (7, 9), align_corners=align_corners)
    criterion = HeadCriterion({"loss_ce": CrossEntropyLoss(loss_weight=2.0)}, weight=0.4)
    value = criterion(torch.from_numpy(logits), torch.from_numpy(labels), align_corners)["loss_ce"]
    assert_close(value.item(), 0.8 * reference.cross_entropy(big, labels), rtol=1e-9, atol=0)
