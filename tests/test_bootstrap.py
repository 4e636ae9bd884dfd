"""The interval of the mean IoU over images: the slow reference, laws, and whether it covers what it should."""

import math
import time

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from reference import metrics as reference
from seglit import bootstrap
from seglit.bootstrap import miou_interval, percentile_interval, resampled_miou
from seglit.metrics import ConfusionByImage, ImageCounts, scores


def counts_of(matrices: list[np.ndarray]) -> ImageCounts:
    rows = [
        [image, truth, prediction, int(matrix[truth, prediction])]
        for image, matrix in enumerate(matrices)
        for truth, prediction in zip(*matrix.nonzero(), strict=True)
    ]
    return ImageCounts(len(matrices), torch.tensor(rows, dtype=torch.int64).view(-1, 4))


def drawn_matrices(images: int, classes: int, seed: int = 0) -> list[np.ndarray]:
    """Sparse matrices, one of them empty, so that some resamples lack a class."""
    random = np.random.default_rng(seed)
    matrices = [
        random.integers(0, 50, (classes, classes)) * (random.random((classes, classes)) < 0.3) for _ in range(images)
    ]
    matrices[1] = np.zeros((classes, classes), dtype=np.int64)
    return matrices


def test_equals_summing_the_matrices_of_the_drawn_images() -> None:
    matrices = drawn_matrices(6, 4)
    generator = torch.Generator().manual_seed(3)
    draws = torch.randint(6, (50, 6), generator=generator).tolist()
    expected = torch.tensor(reference.resampled_miou(matrices, draws), dtype=torch.float64)
    actual = resampled_miou(counts_of(matrices), 4, resamples=50, seed=3)
    assert_close(actual, expected, rtol=1e-12, atol=0, equal_nan=True)
    low, high = percentile_interval(actual)
    assert low == pytest.approx(np.nanquantile(expected.numpy(), 0.025))
    assert high == pytest.approx(np.nanquantile(expected.numpy(), 0.975))


def test_the_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = counts_of(drawn_matrices(7, 3))
    whole = resampled_miou(counts, 3, resamples=20)
    for at_once in (1, 40, 139):
        monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", at_once)
        assert_close(resampled_miou(counts, 3, resamples=20), whole, rtol=0, atol=0)


def test_a_seed_says_which_images_are_drawn() -> None:
    counts = counts_of(drawn_matrices(9, 3))
    assert torch.equal(resampled_miou(counts, 3), resampled_miou(counts, 3, 1000, 0))
    assert not torch.equal(resampled_miou(counts, 3), resampled_miou(counts, 3, seed=1))
    assert len(resampled_miou(counts, 3)) == 1000


def test_images_without_a_counted_pixel_are_drawn_too() -> None:
    """Of two images, one void: a quarter of the resamples is void and has no mean IoU."""
    counts = counts_of([np.array([[3, 1], [0, 4]]), np.zeros((2, 2), dtype=np.int64)])
    values = resampled_miou(counts, 2)
    assert 0.2 < values.isnan().double().mean() < 0.3
    # 3 of 4 and 4 of 5; every other resample is the one image, once or twice.
    expected = (3 / 4 + 4 / 5) / 2
    assert miou_interval(counts, 2) == (pytest.approx(expected), pytest.approx(expected))


@pytest.mark.parametrize("images", [0, 1])
def test_fewer_than_two_images_have_no_interval(images: int) -> None:
    counts = counts_of([np.array([[3, 1], [0, 4]])] * images)
    assert all(math.isnan(bound) for bound in miou_interval(counts, 2))


def test_equal_images_leave_no_room() -> None:
    matrix = np.array([[3, 1], [2, 4]])
    counts = counts_of([matrix] * 5)
    miou = scores(torch.from_numpy(matrix)).miou
    assert miou_interval(counts, 2) == (pytest.approx(miou), pytest.approx(miou))


def test_the_interval_covers_the_score_of_all_images() -> None:
    """Of 300 data sets of 40 images each from one population, about 95 % have its mean IoU in their interval."""
    random = np.random.default_rng(0)

    def matrix() -> np.ndarray:
        right = random.beta(4, 2)
        return random.multinomial(1000, [0.6 * right, 0.6 * (1 - right), 0.4 * (1 - right), 0.4 * right]).reshape(2, 2)

    population = scores(torch.from_numpy(sum(matrix() for _ in range(20000)))).miou
    inside = 0
    for _ in range(300):
        low, high = miou_interval(counts_of([matrix() for _ in range(40)]), 2, resamples=400)
        assert low < high
        inside += low <= population <= high
    # A percentile interval of 40 images is a little short; the binomial spread of 300 is 1.3 %.
    assert 0.90 <= inside / 300 <= 0.985


def test_the_interval_narrows_with_the_root_of_the_number_of_images() -> None:
    matrices = [matrix + np.eye(3, dtype=np.int64) for matrix in drawn_matrices(40, 3)]
    low, high = miou_interval(counts_of(matrices), 3)
    few = high - low
    low, high = miou_interval(counts_of(matrices * 16), 3)
    assert (high - low) == pytest.approx(few / 4, rel=0.15)


def test_five_hundred_images_take_well_under_a_second() -> None:
    image, truth, prediction = (torch.arange(500 * 19 * 19) // step for step in (19 * 19, 19, 1))
    counts = ImageCounts(500, torch.stack([image, truth % 19, prediction % 19, 1 + image % 7], dim=1))
    start = time.perf_counter()
    miou_interval(counts, 19)
    assert time.perf_counter() - start < 1


def maps(seed: int, images: int = 4, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    predictions, labels = torch.randint(0, classes, (2, images, 6, 7), generator=generator).unbind(0)
    labels = labels.masked_fill(torch.rand(labels.shape, generator=generator) < 0.2, 255)
    labels[1] = 255
    return predictions, labels


def test_counts_of_each_image_equal_the_reference() -> None:
    predictions, labels = maps(0)
    metric = ConfusionByImage(5)
    # In another order than that of the data set, as devices take turns.
    metric.update(predictions[2:], labels[2:], torch.tensor([2, 3]))
    metric.update(predictions[:2], labels[:2], torch.tensor([0, 1]))
    counts = metric.compute()
    expected = [reference.confusion(p, t, 5, 255) for p, t in zip(predictions.numpy(), labels.numpy(), strict=True)]
    assert counts.images == 4
    assert counts.rows.tolist() == counts_of(expected).rows.tolist()
    assert torch.equal(counts.matrix(5), torch.from_numpy(sum(expected)))
    for image, matrix in enumerate(expected):
        areas = [matrix.diagonal(), matrix.sum(1), matrix.sum(0)]
        assert counts.areas(5)[image].tolist() == np.stack(areas).tolist()


def test_memory_is_by_the_classes_of_an_image_and_not_by_its_size() -> None:
    metric = ConfusionByImage(150)
    labels = torch.zeros(1, 400, 500, dtype=torch.int64)
    labels[:, 200:] = 149
    metric.update(labels.flip(1), labels, torch.tensor([0]))
    assert metric.compute().rows.tolist() == [[0, 0, 149, 100_000], [0, 149, 0, 100_000]]


def test_nothing_counted_and_reset() -> None:
    metric = ConfusionByImage(3)
    with pytest.warns(UserWarning, match="before the ``update``"):
        counts = metric.compute()
    assert (counts.images, counts.rows.shape) == (0, (0, 4))
    predictions, labels = maps(1, classes=3)
    metric.update(predictions, labels, torch.arange(4))
    metric.reset()
    metric.update(predictions[1:2], labels[1:2], torch.tensor([0]))
    assert metric.compute().images == 1
    assert metric.compute().rows.shape == (0, 4)
