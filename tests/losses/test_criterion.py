"""What a head's criterion refuses, and what it says of itself."""

from typing import Any

import pytest

from seglit.losses import CrossEntropyLoss, DiceLoss, HeadCriterion, OHEMPixelSampler, TverskyLoss
from seglit.losses.loss import Loss


@pytest.mark.parametrize("name", ["acc_seg", "kept_share", "kept_thresh"])
def test_names_of_what_is_watched_are_taken(name: str) -> None:
    with pytest.raises(ValueError, match=f"losses.{name}: is the name of what is logged beside the losses"):
        HeadCriterion({"loss_ce": CrossEntropyLoss(), name: DiceLoss()})


@pytest.mark.parametrize(("loss_weight", "weight", "trains"), [(0.0, 1.0, False), (1.0, 0.0, False), (0.5, 0.4, True)])
def test_something_is_trained(loss_weight: float, weight: float, trains: bool) -> None:
    losses = {"loss_ce": CrossEntropyLoss(loss_weight=loss_weight), "dice": DiceLoss()}
    if trains:
        HeadCriterion(losses, weight=weight)
        return
    with pytest.raises(ValueError, match="has weight 0, so nothing would be trained"):
        HeadCriterion(losses, weight=weight)


def test_a_term_of_weight_zero_is_not_called_trained() -> None:
    rows = HeadCriterion({"loss_ce": CrossEntropyLoss(), "loss_dice": DiceLoss(loss_weight=0.0)}).describe()
    assert [row["trained"] for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("sampler", "compat", "divisor", "on"),
    [
        (None, None, "valid", True),
        (OHEMPixelSampler(0.7), None, "kept", False),
        (OHEMPixelSampler(0.7), "mmseg-1.2", "valid", True),
    ],
)
def test_avg_non_ignore_is_on_where_it_chooses_the_divisor(
    sampler: OHEMPixelSampler | None, compat: Any, divisor: str, on: bool
) -> None:
    loss = CrossEntropyLoss(avg_non_ignore=True)
    (row,) = HeadCriterion({"loss_ce": loss}, sampler, compat=compat).describe()
    assert (row["divisor"], row["avg_non_ignore"]) == (divisor, on)


@pytest.mark.parametrize(
    ("loss", "sampler", "compat", "channels", "words"),
    [
        (CrossEntropyLoss(use_sigmoid=True, class_weight=[1, 2]), None, "mmseg-0.25", 2, "class_weight: compat="),
        (CrossEntropyLoss(use_sigmoid=True, class_weight=[1, 2]), None, None, 2, None),
        (CrossEntropyLoss(class_weight=[1, 2]), None, "mmseg-1.2", 2, None),
        (CrossEntropyLoss(use_sigmoid=True), OHEMPixelSampler(0.7), "mmseg-1.2", 1, "use_sigmoid: compat="),
        (CrossEntropyLoss(use_sigmoid=True), OHEMPixelSampler(0.7), "mmseg-1.2", 2, None),
        (DiceLoss(), None, "mmseg-0.25", 1, "use_sigmoid: compat="),
        (DiceLoss(), None, "mmseg-0.25", 2, None),
        (DiceLoss(use_sigmoid=True), None, "mmseg-1.2", 1, None),
        (TverskyLoss(), None, "mmseg-1.2", 1, "use_sigmoid: compat="),
        (TverskyLoss(), None, "mmseg-1.2", 2, None),
    ],
)
def test_what_fails_or_learns_nothing_in_mmsegmentation_is_refused(
    loss: Loss, sampler: OHEMPixelSampler | None, compat: Any, channels: int, words: str | None
) -> None:
    criterion = HeadCriterion({"loss_x": loss}, sampler, compat=compat)
    if words is None:
        criterion.check(2, channels)
        return
    with pytest.raises(ValueError, match=f"^losses.loss_x.{words}"):
        criterion.check(2, channels)
