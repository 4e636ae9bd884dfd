"""Augmentation by albumentations, and what segmentation needs beside it.

The one module that imports albumentations, because its look-up of a newer version online must be off
before.
"""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import cv2
import numpy as np
from albumentations import (
    BaseCompose,
    BasicTransform,
    Compose,
    DualTransform,
    GridElasticDeform,
    ImageOnlyTransform,
    Morphological,
    RandomScale,
)
from albumentations.core.type_definitions import Targets
from jaxtyping import Integer, UInt8

from seglit.data.windows import Window, linear_window, nearest_window, source_places

Transforms = Mapping[str, BasicTransform | BaseCompose] | Sequence[BasicTransform | BaseCompose]

# What albumentations' transforms call the label that they give to pixels from nowhere.
MASK_FILLS = ("fill_mask", "mask_drop_value")
CROP_RETRIES = 10
REFUSED = {
    GridElasticDeform: "labels pixels that it makes up 0, whatever it is told; take ElasticTransform",
    Morphological: "rewrites labels as if they were grey values; take it out",
}
"""Transforms of albumentations that invent labels and cannot be told not to, each with its mend."""


class Augmentation:
    """A list of transforms, applied in order to an image and its labels with the random numbers of a seed.

    A crop right after a bilinear `RandomScale` is made without scaling what it cuts off, see `ScaledCrop`.

    Args:
        transforms: albumentations' transforms, a list, or by names, which only serve to override one.
        ignore_index: The label of void.

    Raises:
        ValueError: If a transform would blend labels, or label as anything but void a pixel that it makes
            up.
    """

    def __init__(self, transforms: Transforms, ignore_index: int) -> None:
        named = transforms if isinstance(transforms, Mapping) else dict(enumerate(transforms))
        for name, transform in named.items():
            check_labels_survive(transform, ignore_index, f"transform {name!r}")
        self.compose = Compose(_joined(list(named.values())))

    @property
    def distorts_colors(self) -> bool:
        """Whether a `PhotoMetricDistortion` is among the transforms themselves."""
        return any(isinstance(transform, PhotoMetricDistortion) for transform in self.compose.transforms)

    def __call__(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        labels: Integer[np.ndarray, "height width"],
        seed: int,
    ) -> tuple[UInt8[np.ndarray, "_height _width 3"], Integer[np.ndarray, "_height _width"]]:
        """Image and labels after all transforms; a function of the arguments alone.

        Raises:
            ValueError: If the result is no 8-bit image with labels of the same size.
        """
        # Not set_random_seed: it gives each transform the same seed, so that for instance two flips of
        # probability a half always happen together. One generator for all makes their draws independent.
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        result = self.compose(image=image, mask=labels)
        image, labels = result["image"], result["mask"]
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise ValueError(
                f"transforms: must leave an 8-bit image of three channels, got {_kind(image)}; "
                "remove Normalize, ToFloat, ToTensorV2 and the like: normalising follows on the device"
            )
        if labels.shape != image.shape[:2]:
            raise ValueError(f"transforms: the image became {_kind(image)} but its labels {_kind(labels)}")
        return image, labels


def check_labels_survive(transform: object, ignore_index: int, origin: str) -> None:
    """Refuses what would invent labels: blending masks, or filling them with another label than void.

    Albumentations fills masks with 0 unless told otherwise, which would make padding pixels of class 0.

    Args:
        transform: A transform, or a composition, whose parts are checked.
        ignore_index: The label of void.
        origin: What the message calls the transform.

    Raises:
        ValueError: Names `origin`, the class, the argument and the mend.
    """
    name = f"{origin} ({type(transform).__name__})"
    if not isinstance(transform, BasicTransform | BaseCompose):
        raise ValueError(f"{name}: is no transform of albumentations; is its _target_ missing or _partial_?")
    if isinstance(transform, BaseCompose):
        for part in transform.transforms:
            check_labels_survive(part, ignore_index, name)
        return
    for kind, reason in REFUSED.items():
        if isinstance(transform, kind):
            raise ValueError(f"{name}: {reason}")
    settings = vars(transform)
    interpolation = settings.get("mask_interpolation", cv2.INTER_NEAREST)
    if interpolation not in (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT):
        raise ValueError(
            f"{name}: mask_interpolation={interpolation} blends labels into others; "
            f"set {cv2.INTER_NEAREST} or {cv2.INTER_NEAREST_EXACT} (nearest)"
        )
    if settings.get("area_for_downscale") == "image_mask":
        raise ValueError(f"{name}: area_for_downscale='image_mask' blends labels into others; set 'image'")
    fills = settings.get("border_mode", cv2.BORDER_CONSTANT) == cv2.BORDER_CONSTANT
    fills = fills and settings.get("pad_if_needed", True)
    for argument in MASK_FILLS:
        label = settings.get(argument)
        if fills and label is not None and not (np.asarray(label) == ignore_index).all():
            raise ValueError(
                f"{name}: {argument}={label} labels pixels that it makes up as class {label}; "
                f"set it to ignore_index, {ignore_index}"
            )
    if settings.get("ignore_index", ignore_index) != ignore_index:
        raise ValueError(f"{name}: ignore_index={settings['ignore_index']}, but the data set's is {ignore_index}")


class RandomCrop(DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Cuts out a window of the given size, or the image's where that is smaller, at a random place.

    With `cat_max_ratio` below 1 it looks for a window with some variety: one in which there are two classes
    or more and none covers that share of the valid pixels. It draws again at most ten times and takes the
    last window whatever it shows, much as MMSegmentation does.

    Args:
        height: Rows of the window.
        width: Columns of the window.
        cat_max_ratio: The share of valid pixels, in (0, 1], at which a class is too much. 1: any window
            will do.
        ignore_index: The label of void, which is not valid; must be that of the data set.
        p: The probability of cropping.

    Raises:
        ValueError: If a size is not positive or `cat_max_ratio` is out of its range.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(
        self, height: int, width: int, cat_max_ratio: float = 1.0, ignore_index: int = 255, p: float = 1.0
    ) -> None:
        super().__init__(p=p)
        if height < 1 or width < 1:
            raise ValueError(f"RandomCrop: height and width must be at least 1, got {height} and {width}")
        if not 0.0 < cat_max_ratio <= 1.0:
            raise ValueError(f"RandomCrop: cat_max_ratio must be in (0, 1], got {cat_max_ratio}")
        self.height = height
        self.width = width
        self.cat_max_ratio = cat_max_ratio
        self.ignore_index = ignore_index

    @property
    def targets_as_params(self) -> list[str]:
        """Says that the window depends on the labels."""
        return ["mask"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The window as a pair of slices."""
        labels = data["mask"]
        return {"window": self.drawn(labels.shape, lambda window: labels[window])}

    def drawn(self, shape: tuple[int, ...], cut: Callable[[Window], np.ndarray]) -> Window:
        """A window of labels of some height and width, of which `cut` gives a part."""
        window = self._draw(shape)
        for _ in range(CROP_RETRIES):
            if self.cat_max_ratio == 1.0 or self._has_variety(cut(window)):
                break
            window = self._draw(shape)
        return window

    def apply(self, img: np.ndarray, window: Window, **params: Any) -> np.ndarray:
        """The window of the image."""
        return img[window]

    def apply_to_mask(self, mask: np.ndarray, window: Window, **params: Any) -> np.ndarray:
        """The window of the labels."""
        return mask[window]

    def _draw(self, shape: tuple[int, ...]) -> Window:
        height, width = min(self.height, shape[0]), min(self.width, shape[1])
        top = self.py_random.randint(0, shape[0] - height)
        left = self.py_random.randint(0, shape[1] - width)
        return slice(top, top + height), slice(left, left + width)

    def _has_variety(self, labels: Integer[np.ndarray, "height width"]) -> bool:
        if labels.dtype == np.uint8 and 0 <= self.ignore_index < 256:
            # Several times quicker than the general way. Its counts are exact up to 2**24 pixels.
            pixels = cv2.calcHist([labels], [0], None, [256], [0, 256]).ravel()
            pixels[self.ignore_index] = 0
        else:
            pixels = np.bincount(labels[labels != self.ignore_index])
        return bool((pixels > 0).sum() > 1 and pixels.max() < self.cat_max_ratio * pixels.sum())


class ScaledCrop(DualTransform):  # type: ignore[misc]  # as above
    """A scaling and the crop that follows it as one, which scales no more than the window.

    Draws the same random numbers as the two would, and so takes the same window; the labels are the same to the pixel,
    and the image to a grey value or so, see `seglit.data.windows.linear_window`.

    Args:
        scale: The scaling, bilinear.
        crop: The crop.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, scale: RandomScale, crop: RandomCrop) -> None:
        super().__init__(p=1.0)
        self.scale = scale
        self.crop = crop

    def set_random_state(self, random_generator: np.random.Generator, py_random: random.Random) -> None:
        """Makes both parts draw from the same generators."""
        super().set_random_state(random_generator, py_random)
        for part in (self.scale, self.crop):
            part.set_random_state(random_generator, py_random)

    @property
    def targets_as_params(self) -> list[str]:
        """Says that the window depends on the labels."""
        return ["mask"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The size of the whole after scaling, the source of its rows and columns, and the window."""
        labels = data["mask"]
        factor = self.scale.get_params()["scale"] if self.scale.should_apply() else 1.0
        size = tuple(int(side * factor) for side in labels.shape)
        rows, columns = (
            source_places(side, scaled, self.scale.mask_interpolation)
            for side, scaled in zip(labels.shape, size, strict=True)
        )
        window: Window = (slice(0, size[0]), slice(0, size[1]))
        if self.crop.should_apply():
            window = self.crop.drawn(size, lambda part: nearest_window(labels, rows, columns, part))
        return {"size": size, "rows": rows, "columns": columns, "window": window}

    def apply(self, img: np.ndarray, size: tuple[int, int], window: Window, **params: Any) -> np.ndarray:
        """The window of the scaled image."""
        return linear_window(img, size, window)

    def apply_to_mask(
        self, mask: np.ndarray, rows: np.ndarray, columns: np.ndarray, window: Window, **params: Any
    ) -> np.ndarray:
        """The window of the scaled labels."""
        return nearest_window(mask, rows, columns, window)


class PhotoMetricDistortion(ImageOnlyTransform):  # type: ignore[misc]  # as above
    """Random brightness, contrast, saturation and hue, each with probability a half.

    Contrast comes right after brightness or at the end, with equal chance. Distributions and roundings are
    those of MMSegmentation's transform of this name, but for two things: saturation and hue share one trip
    to HSV and back, which loses less to rounding, and a hue shift of `+hue_delta` is drawn as well as
    `-hue_delta`.

    Args:
        brightness_delta: Greatest shift of all channels, in grey values.
        contrast_range: Least and greatest factor of all channels.
        saturation_range: Least and greatest factor of saturation.
        hue_delta: Greatest shift of hue, in steps of 2 degrees.
        p: The probability of doing anything.

    Raises:
        ValueError: If a shift is negative or a range is not positive and in order.
    """

    def __init__(
        self,
        brightness_delta: float = 32.0,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: int = 18,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p)
        if brightness_delta < 0 or hue_delta < 0:
            raise ValueError(
                "PhotoMetricDistortion: brightness_delta and hue_delta must not be negative, "
                f"got {brightness_delta} and {hue_delta}"
            )
        for name, limits in (("contrast_range", contrast_range), ("saturation_range", saturation_range)):
            if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
                raise ValueError(f"PhotoMetricDistortion: {name} must be two factors in order, got {limits}")
        self.brightness_delta = brightness_delta
        self.contrast_range = contrast_range
        self.saturation_range = saturation_range
        self.hue_delta = hue_delta

    def get_params(self) -> dict[str, Any]:
        """The four changes, neutral where one is left out, and whether contrast comes early."""
        draw = self.py_random
        changes = [draw.random() < 0.5 for _ in range(4)]
        return {
            "early_contrast": draw.random() < 0.5,
            "brightness": draw.uniform(-self.brightness_delta, self.brightness_delta) if changes[0] else 0.0,
            "contrast": draw.uniform(*self.contrast_range) if changes[1] else 1.0,
            "saturation": draw.uniform(*self.saturation_range) if changes[2] else 1.0,
            "hue": draw.randint(-self.hue_delta, self.hue_delta) if changes[3] else 0,
        }

    def apply(
        self,
        img: UInt8[np.ndarray, "height width 3"],
        early_contrast: bool,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: int,
        **params: Any,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The distorted image. Values beyond 0 .. 255 are cut off, fractions dropped, after each change."""
        grey = _truncated(np.arange(256) + brightness)
        if early_contrast:
            grey = _truncated(grey * contrast)
        if brightness != 0.0 or (early_contrast and contrast != 1.0):
            img = cv2.LUT(img, grey)
        if saturation != 1.0 or hue != 0:
            steps = np.arange(256)
            hues, saturations, values = cv2.split(cv2.cvtColor(img, cv2.COLOR_RGB2HSV))
            hues = cv2.LUT(hues, ((steps + hue) % 180).astype(np.uint8))
            saturations = cv2.LUT(saturations, _truncated(steps * saturation))
            img = cv2.cvtColor(cv2.merge([hues, saturations, values]), cv2.COLOR_HSV2RGB)
        if not early_contrast and contrast != 1.0:
            img = cv2.LUT(img, _truncated(np.arange(256) * contrast))
        return img


def _joined(transforms: Sequence[BasicTransform | BaseCompose]) -> list[BasicTransform | BaseCompose]:
    """The transforms, each bilinear scaling together with the crop right after it."""
    joined: list[BasicTransform | BaseCompose] = []
    for transform in transforms:
        before = joined[-1] if joined else None
        # Of these very classes: a class made from one of them may do something else.
        if type(transform) is RandomCrop and type(before) is RandomScale and _is_bilinear(before):
            joined[-1] = ScaledCrop(before, transform)
        else:
            joined.append(transform)
    return joined


def _is_bilinear(scale: RandomScale) -> bool:
    return scale.interpolation == cv2.INTER_LINEAR and scale.area_for_downscale is None


def _truncated(values: np.ndarray) -> UInt8[np.ndarray, " values"]:
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)


def _kind(array: object) -> str:
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    return type(array).__name__ if shape is None else f"{dtype} of shape {tuple(shape)}"
