"""Boundary IoU: the slow reference, laws, worked numbers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from reference import metrics as reference
from seglit.boundary import BoundaryCounts, boundary_areas


def blobs(
    seed: int, classes: int, ignore_index: int, shape: tuple[int, int] = (9, 13)
) -> tuple[np.ndarray, np.ndarray]:
    """Maps with patches of a few pixels, some void, and predictions that shift them a little."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, classes, (-(-shape[0] // 4), -(-shape[1] // 4)))
    label = np.kron(coarse, np.ones((4, 4), dtype=np.int64))[: shape[0], : shape[1]]
    prediction = np.roll(label, int(random.integers(-1, 2)), axis=int(random.integers(2)))
    stray = random.random(shape) < 0.05
    prediction = np.where(stray, random.integers(0, classes, shape), prediction)
    label = np.where(random.random(shape) < 0.1, ignore_index, label)
    return prediction, label


def counted(
    prediction: np.ndarray, label: np.ndarray, classes: int, share: float = 0.02, ignore_index: int = 255
) -> Tensor:
    metric = BoundaryCounts(classes, ignore_index, share)
    metric.update(torch.from_numpy(prediction)[None], torch.from_numpy(label)[None])
    return metric.areas


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    classes=st.sampled_from([2, 3, 7]),
    ignore_index=st.sampled_from([255, 0, -100, 1]),
    share=st.sampled_from([0.001, 0.1, 0.2, 0.9]),
)
def test_equals_looking_around_each_pixel(seed: int, classes: int, ignore_index: int, share: float) -> None:
    prediction, label = blobs(seed, classes, ignore_index)
    expected = reference.boundary_areas(prediction, label, classes, ignore_index, share)
    assert boundary_areas(prediction, label, classes, ignore_index, share).tolist() == expected.tolist()


@pytest.mark.parametrize("classes", [255, 256, 257, 400])
def test_many_classes(classes: int) -> None:
    prediction, label = np.zeros((2, 9, 13), dtype=np.int64)
    # The last class beside the first, which are 256 apart where bytes begin again.
    label[3:7, 3:8], prediction[3:7, 4:9], label[4, 5] = classes - 1, classes - 1, 1000
    expected = reference.boundary_areas(prediction, label, classes, 1000, 0.1)
    assert boundary_areas(prediction, label, classes, 1000, 0.1).tolist() == expected.tolist()


def test_worked_number() -> None:
    """A 4 x 4 square of class 1 in an image of 8 x 8, d = 1, predicted one column to the right.

    The 12 outer pixels of each square are near its boundary. The two rings share 3 pixels of the top row and 3 of the
    bottom row; their sides are in different columns.
    """
    label = np.zeros((8, 8), dtype=np.int64)
    label[2:6, 2:6] = 1
    areas = counted(np.roll(label, 1, axis=1), label, 2)
    assert areas[:, 1].tolist() == [6, 12, 12]


def test_the_distance_is_in_whole_pixels_of_the_diagonal() -> None:
    """300 x 400 has a diagonal of 500; 2 % are 10 pixels, so one class has a frame of 300 * 400 - 280 * 380."""
    label = np.zeros((300, 400), dtype=np.int64)
    assert counted(label, label, 2)[:, 0].tolist() == [300 * 400 - 280 * 380] * 3


def test_a_perfect_prediction_scores_one_and_absent_classes_are_nan() -> None:
    _, label = blobs(1, 3, 255)
    metric = BoundaryCounts(5, share=0.1)
    metric.update(torch.from_numpy(np.where(label == 255, 4, label))[None], torch.from_numpy(label)[None])
    assert_close(
        metric.compute(), torch.tensor([1.0, 1.0, 1.0, math.nan, math.nan], dtype=torch.float64), equal_nan=True
    )


def test_what_is_predicted_under_void_does_not_matter() -> None:
    prediction, label = blobs(2, 4, 255)
    other = np.where(label == 255, (prediction + 1) % 4, prediction)
    assert torch.equal(counted(prediction, label, 4, 0.1), counted(other, label, 4, 0.1))


def test_an_edge_towards_void_is_no_boundary() -> None:
    label = np.zeros((9, 30), dtype=np.int64)
    label[:, 10:20], label[:, 20:] = 255, 1
    # d = 1: the frame of each part, without the side that void lies along.
    assert counted(label.clip(max=1), label, 2)[1].tolist() == [10 + 10 + 7, 10 + 10 + 7]


def test_all_void_counts_nothing() -> None:
    areas = counted(np.zeros((5, 5), dtype=np.int64), np.full((5, 5), 255), 3)
    assert areas.sum() == 0


def test_images_add_up() -> None:
    parts = [blobs(seed, 4, 255) for seed in range(3)]
    metric = BoundaryCounts(4, share=0.1)
    metric.update(*(torch.from_numpy(np.stack(maps)) for maps in zip(*parts, strict=True)))
    assert torch.equal(metric.areas, sum(counted(*part, 4, 0.1) for part in parts))
    both, labelled, predicted = metric.areas.double().unbind(0)
    assert_close(metric.compute(), both / (labelled + predicted - both))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match=f"boundary_iou: .* between 0 and 1, got {share}"):
        BoundaryCounts(3, share=share)
