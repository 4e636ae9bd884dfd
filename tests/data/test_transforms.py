import inspect
import itertools
import os
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest

from reference.data import photometric_distortion
from seglit.data.transforms import Augmentation, PhotoMetricDistortion, RandomCrop, check_labels_survive

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
ALWAYS = {"p": 1.0}

# Every spatial transform that people use, with void where it makes up pixels. `void` is filled in by the test.
SPATIAL = {
    "Affine": {"rotate": (-45, 45), "scale": (0.5, 2.0), "shear": (-10, 10), "fill_mask": "void"},
    "CenterCrop": {"height": 60, "width": 30, "pad_if_needed": True, "fill_mask": "void"},
    "CoarseDropout": {"fill_mask": "void"},
    "Crop": {"x_min": 4, "x_max": 60, "y_min": 0, "y_max": 60, "pad_if_needed": True, "fill_mask": "void"},
    "CropAndPad": {"percent": (-0.2, 0.2), "fill_mask": "void"},
    "CropNonEmptyMaskIfExists": {"height": 20, "width": 20},
    "D4": {},
    "ElasticTransform": {"alpha": 60, "sigma": 5, "fill_mask": "void"},
    "Erasing": {"fill_mask": "void"},
    "GridDistortion": {"fill_mask": "void"},
    "GridDropout": {"fill_mask": "void"},
    "HorizontalFlip": {},
    "LongestMaxSize": {"max_size": 33},
    "OpticalDistortion": {"distort_limit": 0.5, "fill_mask": "void"},
    "Pad": {"padding": 7, "fill_mask": "void"},
    "PadIfNeeded": {"min_height": 64, "min_width": 50, "fill_mask": "void"},
    "Perspective": {"scale": 0.2, "fill_mask": "void"},
    "PixelDropout": {"dropout_prob": 0.2, "mask_drop_value": "void"},
    "RandomCrop": {"height": 60, "width": 20, "pad_if_needed": True, "fill_mask": "void"},
    "RandomCropFromBorders": {},
    "RandomGridShuffle": {},
    "RandomResizedCrop": {"size": (30, 35)},
    "RandomRotate90": {},
    "RandomScale": {"scale_limit": (-0.5, 1.0)},
    "RandomSizedCrop": {"min_max_height": (10, 40), "size": (30, 30)},
    "Resize": {"height": 27, "width": 71},
    "Rotate": {"limit": 60, "fill_mask": "void"},
    "SafeRotate": {"limit": 60, "fill_mask": "void"},
    "SmallestMaxSize": {"max_size": 33},
    "ThinPlateSpline": {"fill_mask": "void"},
    "Transpose": {},
    "VerticalFlip": {},
    "XYMasking": {
        "num_masks_x": 2,
        "num_masks_y": 2,
        "mask_x_length": 5,
        "mask_y_length": 5,
        "fill_mask": "void",
    },
}


def spatial(name, void):
    return getattr(A, name)(
        **{key: void if value == "void" else value for key, value in SPATIAL[name].items()}, **ALWAYS
    )


def with_labels(values, dtype):
    return np.random.default_rng(1).choice(np.array(values, dtype=dtype), size=IMAGE.shape[:2])


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize(("dtype", "void"), [(np.uint8, 255), (np.uint8, 0), (np.int16, -100), (np.int32, 70000)])
def test_no_transform_invents_a_label(name, dtype, void):
    """Labels far apart, so that blending any two would show."""
    labels = with_labels([3, 50, 120, void], dtype)
    augmentation = Augmentation([spatial(name, void)], void)
    changed = False
    for seed in range(4):
        image, result = augmentation(IMAGE, labels, seed)
        assert set(np.unique(result)) <= {3, 50, 120, void}
        assert result.shape == image.shape[:2]
        assert result.dtype == dtype
        changed = changed or image.shape != IMAGE.shape or bool((image != IMAGE).any())
    assert changed


@pytest.mark.parametrize(("dtype", "void"), [(np.uint8, 255), (np.int16, -100)])
@pytest.mark.parametrize(
    "make",
    [
        lambda void: A.PadIfNeeded(64, 70, border_mode=0, fill=7, fill_mask=void),
        lambda void: A.Pad(5, border_mode=0, fill=7, fill_mask=void),
        lambda void: A.Rotate((30, 60), interpolation=0, fill=7, fill_mask=void, p=1),
        lambda void: A.Affine(translate_px=(3, 9), interpolation=0, fill=7, fill_mask=void, p=1),
        lambda void: A.RandomCrop(60, 60, pad_if_needed=True, fill=7, fill_mask=void),
    ],
)
def test_exactly_the_pixels_made_up_are_void(make, dtype, void):
    image = np.full((40, 48, 3), 200, np.uint8)
    labels = np.zeros((40, 48), dtype)
    image, labels = Augmentation([make(void)], void)(image, labels, 0)
    assert (image == 7).any()
    np.testing.assert_array_equal(labels == void, image[..., 0] == 7)
    assert set(np.unique(labels)) == {0, void}


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (A.PadIfNeeded(8, 8), r"'it' \(PadIfNeeded\): fill_mask=0.* class 0.*set it to ignore_index, 255"),
        (A.Rotate(fill_mask=254), r"'it' \(Rotate\): fill_mask=254"),
        (A.RandomCrop(8, 8, pad_if_needed=True), r"\(RandomCrop\): fill_mask=0"),
        (A.CoarseDropout(fill_mask=0), r"\(CoarseDropout\): fill_mask=0"),
        (A.PixelDropout(mask_drop_value=0), r"\(PixelDropout\): mask_drop_value=0"),
        (A.OneOf([A.HorizontalFlip(), A.Sequential([A.Pad(3)])]), r"\(OneOf\) \(Sequential\) \(Pad\): fill_mask=0"),
        (A.Resize(8, 8, mask_interpolation=1), r"\(Resize\): mask_interpolation=1 blends labels.*set 0 or 6"),
        (A.RandomScale(area_for_downscale="image_mask"), r"\(RandomScale\): area_for_downscale='image_mask'"),
        (A.Morphological(), r"\(Morphological\): rewrites labels"),
        (A.GridElasticDeform((4, 4), 10), r"\(GridElasticDeform\): labels pixels that it makes up 0"),
        (A.OneOf([type("Mine", (A.Morphological,), {})()]), r"\(OneOf\) \(Mine\): rewrites labels"),
        (RandomCrop(8, 8, 0.75, ignore_index=0), r"\(RandomCrop\): ignore_index=0, but the data set's is 255"),
        ({"p": 1.0}, r"'it' \(dict\): is no transform of albumentations"),
    ],
)
def test_a_transform_that_would_invent_labels_is_refused(transform, message):
    with pytest.raises(ValueError, match=message):
        check_labels_survive(transform, 255, "transform 'it'")
    if not isinstance(transform, dict):  # which the type checker of the test run stops earlier
        with pytest.raises(ValueError, match=message):
            Augmentation({"it": transform}, 255)


@pytest.mark.parametrize(
    "transform",
    [
        A.Rotate(border_mode=cv2.BORDER_REFLECT_101),
        A.RandomCrop(8, 8),
        A.CoarseDropout(),
        A.Pad(3, fill_mask=255),
        A.Pad(3, fill_mask=[255]),
        A.Resize(8, 8, mask_interpolation=cv2.INTER_NEAREST_EXACT),
        A.RandomScale(area_for_downscale="image"),
    ],
)
def test_a_transform_whose_mask_fill_is_void_or_not_used_is_allowed(transform):
    Augmentation([transform], 255)


@pytest.mark.parametrize("transform", [A.Normalize(), A.ToFloat(), A.ToTensorV2(), A.ToGray(1, p=1)])
def test_a_pipeline_that_leaves_no_8_bit_image_is_refused(transform):
    with pytest.raises(ValueError, match=r"must leave an 8-bit image of three channels, got .*; remove Normalize"):
        Augmentation([A.HorizontalFlip(p=1), transform], 255)(IMAGE, with_labels([0, 1], np.uint8), 0)


def test_a_pipeline_that_changes_only_the_image_size_is_refused():
    def top(image, **params):
        return image[:5]

    augmentation = Augmentation([A.Lambda(image=top, p=1)], 255)
    with pytest.raises(ValueError, match=r"the image became uint8 of shape \(5, 48, 3\) but its labels uint8 of"):
        augmentation(IMAGE, with_labels([0, 1], np.uint8), 0)


def test_one_module_alone_imports_albumentations():
    """The one that switches off its look-up of newer versions before."""
    source = Path(inspect.getfile(Augmentation))
    modules = source.parents[1].rglob("*.py")
    assert [
        path
        for path in modules
        if "import albumentations" in (text := path.read_text("utf-8")) or "from albumentations" in text
    ] == [source]
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


def test_no_transforms_change_nothing():
    labels = with_labels([0, 255], np.uint8)
    image, result = Augmentation([], 255)(IMAGE, labels, 3)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(result, labels)


RECIPE = {
    "scale": A.RandomScale((-0.5, 1.0), p=1),
    "crop": RandomCrop(24, 24, 0.75),
    "flip": A.HorizontalFlip(),
    "choice": A.OneOf([A.Rotate(fill_mask=255), A.GaussNoise(), A.GridDropout()], p=0.7),
    "color": PhotoMetricDistortion(),
    "pad": A.PadIfNeeded(24, 24, border_mode=0, fill_mask=255),
}


def test_the_result_is_a_function_of_the_seed_whatever_came_before():
    labels = with_labels([0, 1, 2], np.uint8)
    augmentation = Augmentation(RECIPE, 255)
    first = [augmentation(IMAGE, labels, seed) for seed in range(12)]
    again = {seed: augmentation(IMAGE, labels, seed) for seed in reversed(range(12))}
    for seed, (image, result) in enumerate(first):
        np.testing.assert_array_equal(image, again[seed][0])
        np.testing.assert_array_equal(result, again[seed][1])
    assert len({image.tobytes() for image, _ in first}) == 12


def test_transforms_draw_independently():
    """Two flips with probability a half: each of the four outcomes in about a quarter of 400 seeds, sd 8.7."""
    corner = np.zeros((2, 2), np.uint8)
    corner[0, 0] = 1
    augmentation = Augmentation([A.HorizontalFlip(), A.VerticalFlip()], 255)
    places = [int(augmentation(IMAGE[:2, :2], corner, seed)[1].argmax()) for seed in range(400)]
    assert abs(np.bincount(places, minlength=4) - 100).max() < 5 * 8.7


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 30), (40, 48), (60, 20), (60, 60)])
def test_random_crop_cuts_image_and_labels_alike(height, width):
    labels = IMAGE[..., 0] // 2
    augmentation = Augmentation([RandomCrop(height, width)], 255)
    for seed in range(5):
        image, result = augmentation(IMAGE, labels, seed)
        assert image.shape == (min(height, 40), min(width, 48), 3)
        np.testing.assert_array_equal(result, image[..., 0] // 2)


def test_random_crop_reaches_every_window():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    augmentation = Augmentation([RandomCrop(2, 2)], 255)
    corners = [int(augmentation(IMAGE[:3, :4], labels, seed)[1][0, 0]) for seed in range(200)]
    assert set(corners) == {0, 1, 2, 4, 5, 6}


def mostly_one_class(void, dtype):
    """Class 0 but for the right eighth, where classes 0 and 1 take turns; a third of the rest is void."""
    labels = np.zeros((64, 64), dtype)
    labels[::2, 56:] = 1
    labels[:, 10:30] = void
    return labels


@pytest.mark.parametrize(("dtype", "void"), [(np.uint8, 255), (np.int16, -100), (np.uint8, 0)])
def test_cat_max_ratio_looks_for_variety(dtype, void):
    """By chance 9 of the 57 windows' columns touch the right eighth, and few show enough of it."""
    image = np.zeros((64, 64, 3), np.uint8)
    labels = mostly_one_class(void, dtype) + (void == 0)
    labels[:, 10:30] = void

    def varied(ratio):
        augmentation = Augmentation([RandomCrop(8, 8, ratio, void)], void)
        count = 0
        for seed in range(150):
            window = augmentation(image, labels, seed)[1]
            pixels = np.unique(window[window != void], return_counts=True)[1]
            count += len(pixels) > 1 and pixels.max() < 0.75 * pixels.sum()
        return count / 150

    assert varied(1.0) < 0.15
    assert varied(0.75) > 3 * varied(1.0)


def test_cat_max_ratio_counts_valid_pixels_and_refuses_the_ratio_itself():
    """3 of 4 valid pixels are of one class: exactly 0.75, which is too much at 0.75 but not at 0.76."""
    window = np.array([[0, 0, 0, 1], [255, 255, 255, 255]], np.uint8)
    for labels in (window, window.astype(np.int16)):
        assert not RandomCrop(2, 4, 0.75)._has_variety(labels)
        assert RandomCrop(2, 4, 0.76)._has_variety(labels)
    for labels in (np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8)):
        assert not RandomCrop(2, 2, 0.99)._has_variety(labels)
        assert not RandomCrop(2, 2, 0.99)._has_variety(labels.astype(np.int16))


def test_cat_max_ratio_gives_up_after_ten_more_tries(monkeypatch):
    crop = RandomCrop(4, 4, 0.5)
    looks = []
    monkeypatch.setattr(crop, "_has_variety", lambda labels: looks.append(labels) or False)
    assert Augmentation([crop], 255)(IMAGE, with_labels([0], np.uint8), 0)[1].shape == (4, 4)
    assert len(looks) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4), "height and width must be at least 1"),
        ((4, 4, 0.0), r"cat_max_ratio must be in \(0, 1\], got 0.0"),
        ((4, 4, 1.5), r"cat_max_ratio must be in \(0, 1\]"),
    ],
)
def test_impossible_crops_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomCrop(*arguments)


NEUTRAL = {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "hue": 0}
CHANGED = {"brightness": -20.5, "contrast": 1.37, "saturation": 0.6, "hue": -11}


@pytest.mark.parametrize("early_contrast", [False, True])
@pytest.mark.parametrize("changes", [c for n in range(5) for c in itertools.combinations(CHANGED, n)])
def test_photometric_distortion_equals_the_reference(changes, early_contrast):
    """Equal, but with saturation and hue both: the reference then rounds in HSV, of few steps, once more."""
    params = NEUTRAL | {name: CHANGED[name] for name in changes} | {"early_contrast": early_contrast}
    ours = PhotoMetricDistortion().apply(IMAGE, **params).astype(int)
    expected = photometric_distortion(IMAGE.copy(), **params).astype(int)
    if {"saturation", "hue"} <= set(changes):
        assert abs(ours - expected).mean() < 1.0
    else:
        np.testing.assert_array_equal(ours, expected)


def test_photometric_distortion_draws_what_it_says():
    distortion = PhotoMetricDistortion(10.0, (0.8, 1.5), (0.5, 1.2), 7)
    augmentation = Augmentation([distortion], 255)
    drawn = []
    for seed in range(400):
        augmentation(IMAGE[:2, :2], np.zeros((2, 2), np.uint8), seed)
        drawn.append([distortion.params[name] for name in (*NEUTRAL, "early_contrast")])
    columns = np.array(drawn, dtype=float).T
    limits = [(-10, 10), (0.8, 1.5), (0.5, 1.2), (-7, 7)]
    # Hue may be drawn as 0, one time in 15.
    for values, (low, high), neutral in zip(columns, limits, NEUTRAL.values(), strict=False):
        changed = values[values != neutral]
        assert 0.38 < len(changed) / 400 < 0.6
        assert low <= changed.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < changed.max() <= high
    assert 0.4 < columns[4].mean() < 0.6
    assert set(columns[3]) == set(range(-7, 8))
    assert abs(np.corrcoef(columns != np.array([*NEUTRAL.values(), 0])[:, None]) - np.eye(5)).max() < 0.2


def test_every_option_of_photometric_distortion_has_an_effect():
    off = {
        "brightness_delta": 0.0,
        "contrast_range": (1.0, 1.0),
        "saturation_range": (1.0, 1.0),
        "hue_delta": 0,
    }
    labels = np.zeros((40, 48), np.uint8)

    def changes(**options):
        augmentation = Augmentation([PhotoMetricDistortion(**(off | options))], 255)
        return sum(bool((augmentation(IMAGE, labels, seed)[0] != IMAGE).any()) for seed in range(10))

    assert changes() == 0
    for option, value in {"brightness_delta": 30.0, "contrast_range": [0.5, 1.5]}.items():
        assert changes(**{option: value}) > 0
    for option, value in {"saturation_range": (0.5, 1.5), "hue_delta": 9}.items():
        assert changes(**{option: value}) > 0
    assert changes(brightness_delta=30.0, p=0.0) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"brightness_delta": -1.0}, "must not be negative, got -1.0 and 18"),
        ({"hue_delta": -1}, "must not be negative"),
        ({"contrast_range": (1.5, 0.5)}, "contrast_range must be two factors in order"),
        ({"saturation_range": (0.0, 1.0)}, "saturation_range must be two factors"),
        ({"saturation_range": [1.0]}, "saturation_range must be two factors"),
    ],
)
def test_impossible_distortions_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PhotoMetricDistortion(**options)
