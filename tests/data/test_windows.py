"""A window of a scaled image is that part of the scaled image."""

import random

import albumentations as A
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seglit.data import windows
from seglit.data.transforms import Augmentation, PhotoMetricDistortion, RandomCrop, ScaledCrop
from seglit.data.windows import linear_window, nearest_window, source_places

SIDES = st.integers(1, 90)
FACTORS = st.floats(0.3, 2.5)


@st.composite
def scalings(draw):
    """Height and width as stored, and scaled, and a window."""
    stored = draw(SIDES), draw(SIDES)
    factor = draw(FACTORS)
    scaled = tuple(max(1, int(side * factor)) for side in stored)
    window = []
    for side in scaled:
        start = draw(st.integers(0, side - 1))
        window.append(slice(start, draw(st.integers(start + 1, side))))
    return stored, scaled, tuple(window)


@pytest.mark.parametrize("interpolation", [cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT])
@given(scaling=scalings(), dtype=st.sampled_from([np.uint8, np.int16, np.int32]))
def test_labels_are_the_same_to_the_pixel(interpolation, scaling, dtype):
    stored, scaled, window = scaling
    labels = np.random.default_rng(0).integers(0, 100, stored).astype(dtype)
    rows, columns = (source_places(*sides, interpolation) for sides in zip(stored, scaled, strict=True))
    whole = cv2.resize(labels, scaled[::-1], interpolation=interpolation)
    np.testing.assert_array_equal(nearest_window(labels, rows, columns, window), whole[window])


@given(scaling=scalings())
def test_images_differ_by_a_32nd_of_a_pixel(scaling):
    """On noise, the steepest image there is: 255 grey values a pixel and axis, and two roundings."""
    stored, scaled, window = scaling
    image = np.random.default_rng(0).integers(0, 256, (*stored, 3)).astype(np.uint8)
    whole = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_LINEAR)[window].astype(int)
    ours = linear_window(image, scaled, window)
    assert ours.shape == whole.shape
    assert np.abs(ours - whole).max() <= 2 * 255 / 32 + 2


@pytest.mark.parametrize("factor", [0.5, 0.613, 0.75, 0.9999, 1.003, 4 / 3, 1.7321, 2.0])
def test_images_of_usual_steepness_differ_by_a_grey_value_or_so(factor):
    coarse = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (480, 320), interpolation=cv2.INTER_CUBIC)
    scaled = int(320 * factor), int(480 * factor)
    whole = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_LINEAR).astype(int)
    for top, left in ((0, 0), (31, 77), (scaled[0] - 128, scaled[1] - 128)):
        window = slice(top, top + 128), slice(left, left + 128)
        difference = np.abs(linear_window(image, scaled, window) - whole[window])
        assert difference.max() <= 4
        assert difference.mean() < 0.5


def test_most_windows_need_no_warp(monkeypatch):
    warped = []

    def note(image, size, window):
        warped.append(size)
        return image[:512, :1024]

    monkeypatch.setattr(windows, "_warped_window", note)
    image = np.zeros((1024, 2048, 3), np.uint8)
    draw = random.Random(0)
    for _ in range(100):
        factor = draw.uniform(0.5, 2)
        scaled = int(1024 * factor), int(2048 * factor)
        top, left = draw.randint(0, scaled[0] - 512), draw.randint(0, scaled[1] - 1024)
        windows.linear_window(image, scaled, (slice(top, top + 512), slice(left, left + 1024)))
    assert 0 < len(warped) < 30


def pipeline(**options):
    return [
        A.RandomScale((-0.5, 1.0), **({"p": 1.0, "mask_interpolation": cv2.INTER_NEAREST_EXACT} | options)),
        RandomCrop(48, 64, 0.75),
        A.HorizontalFlip(),
        A.PadIfNeeded(48, 64, border_mode=0, fill_mask=255),
    ]


@pytest.mark.parametrize("options", [{}, {"p": 0.5}, {"mask_interpolation": cv2.INTER_NEAREST}])
def test_a_crop_right_after_a_scaling_gives_what_both_give(options):
    """The same random numbers: labels equal, images but for the last bits."""
    draw = np.random.default_rng(1)
    coarse = draw.integers(0, 256, (12, 20, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (160, 96), interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(draw.integers(0, 4, (6, 8)).astype(np.uint8), (160, 96), interpolation=cv2.INTER_NEAREST)
    ours = Augmentation(pipeline(**options), 255)
    assert isinstance(ours.compose.transforms[0], ScaledCrop)
    apart = A.Compose(pipeline(**options))
    for seed in range(60):
        apart.set_random_state(np.random.default_rng(seed), random.Random(seed))
        expected = apart(image=image, mask=labels)
        pixels, classes = ours(image, labels, seed)
        np.testing.assert_array_equal(classes, expected["mask"])
        difference = np.abs(pixels.astype(int) - expected["image"])
        assert difference.max() <= 4
        assert difference.mean() < 0.5


class Mine(RandomCrop):
    """May do something else."""


@pytest.mark.parametrize(
    "transforms",
    [
        [A.RandomScale(interpolation=cv2.INTER_CUBIC), RandomCrop(8, 8)],
        [A.RandomScale(area_for_downscale="image"), RandomCrop(8, 8)],
        [A.RandomScale(), A.RandomCrop(8, 8)],
        [A.RandomScale(), Mine(8, 8)],
        [A.RandomScale(), A.HorizontalFlip(), RandomCrop(8, 8)],
        [RandomCrop(8, 8), A.RandomScale()],
        [RandomCrop(8, 8), PhotoMetricDistortion()],
    ],
)
def test_other_transforms_stay_as_they_are(transforms):
    assert list(Augmentation(transforms, 255).compose.transforms) == transforms
