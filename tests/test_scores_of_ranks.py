"""Scores do not depend on how many processes shared the images; and equal those of MMSegmentation and scikit-learn."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, distributed
from torch.testing import assert_close

from reference import metrics as reference
from seglit.bootstrap import miou_interval
from seglit.boundary import BoundaryCounts
from seglit.data.sampling import EvaluationSampler
from seglit.metrics import ConfusionByImage, ConfusionMatrix, ImageCounts, scores

IMAGES, CLASSES = 7, 4


def image_maps(number: int) -> tuple[Tensor, Tensor]:
    """Predictions and labels of one of seven images, each of a size of its own; the fifth is all void."""
    generator = torch.Generator().manual_seed(number)
    size = (1, 8 + number, 11 - number)
    predictions, labels = torch.randint(0, CLASSES, (2, *size), generator=generator).unbind(0)
    void = torch.rand(size, generator=generator) < 0.1 * number
    return predictions, labels.masked_fill(void, 255) if number != 4 else torch.full(size, 255)


def metrics_of_rank(rank: int, world_size: int) -> tuple[ConfusionMatrix, ConfusionByImage, BoundaryCounts]:
    """The metrics after a rank's share of the images."""
    metrics = ConfusionMatrix(CLASSES), ConfusionByImage(CLASSES), BoundaryCounts(CLASSES, share=0.1)
    for _, number in EvaluationSampler(IMAGES, rank, world_size):
        predictions, labels = image_maps(number)
        metrics[0].update(predictions, labels)
        metrics[1].update(predictions, labels, torch.tensor([number]))
        metrics[2].update(predictions, labels)
    return metrics


def results(metrics: tuple[ConfusionMatrix, ConfusionByImage, BoundaryCounts]) -> dict[str, Tensor]:
    matrix, counts, boundary = (metric.compute() for metric in metrics)
    return {
        "matrix": matrix,
        "images": torch.tensor(counts.images),
        "rows": counts.rows,
        "interval": torch.tensor(miou_interval(counts, CLASSES), dtype=torch.float64),
        "boundary": boundary,
    }


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 7])
def test_shares_add_up_to_the_whole(world_size: int) -> None:
    """What a synchronisation does: gather every rank's states, then reduce each by its own function."""
    whole = results(metrics_of_rank(0, 1))
    matrices, by_image, boundaries = zip(
        *(metrics_of_rank(rank, world_size) for rank in range(world_size)), strict=True
    )
    joined = ConfusionMatrix(CLASSES), ConfusionByImage(CLASSES), BoundaryCounts(CLASSES, share=0.1)
    for metric, parts in zip(joined, (matrices, by_image, boundaries), strict=True):
        metric._update_count = 1
        for name, reduce in metric._reductions.items():
            gathered = [getattr(part, name) for part in parts]
            flat = [tensor for state in gathered for tensor in state] if name == "rows" else torch.stack(gathered)
            setattr(metric, name, reduce(flat))
    for name, value in results(joined).items():
        assert torch.equal(value, whole[name]), name
    assert whole["images"] == IMAGES
    assert torch.equal(whole["matrix"], joined[1].compute().matrix(CLASSES))


def score_in_a_group(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    torch.save(results(metrics_of_rank(rank, 2)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_find_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    torch.multiprocessing.spawn(score_in_a_group, (str(tmp_path),), nprocs=2)
    whole = results(metrics_of_rank(0, 1))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in whole.items():
            assert torch.equal(found[name], value), name


def adversarial() -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Predictions, labels and the ignored label."""
    random = np.random.default_rng(0)
    predictions, labels = random.integers(0, CLASSES, (2, 9, 10))
    return {
        "all void": (predictions, np.full((9, 10), 255), 255),
        "one pixel": (predictions, np.where(np.arange(90).reshape(9, 10) == 50, labels, 255), 255),
        "one class": (np.zeros((9, 10), dtype=np.int64), np.zeros((9, 10), dtype=np.int64), 255),
        "nothing right": ((labels + 1) % CLASSES, labels, 255),
        "absent class": (predictions % 3, labels % 3, 255),
        "predicted but absent": (np.full((9, 10), 3), labels % 3, 255),
        "ignored label is a class": (predictions, labels, 2),
        "ignored label is the first class": (predictions, labels, 0),
        "negative ignored label": (predictions, np.where(labels == 1, -100, labels), -100),
        "random": (predictions, labels, 255),
    }


def compare_areas(predictions: np.ndarray, labels: np.ndarray, ignore_index: int) -> None:
    metric = ConfusionMatrix(CLASSES, ignore_index)
    metric.update(torch.from_numpy(predictions)[None], torch.from_numpy(labels)[None])
    matrix = metric.compute()
    ours = {"intersect": matrix.diagonal(), "pred": matrix.sum(0), "label": matrix.sum(1)}
    ours["union"] = ours["pred"] + ours["label"] - ours["intersect"]
    theirs = reference.class_areas(predictions, labels, CLASSES, ignore_index)
    for name, area in theirs.items():
        assert ours[name].tolist() == area.tolist(), name
    found = scores(matrix)
    with np.errstate(invalid="ignore"):
        quotients = {
            "iou": theirs["intersect"] / theirs["union"],
            "recall": theirs["intersect"] / theirs["label"],
            "precision": theirs["intersect"] / theirs["pred"],
            "dice": 2 * theirs["intersect"] / (theirs["pred"] + theirs["label"]),
        }
    for name, value in quotients.items():
        assert_close(getattr(found, name), torch.from_numpy(value), rtol=1e-15, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("case", adversarial())
def test_areas_are_those_of_mmsegmentation(case: str) -> None:
    compare_areas(*adversarial()[case])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), ignore_index=st.sampled_from([255, 0, 3, -100]), void=st.sampled_from([0.0, 0.3, 0.99])
)
def test_areas_are_those_of_mmsegmentation_on_random_maps(seed: int, ignore_index: int, void: float) -> None:
    random = np.random.default_rng(seed)
    predictions, labels = random.integers(0, CLASSES, (2, 6, 7))
    compare_areas(predictions, np.where(random.random((6, 7)) < void, ignore_index, labels), ignore_index)


@pytest.mark.filterwarnings("ignore:.*is ill-defined")
@pytest.mark.parametrize("case", adversarial())
def test_scores_are_those_of_scikit_learn(case: str) -> None:
    """Theirs know no void, so it is cut out before."""
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is optional")
    predictions, labels, ignore_index = adversarial()[case]
    kept = labels != ignore_index
    if not kept.any():
        pytest.skip("they refuse input without a sample")
    metric = ConfusionMatrix(CLASSES, ignore_index)
    metric.update(torch.from_numpy(predictions)[None], torch.from_numpy(labels)[None])
    found = scores(metric.compute())
    pair, names = (labels[kept], predictions[kept]), list(range(CLASSES))
    assert metric.compute().tolist() == sklearn.confusion_matrix(*pair, labels=names).tolist()
    theirs = {
        "recall": sklearn.recall_score,
        "precision": sklearn.precision_score,
        "dice": sklearn.f1_score,
    }
    for name, score in theirs.items():
        expected = score(*pair, labels=names, average=None, zero_division=np.nan)
        assert_close(getattr(found, name), torch.from_numpy(expected), equal_nan=True, msg=name)
    # Their Jaccard index has no NaN: an absent class is 0 there.
    jaccard = sklearn.jaccard_score(*pair, labels=names, average=None, zero_division=0)
    assert_close(found.iou.nan_to_num(0), torch.from_numpy(jaccard))
    assert found.aacc == pytest.approx(sklearn.accuracy_score(*pair))
    present = sorted(set(labels[kept]) | set(predictions[kept]))
    weighted = sklearn.jaccard_score(*pair, labels=names, average="weighted", zero_division=0)
    assert found.fwiou == pytest.approx(weighted)
    assert found.miou == pytest.approx(sklearn.jaccard_score(*pair, labels=present, average="macro", zero_division=0))


def test_counts_beyond_32_bits() -> None:
    """Three data sets of 2**33 pixels, to the pixel: each class loses one pixel to the next."""
    big = 2**33
    matrix = torch.tensor([[big, 1, 0], [0, big, 1], [1, 0, big]])
    metric = ConfusionMatrix(3)
    metric.matrix += matrix
    metric.update(torch.zeros(1, 1, 1).long(), torch.zeros(1, 1, 1).long())
    assert metric.compute()[0, 0] == big + 1
    found = scores(matrix)
    assert_close(found.iou, torch.full((3,), big / (big + 2), dtype=torch.float64), rtol=1e-16, atol=0)
    assert found.aacc == 3 * big / (3 * big + 3) < 1
    rows = torch.tensor([[image, c, c, big] for image in range(3) for c in range(3)])
    counts = ImageCounts(3, rows)
    assert counts.matrix(3).diagonal().tolist() == [3 * big] * 3
    assert miou_interval(counts, 3) == (1.0, 1.0)


def test_each_image_of_a_batch_is_one() -> None:
    together, apart = ConfusionByImage(CLASSES), ConfusionByImage(CLASSES)
    predictions, labels = torch.randint(0, CLASSES, (2, 3, 8, 9), generator=torch.Generator().manual_seed(0))
    together.update(predictions, labels, torch.arange(3))
    for image in range(3):
        apart.update(predictions[image : image + 1], labels[image : image + 1], torch.tensor([image]))
    assert together.compute().images == 3
    assert torch.equal(together.compute().rows, apart.compute().rows)


def test_a_matrix_that_was_handed_out_stays_as_it_was() -> None:
    metric = ConfusionMatrix(CLASSES)
    metric.update(*image_maps(0))
    first = metric.compute()
    before = first.clone()
    metric.update(*image_maps(1))
    assert torch.equal(first, before)
