"""The references of `losses.py` beside this file are themselves right.

By worked numbers, by identities that use another formula, against PyTorch, and against numbers computed with
MMSegmentation where its definition is the same.
"""

import importlib.util
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

SPEC = importlib.util.spec_from_file_location("reference_losses", Path(__file__).with_name("losses.py"))
assert SPEC is not None
assert SPEC.loader is not None
reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(reference)

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
WEIGHTS = [0.5, 2.0, 1.0, 0.25, 3.0]
IGNORE = 255


def example(seed: int, channels: int = 5, batch: int = 2, height: int = 3, width: int = 4, void: float = 0.25) -> Any:
    """Random logits, labels with void pixels (never the very first), a random sampler mask."""
    random = np.random.default_rng(seed)
    logits = 2 * random.standard_normal((batch, channels, height, width))
    labels = random.integers(0, max(channels, 2), (batch, height, width))
    labels[random.random(labels.shape) < void] = IGNORE
    labels[0, 0, 0] = 1
    keep = random.random(labels.shape) < 0.6
    keep[0, 0, 0] = True
    return logits, labels, keep


def one_pixel(*scores: float) -> np.ndarray:
    return np.array(scores, dtype=np.float64).reshape(1, -1, 1, 1)


def row(*pixels: tuple[float, ...]) -> np.ndarray:
    """One image of one row, each pixel given by its scores."""
    return np.array(pixels, dtype=np.float64).T[None, :, None, :]


def labels_row(*labels: int) -> np.ndarray:
    return np.array(labels)[None, None, :]


def scores_of(*p: float) -> tuple[float, ...]:
    """Scores whose softmax is `p`."""
    return tuple(math.log(value) for value in p)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def close(actual: Any, expected: Any, rel: float = 1e-12, absolute: float = 1e-13) -> None:
    np.testing.assert_allclose(actual, expected, rtol=rel, atol=absolute)


LOSSES: dict[str, Callable[..., float]] = {
    "ce": reference.cross_entropy,
    "bce": partial(reference.cross_entropy, use_sigmoid=True),
    "focal": reference.focal,
    "softmax focal": partial(reference.focal, use_sigmoid=False, alpha=[0.1, 0.3, 0.5, 0.7, 0.9]),
    "dice": reference.dice,
    "sigmoid dice": partial(reference.dice, use_sigmoid=True, exponent=1, smooth=0.5),
    "tversky": reference.tversky,
    "lovasz": reference.lovasz,
    "lovasz all": partial(reference.lovasz, classes="all"),
}
BINARY_LOSSES: dict[str, Callable[..., float]] = {
    "bce": partial(reference.cross_entropy, use_sigmoid=True),
    "focal": partial(reference.focal, alpha=0.25),
    "dice": reference.dice,
    "tversky": reference.tversky,
    "lovasz hinge": reference.lovasz,
}
EVERY_LOSS = [pytest.param(loss, 5, id=name) for name, loss in LOSSES.items()] + [
    pytest.param(loss, 1, id=f"binary {name}") for name, loss in BINARY_LOSSES.items()
]


# Laws of every loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "channels"), EVERY_LOSS)
def test_logits_of_a_void_or_dropped_pixel_have_no_say(loss: Callable[..., float], channels: int) -> None:
    logits, labels, keep = example(1, channels)
    before = loss(logits, labels, keep=keep)
    changed = np.where(((labels == IGNORE) | ~keep)[:, None], -logits + 3, logits)
    assert not np.array_equal(changed, logits)
    assert loss(changed, labels, keep=keep) == before


@pytest.mark.parametrize(("loss", "channels"), EVERY_LOSS)
def test_logits_of_a_kept_pixel_have_a_say(loss: Callable[..., float], channels: int) -> None:
    logits, labels, keep = example(1, channels)
    changed = logits.copy()
    changed[0, -1, 0, 0] -= 0.5
    assert loss(changed, labels, keep=keep) != pytest.approx(loss(logits, labels, keep=keep), rel=1e-6)


@pytest.mark.parametrize(("loss", "channels"), EVERY_LOSS)
def test_all_void_is_zero(loss: Callable[..., float], channels: int) -> None:
    logits, labels, keep = example(2, channels)
    labels[:] = IGNORE
    for options in ({}, {"avg_non_ignore": True}, {"keep": keep}, {"class_weight": WEIGHTS}):
        assert loss(logits, labels, **options) == 0.0
    if "divisor" in loss_options(loss):
        for divisor in ("all", "valid", "kept", "class_weight"):
            assert loss(logits, labels, divisor=divisor) == 0.0


@pytest.mark.parametrize(("loss", "channels"), EVERY_LOSS)
def test_a_class_weight_is_a_number_of_copies_of_the_pixel(loss: Callable[..., float], channels: int) -> None:
    """Weights 1, 2 and 3 give what unit weights give when each pixel stands there once, twice or thrice."""
    copies = [1, 3, 2, 1, 2][: max(channels, 2)]
    logits, labels, keep = example(3, channels, batch=1, height=1, width=9)
    times = [1 if label == IGNORE else copies[label] for label in labels.flat]
    one_weighted: dict[str, Any] = {"keep": keep}
    many: dict[str, Any] = {"keep": np.repeat(keep, times, axis=2)}
    if "divisor" in loss_options(loss):
        one_weighted["divisor"] = many["divisor"] = "class_weight"
    close(
        loss(logits, labels, class_weight=copies, **one_weighted),
        loss(np.repeat(logits, times, axis=3), np.repeat(labels, times, axis=2), **many),
    )


@pytest.mark.parametrize(("loss", "channels"), EVERY_LOSS)
def test_class_weight_has_an_effect(loss: Callable[..., float], channels: int) -> None:
    logits, labels, _ = example(3, channels)
    weights = [2.0, 0.5, 1.0, 3.0, 0.25][: max(channels, 2)]
    assert loss(logits, labels, class_weight=weights) != pytest.approx(loss(logits, labels), rel=1e-4)


@pytest.mark.parametrize(("loss", "channels"), EVERY_LOSS)
def test_a_dropped_pixel_counts_as_a_void_one(loss: Callable[..., float], channels: int) -> None:
    logits, labels, keep = example(4, channels)
    options = {"divisor": "valid"} if "divisor" in loss_options(loss) else {}
    dropped = loss(logits, labels, keep=keep)
    close(dropped, loss(logits, np.where(keep, labels, IGNORE), **options))
    assert dropped != pytest.approx(loss(logits, labels), rel=1e-4)


@pytest.mark.parametrize(("loss", "channels"), EVERY_LOSS)
def test_a_sampler_that_keeps_everything_is_no_sampler(loss: Callable[..., float], channels: int) -> None:
    logits, labels, _ = example(5, channels, void=0.0)
    close(loss(logits, labels, keep=np.ones_like(labels)), loss(logits, labels))


def loss_options(loss: Callable[..., float]) -> dict[str, Any]:
    function = loss.func if isinstance(loss, partial) else loss
    return dict(function.__kwdefaults__)


# Divisors ---------------------------------------------------------------------------------------------------


def test_divisors_worked() -> None:
    """Six pixels of class 0, 1, 2, 3, 4 and void, of which 2 and 3 are dropped; class weights .5 2 1 .25 3.

    all = 6, valid = 5, kept = 3, class_weight = .5 + 2 + 3 = 5.5, unsampled .5 + 2 + 1 + .25 + 3 = 6.75.
    """
    labels = labels_row(0, 1, 2, 3, 4, 255)
    keep = np.array([1, 1, 0, 0, 1, 1]).reshape(labels.shape)
    by = partial(reference.divide_by, labels, IGNORE)
    assert by(keep, WEIGHTS, "all", False) == 6
    assert by(keep, WEIGHTS, "valid", False) == 5
    assert by(keep, WEIGHTS, "kept", False) == 3
    assert by(keep, WEIGHTS, "class_weight", False) == 5.5
    assert by(None, WEIGHTS, "kept", False) == 5
    assert by(None, WEIGHTS, "class_weight", False) == 6.75
    assert by(None, WEIGHTS, None, False) == 6
    assert by(None, WEIGHTS, None, True) == 5
    assert by(keep, WEIGHTS, None, False) == by(keep, WEIGHTS, None, True) == 3
    with pytest.raises(ValueError, match="batch"):
        by(None, None, "batch", False)


@pytest.mark.parametrize("name", ["ce", "bce", "focal", "softmax focal"])
def test_loss_times_divisor_is_one_sum(name: str) -> None:
    logits, labels, keep = example(6)
    loss = partial(LOSSES[name], logits, labels, keep=keep, class_weight=WEIGHTS)
    total = loss(divisor="all") * labels.size
    for divisor in ("valid", "kept", "class_weight"):
        number = reference.divide_by(labels, IGNORE, keep, WEIGHTS, divisor, False)
        assert number != labels.size
        close(loss(divisor=divisor) * number, total)
    assert loss() == loss(divisor="kept")
    assert LOSSES[name](logits, labels, avg_non_ignore=True) == LOSSES[name](logits, labels, divisor="valid")
    assert LOSSES[name](logits, labels) == LOSSES[name](logits, labels, divisor="all")


# Cross entropy ----------------------------------------------------------------------------------------------


def test_cross_entropy_worked() -> None:
    """p of the true class 1/2, 1/4, void: log 2 + log 4 = 3 log 2; over 3 or 2; or weighted 1 and 3."""
    logits = row(scores_of(0.5, 0.3, 0.2), scores_of(0.5, 0.25, 0.25), scores_of(0.1, 0.1, 0.8))
    labels = labels_row(0, 1, 255)
    log2 = math.log(2)
    close(reference.cross_entropy(logits, labels), log2)
    close(reference.cross_entropy(logits, labels, avg_non_ignore=True), 1.5 * log2)
    close(reference.cross_entropy(logits, labels, class_weight=[1, 3, 9]), 7 / 3 * log2)
    close(reference.cross_entropy(logits, labels, class_weight=[1, 3, 9], divisor="class_weight"), 7 / 4 * log2)
    keep = np.array([0, 1, 1]).reshape(labels.shape)
    close(reference.cross_entropy(logits, labels, keep=keep), 2 * log2)


def test_binary_cross_entropy_worked() -> None:
    """One pixel of true class 0, sigmoids 3/4 and 1/5: -(log 3/4 + log 4/5) / 2 channels."""
    logits = one_pixel(logit(0.75), logit(0.2))
    expected = -(math.log(0.75) + math.log(0.8)) / 2
    close(reference.cross_entropy(logits, np.zeros((1, 1, 1), int), use_sigmoid=True), expected)


def test_cross_entropy_is_torch() -> None:
    logits, labels, keep = example(7)
    x, y = torch.from_numpy(logits), torch.from_numpy(labels)
    torch_loss = partial(F.cross_entropy, x, y, ignore_index=IGNORE)
    close(reference.cross_entropy(logits, labels, avg_non_ignore=True), torch_loss().item())
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)
    close(
        reference.cross_entropy(logits, labels, class_weight=WEIGHTS, divisor="class_weight"),
        torch_loss(weight=weight).item(),
    )
    pixels = torch_loss(weight=weight, reduction="none")
    close(reference.cross_entropy(logits, labels, class_weight=WEIGHTS), pixels.mean().item())
    kept = torch.from_numpy(keep) & (y != IGNORE)
    close(
        reference.cross_entropy(logits, labels, class_weight=WEIGHTS, keep=keep),
        (pixels * kept).sum().item() / int(kept.sum()),
    )


def test_binary_cross_entropy_is_torch() -> None:
    logits, labels, keep = example(8)
    x, y = torch.from_numpy(logits), torch.from_numpy(labels)
    target = F.one_hot(y.where(y != IGNORE, 0), 5).movedim(-1, 1).double()
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)[y.where(y != IGNORE, 0)] * (y != IGNORE)
    weight = (weight * torch.from_numpy(keep))[:, None].expand_as(x)
    expected = F.binary_cross_entropy_with_logits(x, target, weight=weight).item()
    actual = reference.cross_entropy(logits, labels, keep=keep, class_weight=WEIGHTS, use_sigmoid=True, divisor="all")
    close(actual, expected)


def test_one_channel_binary_cross_entropy_is_torch() -> None:
    logits, labels, _ = example(9, channels=1)
    x, y = torch.from_numpy(logits)[:, 0], torch.from_numpy(labels)
    weight = torch.tensor([0.5, 3.0]).double()[y.where(y != IGNORE, 0)] * (y != IGNORE)
    expected = F.binary_cross_entropy_with_logits(x, y.double() * (y != IGNORE), weight=weight).item()
    close(reference.cross_entropy(logits, labels, use_sigmoid=True, class_weight=[0.5, 3.0]), expected)


def test_far_logits_stay_finite() -> None:
    logits, labels = one_pixel(-1000, 1000), np.zeros((1, 1, 1), int)
    assert reference.cross_entropy(logits, labels) == 2000
    assert reference.cross_entropy(logits, labels, use_sigmoid=True) == 1000


def test_one_channel_has_no_softmax() -> None:
    for loss in (reference.cross_entropy, partial(reference.focal, use_sigmoid=False)):
        with pytest.raises(ValueError, match="use_sigmoid"):
            loss(one_pixel(1), np.zeros((1, 1, 1), int), use_sigmoid=False)


@pytest.mark.parametrize(("channels", "label"), [(3, 3), (3, -1), (1, 2)])
def test_a_label_that_is_no_class_is_an_error(channels: int, label: int) -> None:
    logits = np.zeros((1, channels, 1, 1))
    for loss in (reference.dice, partial(reference.cross_entropy, use_sigmoid=True)):
        with pytest.raises(ValueError, match=str(label)):
            loss(logits, np.full((1, 1, 1), label))


# Focal ------------------------------------------------------------------------------------------------------


def test_focal_worked() -> None:
    """One pixel of true class 0, sigmoids 3/4 and 1/5, alpha 1/4, gamma 2.

    Channel 0: 1/4 * (1/4)^2 * -log 3/4; channel 1: 3/4 * (1/5)^2 * -log 4/5; over 2 channels. With alpha
    [1/4, 2/5] channel 1 has 3/5. Softmax (3/4, 1/4), alpha [.4, .6]: 0.4 * (1/4)^2 * -log 3/4.
    """
    logits, labels = one_pixel(logit(0.75), logit(0.2)), np.zeros((1, 1, 1), int)
    first, second = -math.log(0.75) / 16, -math.log(0.8) / 25
    close(reference.focal(logits, labels, alpha=0.25), (0.25 * first + 0.75 * second) / 2)
    close(reference.focal(logits, labels, alpha=[0.25, 0.4]), (0.25 * first + 0.6 * second) / 2)
    close(reference.focal(logits, labels, alpha=None), (first + second) / 2)
    logits = one_pixel(*scores_of(0.75, 0.25))
    close(reference.focal(logits, labels, alpha=[0.4, 0.6], use_sigmoid=False), 0.4 * first)
    close(reference.focal(logits, labels, alpha=0.3, use_sigmoid=False), 0.3 * first)
    close(reference.focal(logits, labels, alpha=None, gamma=1, use_sigmoid=False), 4 * first)


@pytest.mark.parametrize("use_sigmoid", [True, False])
def test_focal_without_focus_is_cross_entropy(use_sigmoid: bool) -> None:
    logits, labels, keep = example(10)
    options = {"keep": keep, "class_weight": WEIGHTS, "use_sigmoid": use_sigmoid}
    expected = reference.cross_entropy(logits, labels, **options)
    close(reference.focal(logits, labels, gamma=0, alpha=None, **options), expected)
    close(reference.focal(logits, labels, gamma=0, alpha=0.5, **options), expected / 2)


def test_one_channel_focal_is_two_channel_softmax_focal() -> None:
    """Scores (0, x) have softmax (1 - sigmoid x, sigmoid x); alpha weighs class 1, 1 - alpha class 0."""
    logits, labels, _ = example(11, channels=1)
    two = np.concatenate([np.zeros_like(logits), logits], axis=1)
    close(
        reference.focal(logits, labels, alpha=0.3, class_weight=[2, 5]),
        reference.focal(two, labels, alpha=[0.7, 0.3], use_sigmoid=False, class_weight=[2, 5]),
    )


# Dice and Tversky -------------------------------------------------------------------------------------------


def test_dice_worked() -> None:
    """Two pixels, softmax (3/4, 1/4) and (1/2, 1/2), classes 0 and 1, smooth 1, exponent 2.

    Class 0: a = 3/4, b = 9/16 + 1/4 + 1 = 29/16, d = 1 - 2.5 / (45/16) = 1/9.
    Class 1: a = 1/2, b = 1/16 + 1/4 + 1 = 21/16, d = 1 - 2 / (37/16) = 5/37.
    Exponent 1: b = 9/4 and 7/4, d = 1 - 2.5 / 3.25 = 3/13 and 1 - 2 / 2.75 = 3/11.
    """
    logits, labels = row(scores_of(0.75, 0.25), scores_of(0.5, 0.5)), labels_row(0, 1)
    close(reference.dice(logits, labels), (1 / 9 + 5 / 37) / 2)
    close(reference.dice(logits, labels, exponent=1), (3 / 13 + 3 / 11) / 2)
    close(reference.dice(logits, labels, exponent=1, smooth=0), (1 - 1.5 / 2.25 + 1 - 1 / 1.75) / 2)


def test_tversky_worked() -> None:
    """The pixels of the test above, alpha .3, beta .7, smooth 1.

    Class 0: TP = .75, FP = .5, FN = .25: 1.75 / (.75 + .15 + .175 + 1). Class 1: TP = .5, FP = .25, FN = .5:
    1.5 / (.5 + .075 + .35 + 1).
    """
    logits, labels = row(scores_of(0.75, 0.25), scores_of(0.5, 0.5)), labels_row(0, 1)
    close(reference.tversky(logits, labels), 1 - (1.75 / 2.075 + 1.5 / 1.925) / 2)
    close(reference.tversky(logits, labels, alpha=0.7, beta=0.3), 1 - (1.75 / 2.175 + 1.5 / 1.825) / 2)


def test_ignored_class_is_left_out_of_the_mean() -> None:
    """ignore_index 1: the second pixel is void, only class 0 counts: 1 - 2.5 / (25/16 + 1)."""
    logits, labels = row(scores_of(0.75, 0.25), scores_of(0.5, 0.5)), labels_row(0, 1)
    close(reference.dice(logits, labels, ignore_index=1), 1 - 2.5 / (25 / 16 + 1))
    close(reference.tversky(logits, labels, ignore_index=1), 1 - 1.75 / (0.75 + 0.7 * 0.25 + 1))


def test_lovasz_never_counts_the_ignored_class() -> None:
    """p(0, 1, 2) = (.5, .3, .2), 1 is ignored: class 0 has error .5, absent class 2 .2, class 1 has .3."""
    logits, labels = row(scores_of(0.5, 0.3, 0.2), scores_of(0.1, 0.8, 0.1)), labels_row(0, 1)
    lovasz = partial(reference.lovasz, logits, labels, ignore_index=1)
    close(lovasz(), 0.5)
    close(lovasz(classes=[0, 1]), 0.5)
    close(lovasz(classes="all"), 0.35)
    assert lovasz(classes=[1]) == 0


@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_tversky_of_halves_is_dice_of_exponent_one(use_sigmoid: bool) -> None:
    """TP / (TP + FP/2 + FN/2) = 2 TP / (sum p + sum t), the smooth term halved."""
    logits, labels, keep = example(12)
    options = {"keep": keep, "class_weight": WEIGHTS, "use_sigmoid": use_sigmoid}
    close(
        reference.tversky(logits, labels, alpha=0.5, beta=0.5, smooth=0.5, **options),
        reference.dice(logits, labels, exponent=1, smooth=1.0, **options),
    )


def hard(predictions: np.ndarray, channels: int) -> np.ndarray:
    """Logits that are sure of `predictions`."""
    return np.where(np.arange(channels)[None, :, None, None] == predictions[:, None], 1000.0, -1000.0)


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("use_sigmoid", [True, False])
def test_hard_predictions_give_the_scores_of_counts(per_image: bool, use_sigmoid: bool) -> None:
    """Dice, Tversky index and IoU by counting pixels."""
    _, labels, keep = example(13, channels=4, height=5, width=6)
    predictions = np.random.default_rng(14).integers(0, 4, labels.shape)
    logits = hard(predictions, 4)
    expected: dict[str, list[float]] = {"dice": [], "tversky": [], "iou": []}
    for part in [slice(0, 1), slice(1, 2)] if per_image else [slice(0, 2)]:
        counted = (labels[part] != IGNORE) & keep[part]
        for c in range(4):
            truth, found = (labels[part] == c) & counted, (predictions[part] == c) & counted
            both = int((truth & found).sum())
            assert truth.any()
            expected["dice"].append(1 - (2 * both + 1) / (int(truth.sum()) + int(found.sum()) + 1))
            false_positive, false_negative = int((found & ~truth).sum()), int((truth & ~found).sum())
            below = both + 0.3 * false_positive + 0.7 * false_negative + 1
            expected["tversky"].append(1 - (both + 1) / below)
            expected["iou"].append(1 - both / int((truth | found).sum()))
    options: dict[str, Any] = {"keep": keep, "per_image": per_image}
    close(reference.dice(logits, labels, use_sigmoid=use_sigmoid, **options), np.mean(expected["dice"]))
    close(reference.tversky(logits, labels, use_sigmoid=use_sigmoid, **options), np.mean(expected["tversky"]))
    close(reference.lovasz(logits, labels, **options), np.mean(expected["iou"]))


@pytest.mark.parametrize(
    "loss", [reference.dice, reference.tversky, reference.lovasz], ids=["dice", "tversky", "lovasz"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_void_images_count_as_zero_or_not_at_all(loss: Callable[..., float], channels: int) -> None:
    logits, labels, _ = example(15, channels, batch=3)
    labels[1] = IGNORE
    alone = [loss(logits[n : n + 1], labels[n : n + 1]) for n in range(3)]
    assert alone[1] == 0
    close(loss(logits, labels, per_image=True), (alone[0] + alone[2]) / 3)
    close(loss(logits, labels, per_image=True, avg_non_ignore=True), (alone[0] + alone[2]) / 2)
    together = loss(logits, labels, per_image=False)
    assert together != pytest.approx((alone[0] + alone[2]) / 2, rel=1e-4)
    # The batch as one: the pixels of the three images side by side in one image.
    wide = np.concatenate(list(logits), axis=-1)[None], np.concatenate(list(labels), axis=-1)[None]
    close(loss(*wide, per_image=True), together)


def test_an_image_without_weight_is_as_void() -> None:
    logits, labels, _ = example(16, channels=2)
    labels[1] = 0
    for loss in (reference.dice, reference.tversky, reference.lovasz):
        options = {"class_weight": [0, 1], "per_image": True}
        first = loss(logits[:1], labels[:1], class_weight=[0, 1])
        close(loss(logits, labels, avg_non_ignore=True, **options), first)
        close(loss(logits, labels, **options), first / 2)


def test_one_channel_regions_are_the_foreground_of_two_channels() -> None:
    """A two-class sigmoid head with scores (-x, x) is the mean of x and of -x with the labels swapped."""
    logits, labels, keep = example(17, channels=1)
    for loss in (reference.dice, reference.tversky):
        options = {"keep": keep, "class_weight": [0.5, 2.0]}
        both = loss(np.concatenate([-logits, logits], axis=1), labels, use_sigmoid=True, **options)
        background = loss(-logits, np.where(labels == IGNORE, IGNORE, 1 - labels), keep=keep, class_weight=[2.0, 0.5])
        close(both, (background + loss(logits, labels, **options)) / 2)


# Lovász -----------------------------------------------------------------------------------------------------


def test_jaccard_steps_worked() -> None:
    """Foreground 1 0 1: J = 1 - 1/2, 1 - 1/3, 1 - 0/3. Weights 1 2 3: G = 4, J = 1 - 3/4, 1 - 3/6, 1."""
    close(reference.jaccard_steps([1, 1, 1], [1, 0, 1]), [1 / 2, 1 / 6, 1 / 3])
    close(reference.jaccard_steps([1, 2, 3], [1, 0, 1]), [1 / 4, 1 / 4, 1 / 2])
    close(reference.jaccard_steps([0, 1, 1], [0, 0, 0]), [0, 1, 0])


def test_lovasz_worked() -> None:
    """Pixels of class 0 and 1 with p(0) = .6 and .7.

    Class 0: errors .7 (background), .4 (foreground); J = 1/2, 1: .35 + .2 = .55. Class 1: errors .7
    (foreground), .4 (background); J = 1 at once: .7.
    """
    labels = labels_row(0, 1)
    logits = row(scores_of(0.6, 0.4), scores_of(0.7, 0.3))
    close(reference.lovasz(logits, labels), (0.55 + 0.7) / 2)
    close(reference.lovasz(logits, labels, classes=[1]), 0.7)
    # Class 1 counted four times: class 0: J = 1 - 1/5, 1: .7 * .8 + .4 * .2 = .64; class 1 as before.
    close(reference.lovasz(logits, labels, class_weight=[1, 4]), (0.64 + 0.7) / 2)


def test_lovasz_of_an_absent_class_is_its_highest_probability() -> None:
    logits = row(scores_of(0.6, 0.3, 0.1), scores_of(0.2, 0.6, 0.2))
    labels = labels_row(0, 1)
    close(reference.lovasz(logits, labels, classes=[2]), 0.2)
    present = reference.lovasz(logits, labels)
    close(reference.lovasz(logits, labels, classes="all"), (2 * present + 0.2) / 3)
    # A class whose pixels all weigh nothing is not present.
    close(
        reference.lovasz(logits, labels, class_weight=[1, 0, 1]),
        reference.lovasz(logits, labels, class_weight=[1, 0, 1], classes=[0]),
    )


def test_lovasz_hinge_worked() -> None:
    """x = -0.5, 0.5, 3 of labels 1, 0, 1: errors 1.5 (f), 1.5 (b), -2 (f): J = 1/2, 2/3: 1.5 * 2/3 = 1."""
    logits, labels = row((-0.5,), (0.5,), (3.0,)), labels_row(1, 0, 1)
    close(reference.lovasz(logits, labels), 1.0)
    # Weights b 1, f 2: G = 4, J = 1 - 2/4, 1 - 2/5: 1.5 * .6 = .9.
    close(reference.lovasz(logits, labels, class_weight=[1, 2]), 0.9)
    # No foreground: the highest error, 1.5.
    close(reference.lovasz(logits, labels_row(255, 0, 255)), 1.5)


def by_thresholds(errors: np.ndarray, weight: np.ndarray, foreground: np.ndarray) -> float:
    """Lovász extension as an integral: of the Jaccard loss of {error >= threshold} over thresholds > 0."""
    levels = [0.0, *sorted({float(e) for e in errors if e > 0})]
    total = 0.0
    for lower, upper in pairwise(levels):
        wrong = errors >= upper
        union = weight[wrong | foreground].sum()
        total += (upper - lower) * (weight[wrong].sum() / union if union > 0 else 0.0)
    return total


@pytest.mark.parametrize("classes", ["present", "all", [0, 3]])
def test_lovasz_is_the_integral_over_thresholds(classes: Any) -> None:
    """Another formula, in which no sorting decides; rounded logits make ties."""
    logits, labels, keep = example(18, channels=4, height=4, width=5)
    logits = np.round(logits)
    labels[labels == 2] = 1
    weights = [0.5, 2.0, 1.0, 3.0]
    counted = (labels != IGNORE) & keep
    y = labels[counted]
    p = torch.from_numpy(logits).softmax(1).movedim(1, -1).numpy()[counted]
    wanted = {"present": [0, 1, 3], "all": [0, 1, 2, 3]}.get(classes) if isinstance(classes, str) else classes
    terms = [by_thresholds(np.abs((y == c) - p[:, c]), np.array(weights)[y], y == c) for c in wanted]
    close(
        reference.lovasz(logits, labels, keep=keep, class_weight=weights, classes=classes),
        np.mean(terms),
    )


def test_lovasz_hinge_is_the_integral_over_thresholds() -> None:
    logits, labels, keep = example(19, channels=1, height=4, width=5)
    logits = np.round(2 * logits) / 2
    counted = (labels != IGNORE) & keep
    y = labels[counted]
    errors = 1 - logits[:, 0][counted] * (2 * y - 1)
    expected = by_thresholds(errors, np.array([0.5, 2.0])[y], y == 1)
    close(reference.lovasz(logits, labels, keep=keep, class_weight=[0.5, 2.0]), expected)


# Sampler, accuracy, head ------------------------------------------------------------------------------------


def test_hard_pixels_worked() -> None:
    """Probabilities of the true class .1 .2 .2 .4 .9 and one void."""
    p = [0.1, 0.2, 0.2, 0.4, 0.9, 0.05]
    logits = row(*[(logit(value),) for value in p])
    labels = labels_row(1, 1, 1, 1, 1, 255)
    keep = partial(reference.hard_pixels, logits, labels)

    def kept(**options: Any) -> list[int]:
        return [int(value) for value in keep(**options).flat]

    assert kept(thresh=None, min_kept=0) == [0, 0, 0, 0, 0, 0]
    assert kept(thresh=None, min_kept=1) == [1, 0, 0, 0, 0, 0]
    assert kept(thresh=None, min_kept=2) == [1, 1, 1, 0, 0, 0]
    assert kept(thresh=None, min_kept=99) == [1, 1, 1, 1, 1, 0]
    assert kept(thresh=0.3, min_kept=0) == [1, 1, 1, 0, 0, 0]
    assert kept(thresh=0.3, min_kept=4) == [1, 1, 1, 1, 0, 0]
    assert kept(thresh=0.5, min_kept=1) == [1, 1, 1, 1, 0, 0]
    # The threshold is strict: one exactly on it is not below it.
    on_threshold = float(reference.true_class_probability(logits, labels)[0, 0, 3])
    assert kept(thresh=on_threshold, min_kept=0) == [1, 1, 1, 0, 0, 0]


def test_hard_pixels_count_per_image_over_the_whole_batch() -> None:
    """min_kept 1 of two images: two pixels, here both of the first image."""
    logits = np.stack([row((0.0, 5.0), (0.0, 4.0))[0], row((5.0, 0.0), (4.0, 0.0))[0]])
    labels = np.zeros((2, 1, 2), int)
    keep = reference.hard_pixels(logits, labels, thresh=None, min_kept=1)
    assert keep.tolist() == [[[True, True]], [[False, False]]]


def test_hard_pixels_of_a_sigmoid_head() -> None:
    """Scores (3, 4) of true class 0: softmax 0.27, sigmoid 0.95."""
    logits, labels = one_pixel(3, 4), np.zeros((1, 1, 1), int)
    assert reference.hard_pixels(logits, labels, thresh=0.5, min_kept=0).all()
    assert not reference.hard_pixels(logits, labels, thresh=0.5, min_kept=0, use_sigmoid=True).any()
    # One channel: label 0 has 1 - sigmoid(2) = 0.12, label 1 has 0.88.
    pair = row((2.0,), (2.0,)), labels_row(0, 1)
    assert reference.hard_pixels(*pair, thresh=0.5, min_kept=0).tolist() == [[[True, False]]]
    close(reference.true_class_probability(*pair), [[[0.11920292202211755, 0.8807970779778823]]])


def test_true_class_probability_is_torch() -> None:
    logits, labels, _ = example(20)
    actual = reference.true_class_probability(logits, labels)
    index = torch.from_numpy(np.where(labels == IGNORE, 0, labels))[:, None]
    for use_sigmoid, p in (
        (False, torch.from_numpy(logits).softmax(1)),
        (True, torch.from_numpy(logits).sigmoid()),
    ):
        actual = reference.true_class_probability(logits, labels, use_sigmoid=use_sigmoid)
        assert np.isnan(actual[labels == IGNORE]).all()
        close(actual[labels != IGNORE], p.gather(1, index)[:, 0].numpy()[labels != IGNORE])


def test_accuracy_worked() -> None:
    logits, labels = (
        row((3.0, 1.0, 2.0), (0.0, 1.0, 2.0), (5.0, 1.0, 2.0), (5.0, 1.0, 2.0)),
        labels_row(0, 2, 1, 255),
    )
    close(reference.accuracy(logits, labels), 200 / 3)
    assert reference.accuracy(logits, np.full_like(labels, IGNORE)) == 0
    # One channel: a score of 0 is class 0.
    assert reference.accuracy(row((0.0,), (0.1,), (-1.0,), (1.0,)), labels_row(0, 1, 1, 1)) == 75


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((3, 4), (6, 7)),
        ((3, 4), (12, 16)),
        ((5, 7), (3, 2)),
        ((1, 1), (4, 3)),
        ((4, 3), (1, 1)),
        ((3, 4), (3, 4)),
    ],
)
def test_resize_is_torch(old: tuple[int, int], new: tuple[int, int], align_corners: bool) -> None:
    logits = np.random.default_rng(21).standard_normal((2, 3, *old))
    expected = F.interpolate(torch.from_numpy(logits), new, mode="bilinear", align_corners=align_corners).numpy()
    close(reference.resize_bilinear(logits, new, align_corners=align_corners), expected)


def test_head_criterion_worked() -> None:
    """Head weight 0.4; a loss of 3 weighted 2 and one of 1 under one name; one of 5 that is only watched."""
    logits, labels = np.zeros((1, 2, 1, 1)), np.zeros((1, 2, 2), int)
    seen = []

    def constant(value: float) -> Callable[..., float]:
        def loss(scores: np.ndarray, truth: np.ndarray, keep: np.ndarray | None) -> float:
            seen.append((scores.shape, truth.shape, keep is None))
            return value

        return loss

    losses = [("loss_a", constant(3), 2.0), ("monitor_b", constant(5), 1.0), ("loss_a", constant(1), 1.0)]
    terms = reference.head_criterion(logits, labels, losses, head_weight=0.4)
    assert list(terms) == ["loss_a", "monitor_b", "acc_seg"]
    close(list(terms.values()), [0.4 * 7, 0.4 * 5, 100.0])
    close(reference.total_loss(terms), 2.8)
    assert seen == [((1, 2, 2, 2), (1, 2, 2), True)] * 3
    close(
        reference.total_loss({f"decode.{name}": value for name, value in terms.items()} | {"aux.loss_ce": 1}),
        3.8,
    )
    # A sampler sees the resized logits, and every loss its mask.
    seen.clear()
    reference.head_criterion(logits, labels, losses, sampler=lambda scores, truth: np.ones(scores.shape[2:]))
    assert seen == [((1, 2, 2, 2), (1, 2, 2), False)] * 3


def test_head_criterion_resizes_as_told() -> None:
    _, labels, _ = example(22, height=6, width=7)
    low = np.random.default_rng(23).standard_normal((2, 5, 3, 4))
    losses = [("loss_ce", lambda x, y, keep: reference.cross_entropy(x, y, keep=keep), 1.0)]
    values = []
    for align_corners in (False, True):
        resized = F.interpolate(torch.from_numpy(low), (6, 7), mode="bilinear", align_corners=align_corners)
        terms = reference.head_criterion(low, labels, losses, align_corners=align_corners)
        values.append(terms["loss_ce"])
        close(terms["loss_ce"], reference.cross_entropy(resized.numpy(), labels))
        close(terms["acc_seg"], reference.accuracy(resized.numpy(), labels))
    assert values[0] != pytest.approx(values[1], rel=1e-4)


# Gradients --------------------------------------------------------------------------------------------------


def test_numeric_gradient_is_autograd() -> None:
    logits, labels, _ = example(24)
    unchanged = logits.copy()
    actual = reference.numeric_gradient(partial(reference.cross_entropy, labels=labels, avg_non_ignore=True), logits)
    assert np.array_equal(logits, unchanged)
    x = torch.from_numpy(logits).requires_grad_()
    F.cross_entropy(x, torch.from_numpy(labels), ignore_index=IGNORE).backward()
    close(actual, x.grad.numpy(), rel=1e-6, absolute=1e-9)


# MMSegmentation's numbers -----------------------------------------------------------------------------------
# Compared at 2e-6: some of their results are float32, in others targets were cast to it, and divisors of
# 1.2.2 have 1.2e-7 added.


def load(name: str) -> Any:
    path = GOLDEN / name
    if not path.is_file():
        pytest.skip(f"no {path.name} in the shared folder beside the repository")
    return torch.load(path, weights_only=True)


def golden_cases(version: str, loss: str) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Cases with results, and the tensors by name. What 0.25.0 has in common with 1.2.2 is in 1.2.2 alone."""
    tensors = {name: tensor.numpy() for name, tensor in load("losses_122.pt")["tensors"].items()}
    cases = [case for case in load(f"losses_{version}.pt")["cases"] if case["loss"] == loss]
    return [case for case in cases if "out64" in case or "out32" in case], tensors


def result(case: dict[str, Any]) -> np.ndarray:
    return case["out64" if "out64" in case else "out32"].double().numpy()


def test_golden_cross_entropy() -> None:
    """Softmax and sigmoid; a `weight` of theirs is our `keep`, here with fractions.

    Left out: the class-weighted mean of 1.2.2 with avg_non_ignore=False where pixels are ignored, as it
    counts them; reduction "none"; logits (N, C). The class-weighted divisor of 1.2.2 leaves `weight` out.
    """
    count = 0
    for version in ("122", "025"):
        cases, tensors = golden_cases(version, "CrossEntropyLoss")
        for case in cases:
            init, arguments = case["init"], case["args"]
            logits, labels = tensors[case["pred"]], tensors[arguments["label"]]
            weighted = init.get("class_weight") is not None
            reduction = case["kw"].get("reduction_override", init.get("reduction", "mean"))
            if logits.ndim != 4 or reduction == "none":
                continue
            keep = tensors[arguments["weight"]] if "weight" in arguments else None
            ignore_index = case["kw"]["ignore_index"]
            average = init.get("avg_non_ignore", False)
            factor = case["kw"].get("avg_factor")
            use_sigmoid = init.get("use_sigmoid", False)
            loss = partial(
                reference.cross_entropy,
                logits,
                labels,
                ignore_index=ignore_index,
                keep=keep,
                class_weight=init.get("class_weight"),
                use_sigmoid=use_sigmoid,
            )
            total = loss(divisor="all") * (labels.size * logits.shape[1] if use_sigmoid else labels.size)
            if reduction == "sum":
                expected = total
            elif factor is not None:
                expected = total / factor
            elif not weighted or version == "025":
                expected = loss(divisor="valid" if average else "all")
            elif average or not (labels == ignore_index).any():
                divisor = reference.divide_by(labels, ignore_index, None, init["class_weight"], "class_weight", False)
                expected = total / divisor
            else:
                continue
            expected *= init.get("loss_weight", 1.0)
            close(expected, result(case), rel=2e-6)
            count += 1
    assert count >= 90, count


def test_golden_focal() -> None:
    """Of 0.25.0, as 1.2.2 fails on label maps; without class weights, which theirs gives to channels."""
    cases, tensors = golden_cases("025", "FocalLoss")
    count = 0
    for case in cases:
        init = case["init"]
        labels = tensors[case["args"]["target"]]
        if init.get("class_weight") is not None or init.get("reduction") == "none" or labels.ndim != 3:
            continue
        options = {name: init[name] for name in ("gamma", "alpha") if name in init}
        actual = reference.focal(
            tensors[case["pred"]], labels, ignore_index=case["kw"]["ignore_index"], divisor="all", **options
        )
        entries = tensors[case["pred"]].size
        actual *= entries if init.get("reduction") == "sum" else entries / case["kw"].get("avg_factor", entries)
        close(actual, result(case), rel=2e-6)
        count += 1
    assert count >= 7, count


def test_golden_dice() -> None:
    """Of 0.25.0 on labels without void, where its ignoring (in the numerator only) does not matter."""
    cases, tensors = golden_cases("025", "DiceLoss")
    count = 0
    for case in cases:
        init, labels = case["init"], tensors[case["args"]["target"]]
        if init.get("class_weight") is not None or (labels == IGNORE).any() or init.get("ignore_index") != IGNORE:
            continue
        actual = reference.dice(tensors[case["pred"]], labels, smooth=init["smooth"], exponent=init["exponent"])
        close(actual, result(case), rel=2e-6)
        count += 1
    assert count >= 1, count


def test_golden_tversky() -> None:
    """Theirs leaves an ignored class out of the sum but counts it in the mean, so there ours is 5/4 of it."""
    cases, tensors = golden_cases("122", "TverskyLoss")
    count = 0
    for case in cases:
        init, labels = case["init"], tensors[case["args"]["target"]]
        if init.get("class_weight") is not None:
            continue
        ignore_index = init.get("ignore_index", IGNORE)
        if ignore_index == 0 and (labels == IGNORE).any():
            continue
        options = {name: init[name] for name in ("alpha", "beta", "smooth") if name in init}
        actual = reference.tversky(tensors[case["pred"]], labels, ignore_index=ignore_index, **options)
        close(actual, result(case) * (5 / 4 if ignore_index == 0 else 1), rel=2e-6, absolute=1e-9)
        count += 1
    assert count >= 9, count


def test_golden_lovasz() -> None:
    """Without class weights, which of theirs multiply the class's term. All void is nan there, 0 here."""
    cases, tensors = golden_cases("122", "LovaszLoss")
    count = 0
    for case in cases:
        init, labels = case["init"], tensors[case["args"]["label"]]
        if init.get("class_weight") is not None or (labels == IGNORE).all():
            continue
        logits, ignore_index = tensors[case["pred"]], case["kw"]["ignore_index"]
        options = {"classes": init.get("classes", "present"), "ignore_index": ignore_index}
        if init.get("per_image", False):
            each = np.array([reference.lovasz(logits[n : n + 1], labels[n : n + 1], **options) for n in range(2)])
            close(reference.lovasz(logits, labels, per_image=True, **options), each.mean())
            reduction = init.get("reduction", "mean")
            actual = each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()
            if "avg_factor" in case["kw"]:
                actual = each.sum() / case["kw"]["avg_factor"]
        else:
            actual = reference.lovasz(logits, labels, **options)
        close(actual * init.get("loss_weight", 1.0), result(case), rel=2e-6)
        count += 1
    assert count >= 16, count


def test_golden_sampler_and_head() -> None:
    """The kept pixels, and the terms of heads with cross entropy, whose divisor is all or all valid pixels.

    With `thresh` theirs keeps what is strictly below sorted[min(k, valid - 1)], so that it drops the easiest
    pixel where k reaches the number of valid ones. Without, it may keep void pixels too, which weigh nothing,
    and orders pixels by their losses, class weights included.
    """
    golden = load("ohem_122.pt")
    tensors = {name: tensor.numpy() for name, tensor in golden["tensors"].items()}
    masks = heads = 0
    for case in golden["cases"]:
        logits, labels = tensors[case["logits"]], tensors[case["label"]]
        ignore_index, config = case["ignore_index"], case["sampler"]
        valid = labels != ignore_index
        sampler, drops_the_easiest = None, False
        if config is not None:
            sampler = partial(
                reference.hard_pixels,
                thresh=config["thresh"],
                min_kept=config["min_kept"],
                ignore_index=ignore_index,
            )
            drops_the_easiest = config["thresh"] is not None and config["min_kept"] * 2 >= valid.sum()
            resized = reference.resize_bilinear(logits, labels.shape[1:], align_corners=case["align_corners"])
            if "seg_weight64" in case and not (config["thresh"] is None and "cw" in case["loss"]):
                theirs = case["seg_weight64"].numpy().astype(bool) & valid
                ours = sampler(resized, labels)
                if drops_the_easiest:
                    assert (ours == valid).all()
                    assert (ours & ~theirs).sum() <= 1
                else:
                    assert (ours == theirs).all(), case["id"]
                masks += 1
        names = {"ce", "ce_ani", "two_ce", "two_ce_same_name", "ce_not_in_graph"}
        if case["loss"] not in names or "losses64" not in case or drops_the_easiest:
            continue
        configs = golden["losses"][case["loss"]]
        losses = []
        for entry in configs if isinstance(configs, list) else [configs]:
            loss = partial(
                lambda x, y, keep, divisor, void: reference.cross_entropy(
                    x, y, keep=keep, divisor=divisor, ignore_index=void
                ),
                divisor="valid" if entry.get("avg_non_ignore") else "all",
                void=ignore_index,
            )
            losses.append((entry.get("loss_name", "loss_ce"), loss, entry.get("loss_weight", 1.0)))
        terms = reference.head_criterion(
            logits,
            labels,
            losses,
            sampler=sampler,
            ignore_index=ignore_index,
            align_corners=case["align_corners"],
        )
        assert set(terms) == set(case["losses64"])
        for name, value in case["losses64"].items():
            if name != "acc_seg":
                close(terms[name], value.item(), rel=2e-6)
            elif valid.any():  # Theirs calls no pixel at all 100 %.
                close(terms[name], value.item(), rel=1e-6)
        close(reference.total_loss(terms), case["total64"].item(), rel=2e-6)
        heads += 1
    assert masks >= 100, masks
    assert heads >= 60, heads
