"""Confusion matrix and scores: laws, the counting reference, torchmetrics, worked numbers."""

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from reference import metrics as reference
from seglit import counting, metrics
from seglit.counting import image_matrices, refuse_strangers, unchecked_matrices
from seglit.metrics import ConfusionByImage, ConfusionMatrix, PixelCounts, scores

IGNORE = [255, 0, -100, 254, 3]


def drawn(seed: int, classes: int, ignore_index: int, shape: tuple[int, int, int] = (2, 5, 7)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predictions = torch.randint(0, classes, shape, generator=generator)
    labels = torch.randint(0, classes, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < 0.2] = ignore_index
    return predictions, labels


def counted(predictions: Tensor, labels: Tensor, classes: int, ignore_index: int = 255) -> Tensor:
    metric = ConfusionMatrix(classes, ignore_index)
    metric.update(predictions, labels)
    return metric.compute()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 9), ignore_index=st.sampled_from(IGNORE))
def test_equals_counting_one_pixel_after_the_other(seed: int, classes: int, ignore_index: int) -> None:
    predictions, labels = drawn(seed, classes, ignore_index)
    matrix = counted(predictions, labels, classes, ignore_index)
    expected = reference.confusion(predictions.numpy(), labels.numpy(), classes, ignore_index)
    assert matrix.dtype == torch.int64
    assert torch.equal(matrix, torch.from_numpy(expected))
    ours = scores(matrix)
    for name, value in reference.scores(expected).items():
        assert_close(torch.as_tensor(getattr(ours, name)).double(), torch.tensor(value).double(), equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), ignore_index=st.sampled_from(IGNORE), cut=st.integers(0, 4))
def test_parts_add_up_to_the_whole(seed: int, ignore_index: int, cut: int) -> None:
    predictions, labels = drawn(seed, 5, ignore_index, (4, 6, 5))
    metric = ConfusionMatrix(5, ignore_index)
    metric.update(predictions[:cut], labels[:cut])
    metric.update(predictions[cut:], labels[cut:])
    assert torch.equal(metric.compute(), counted(predictions, labels, 5, ignore_index))


@pytest.mark.parametrize("ignore_index", IGNORE)
def test_predictions_under_ignored_pixels_do_not_count(ignore_index: int) -> None:
    predictions, labels = drawn(1, 5, ignore_index)
    others = torch.where(labels == ignore_index, (predictions + 1) % 5, predictions)
    assert not torch.equal(predictions, others)
    assert torch.equal(counted(predictions, labels, 5, ignore_index), counted(others, labels, 5, ignore_index))


def test_classes_renumbered_give_the_same_means() -> None:
    predictions, labels = drawn(2, 6, 255)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    renumbered = counted(order[predictions], torch.where(labels == 255, 255, order[labels.clamp(max=5)]), 6)
    plain = scores(counted(predictions, labels, 6))
    ours = scores(renumbered)
    for name in ("miou", "macc", "aacc", "mdice", "fwiou"):
        assert getattr(ours, name) == pytest.approx(getattr(plain, name))
    assert_close(ours.iou[order], plain.iou)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_whole_number_type_counts_without_overflow(dtype: torch.dtype) -> None:
    predictions, labels = drawn(3, 40, 255)
    expected = counted(predictions, labels, 40)
    assert torch.equal(counted(predictions.to(dtype), labels.to(dtype), 40), expected)


def test_inputs_are_left_as_they_were() -> None:
    predictions, labels = drawn(4, 5, 255)
    before = predictions.clone(), labels.clone()
    counted(predictions, labels, 5)
    assert torch.equal(predictions, before[0])
    assert torch.equal(labels, before[1])


def test_equals_torchmetrics() -> None:
    predictions, labels = drawn(5, 7, 255, (3, 40, 30))
    theirs = MulticlassConfusionMatrix(7, ignore_index=255)(predictions, labels)
    matrix = counted(predictions, labels, 7)
    assert torch.equal(matrix, theirs)
    ours = scores(matrix)
    per_class = MulticlassJaccardIndex(7, ignore_index=255, average="none")(predictions, labels)
    assert_close(ours.iou.float(), per_class)
    mean = MulticlassJaccardIndex(7, ignore_index=255, average="macro")(predictions, labels)
    assert ours.miou == pytest.approx(mean.item(), rel=1e-6)
    weighted = MulticlassJaccardIndex(7, ignore_index=255, average="weighted")(predictions, labels)
    assert ours.fwiou == pytest.approx(weighted.item(), rel=1e-6)


def test_worked_number() -> None:
    """Of 4 pixels of class 0, 3 are right; of 7 of class 1, 4 are right, 2 taken for class 0 and 1 for class 2.

    Class 0: IoU 3/(4+5-3), Dice 6/(4+5); class 1: IoU 4/(7+5-4), Dice 8/(7+5); class 2 is only predicted; class 3
    is absent. Frequency-weighted: 4/11 * 1/2 + 7/11 * 1/2.
    """
    ours = scores(torch.tensor([[3, 1, 0, 0], [2, 4, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    nan = math.nan
    assert_close(ours.iou, torch.tensor([1 / 2, 1 / 2, 0, nan]).double(), equal_nan=True)
    assert_close(ours.recall, torch.tensor([3 / 4, 4 / 7, nan, nan], dtype=torch.float64), equal_nan=True)
    assert_close(ours.dice, torch.tensor([2 / 3, 2 / 3, 0, nan], dtype=torch.float64), equal_nan=True)
    assert_close(ours.precision, torch.tensor([3 / 5, 4 / 5, 0, nan], dtype=torch.float64), equal_nan=True)
    assert ours.miou == pytest.approx(1 / 3)
    assert ours.macc == pytest.approx((3 / 4 + 4 / 7) / 2)
    assert ours.aacc == pytest.approx(7 / 11)
    assert ours.mdice == pytest.approx(4 / 9)
    assert ours.fwiou == pytest.approx(1 / 2)


def test_nothing_counted_gives_nan_everywhere() -> None:
    ours = scores(counted(torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), 255), 3))
    assert all(math.isnan(value) for value in (ours.miou, ours.macc, ours.aacc, ours.mdice, ours.fwiou))
    assert ours.iou.isnan().all()
    assert ours.precision.isnan().all()


def test_a_batch_of_no_pixels_counts_nothing() -> None:
    assert counted(torch.zeros(0, 4, 4).long(), torch.zeros(0, 4, 4).long(), 3).sum() == 0


def test_counts_beyond_float32_are_exact() -> None:
    metric = ConfusionMatrix(2)
    metric.matrix += torch.tensor([[2**24, 0], [0, 0]])
    for _ in range(5):
        metric.update(torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1).long())
    assert metric.compute()[0, 0] == 2**24 + 5


def test_perfect_prediction_scores_one() -> None:
    labels = torch.arange(6).view(1, 2, 3)
    ours = scores(counted(labels, labels, 6))
    assert (ours.miou, ours.macc, ours.aacc, ours.mdice, ours.fwiou) == (1, 1, 1, 1, 1)


@pytest.mark.parametrize("value", [-1, 4, 254])
def test_a_label_that_is_no_class_is_named(value: int) -> None:
    labels = torch.tensor([[[0, 255, value]]])
    with pytest.raises(ValueError, match=f"the label {value}, which is no class from 0 to 3 or the ignore_index 255"):
        counted(torch.zeros_like(labels), labels, 4)


@pytest.mark.parametrize("value", [-1, 4])
def test_a_prediction_that_is_no_class_is_named(value: int) -> None:
    predictions = torch.tensor([[[0, 1, value]]])
    with pytest.raises(ValueError, match=f"the prediction {value}, which is no class from 0 to 3"):
        counted(predictions, torch.full_like(predictions, 255), 4)


def test_a_rejected_batch_counts_nothing() -> None:
    metric = ConfusionMatrix(3)
    metric.update(torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1).long())
    with pytest.raises(ValueError, match="the label 7"):
        metric.update(torch.zeros(1, 1, 2).long(), torch.tensor([[[0, 7]]]))
    assert metric.compute().sum() == 1


def test_shapes_must_agree() -> None:
    # Past the shape check of the test run, which other runs do not have.
    matrices = inspect.unwrap(image_matrices)
    with pytest.raises(ValueError, match=r"one shape, got \(1, 2, 2\) and \(1, 2, 3\)"):
        matrices(torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 3).long(), 3, 255)


def test_a_result_stays_as_it_was_when_more_is_counted() -> None:
    metric = ConfusionMatrix(2)
    metric.update(torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1).long())
    first = metric.compute()
    metric.update(torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1).long())
    assert (first[0, 0], metric.compute()[0, 0]) == (1, 2)


def test_too_few_classes() -> None:
    with pytest.raises(ValueError, match="num_classes must be 2 or more, got 1"):
        ConfusionMatrix(1)


def test_reset_and_one_whole_number_state() -> None:
    metric = ConfusionMatrix(3)
    metric.update(torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1).long())
    metric.reset()
    metric.update(torch.ones(1, 1, 1).long(), torch.zeros(1, 1, 1).long())
    assert metric.compute().tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert {name: value.dtype for name, value in metric.metric_state.items()} == {"matrix": torch.int64}


def test_devices_add_up() -> None:
    """What a sync does: gather every device's state, then reduce it by the state's own function."""
    parts = [ConfusionMatrix(4), ConfusionMatrix(4)]
    batches = [drawn(seed, 4, 255) for seed in (7, 8)]
    for metric, (predictions, labels) in zip(parts, batches, strict=True):
        metric.update(predictions, labels)
    reduce = parts[0]._reductions["matrix"]
    gathered = reduce(torch.stack([metric.matrix for metric in parts]))
    both = counted(torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches]), 4)
    assert torch.equal(gathered, both)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    classes=st.sampled_from([2, 9, 255, 256, 300]),
    ignore_index=st.sampled_from([*IGNORE, 256, 10**6]),
    dtypes=st.tuples(*[st.sampled_from([torch.uint8, torch.int32, torch.int64])] * 2),
)
def test_every_way_of_counting_finds_the_same(
    seed: int, classes: int, ignore_index: int, dtypes: tuple[torch.dtype, torch.dtype]
) -> None:
    """As bytes or not, compiled or not, as a device does it: what counting one pixel after the other finds."""
    predictions, labels = drawn(seed, classes, ignore_index)
    fits = [map_.max() < 256 and map_.min() >= 0 for map_ in (predictions, labels)]
    given = [
        map_.to(dtype) if fit else map_ for map_, dtype, fit in zip((predictions, labels), dtypes, fits, strict=True)
    ]
    expected = torch.from_numpy(reference.confusion(predictions.numpy(), labels.numpy(), classes, ignore_index))
    assert torch.equal(counted(given[0], given[1], classes, ignore_index), expected)
    assert torch.equal(image_matrices(*given, classes, ignore_index).sum(0), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "compiled", lambda source: None)
        assert torch.equal(image_matrices(*given, classes, ignore_index).sum(0), expected)
    matrices, bounds = unchecked_matrices(*given, classes, ignore_index)
    assert torch.equal(matrices.sum(0), expected)
    refuse_strangers(bounds, classes, ignore_index)


def test_parts_of_many_pixels_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, labels = drawn(6, 5, 255)
    whole = counted(predictions, labels, 5)
    monkeypatch.setattr(counting, "PART", 8)
    assert torch.equal(counted(predictions, labels, 5), whole)
    assert torch.equal(counted(predictions, torch.where(labels == 255, 500, labels), 5, 500), whole)
    with pytest.raises(ValueError, match="the label 7"):
        counted(predictions, labels.masked_fill(labels == 3, 7), 5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("ignore_index", [255, 2, -100])
@pytest.mark.parametrize(("at", "value", "named"), [("labels", 4, "label 4"), ("predictions", 5, "prediction 5")])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_stranger_is_named_beside_void(
    dtype: torch.dtype,
    ignore_index: int,
    at: str,
    value: int,
    named: str,
    is_compiled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_compiled:
        monkeypatch.setattr(counting, "compiled", lambda source: None)
    maps = {name: torch.tensor([[[0, 1, 2, 3]]]) for name in ("predictions", "labels")}
    maps["labels"][..., 0] = ignore_index
    maps[at][..., 3] = value
    if dtype == torch.uint8 and ignore_index < 0:
        maps["predictions"] = maps["predictions"].to(dtype)
    else:
        maps = {name: map_.to(dtype) for name, map_ in maps.items()}
    with pytest.raises(ValueError, match=f"found the {named}, which is no class from 0 to 3"):
        counted(maps["predictions"], maps["labels"], 4, ignore_index)


@pytest.mark.parametrize("metric", [ConfusionMatrix(3), ConfusionByImage(3)])
def test_an_update_does_not_wait_for_the_device(metric: PixelCounts) -> None:
    """Whatever asks for a value of a tensor on the `meta` device raises."""
    metric = metric.to("meta")
    maps = torch.zeros(2, 2, 4, 4, dtype=torch.int64, device="meta").unbind(0)
    numbers = [torch.arange(2)] if isinstance(metric, ConfusionByImage) else []
    for _ in range(3):
        metric.update(*maps, *numbers)
    assert metric.bounds is not None


def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the metrics put off on the CPU what they put off on a device."""
    monkeypatch.setattr(metrics, "puts_off", lambda device: True)


def test_what_is_put_off_is_done_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [drawn(seed, 4, 255) for seed in range(5)]
    plain = ConfusionMatrix(4), ConfusionByImage(4)
    put_off = ConfusionMatrix(4), ConfusionByImage(4)
    for (matrix, by_image), later in ((plain, False), (put_off, True)):
        with monkeypatch.context() as patch:
            if later:
                as_on_a_device(patch)
                patch.setattr(metrics, "WAITING", 3 * 2 * 4 * 4)
            for place, (predictions, labels) in enumerate(batches):
                matrix.update(predictions, labels)
                by_image.update(predictions, labels, torch.tensor([2 * place, 2 * place + 1]))
    assert (len(put_off[1].rows), len(put_off[1].waiting)) == (4, 1)
    assert torch.equal(plain[0].compute(), put_off[0].compute())
    assert plain[1].compute().images == put_off[1].compute().images == 10
    assert torch.equal(plain[1].compute().rows, put_off[1].compute().rows)
    assert not put_off[1].waiting


def test_a_stranger_on_a_device_is_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_device(monkeypatch)
    metric = ConfusionMatrix(4)
    for labels in ([0, 255], [1, 9], [2, 3]):
        metric.update(torch.zeros(1, 1, 2).long(), torch.tensor([[labels]]))
    for _ in range(2):
        with pytest.raises(ValueError, match="the label 9, which is no class from 0 to 3 or the ignore_index 255"):
            metric.compute()
    metric.reset()
    metric.update(torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1).long())
    assert metric.compute().sum() == 1


def test_forward_keeps_what_was_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_device(monkeypatch)
    maps, numbers = torch.zeros(1, 1, 1).long(), torch.tensor([0])
    metric = ConfusionByImage(4)
    metric.update(maps, maps, numbers)
    assert metric(maps, maps, numbers + 1).images == 1
    assert metric.compute().rows.tolist() == [[0, 0, 0, 1], [1, 0, 0, 1]]
