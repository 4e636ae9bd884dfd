"""The numbers of a data set: shares of classes, void, sizes of images and of objects."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from seglit.doctor.mask_facts import Bins
from seglit.doctor.survey import Survey


@dataclass(frozen=True)
class Numbers:
    """Counts over all masks without a fault, by part where they are of a part.

    Attributes:
        classes: The names of the classes.
        pixels: Of each part, pixels of each class.
        images: Of each part, images in which each class occurs.
        void: Of each part, the share of void in each image, 0 to 1.
        sizes: Of each part, width and height of each image that can be read.
        areas: Of each class, objects of all parts by the power of two of their pixels.
        sides: Likewise by that of the longer side of their box.
        borders: The share of pixels with another label to the right or below.
        mean: Of the training images' red, green and blue, 0 to 255; NaN if there are none.
        std: Likewise, over all pixels.
    """

    classes: list[str]
    pixels: dict[str, Int64[np.ndarray, " classes"]]
    images: dict[str, Int64[np.ndarray, " classes"]]
    void: dict[str, Float64[np.ndarray, " _"]]
    sizes: dict[str, Int64[np.ndarray, "_ 2"]]
    areas: list[Bins]
    sides: list[Bins]
    borders: float
    mean: Float64[np.ndarray, " 3"]
    std: Float64[np.ndarray, " 3"]

    @property
    def shares(self) -> Float64[np.ndarray, " classes"]:
        """Of each class, the share of all training pixels that are not void; NaN where there are none."""
        return shares_of(self.pixels["train"] if "train" in self.pixels else np.zeros(len(self.classes), np.int64))

    @property
    def void_share(self) -> float:
        """The mean share of void over the training images; NaN without any."""
        return float(self.void["train"].mean()) if self.void.get("train", np.zeros(0)).size else float("nan")


def numbers_of(known: Survey) -> Numbers:
    """The numbers of a survey."""
    count, void = known.data.num_classes, known.data.ignore_index
    classes = [label for label in range(count) if label != void]
    areas: list[Bins] = [{} for _ in range(count)]
    sides: list[Bins] = [{} for _ in range(count)]
    pixels, images, voids, sizes = {}, {}, {}, {}
    borders = everything = 0
    for part, items in known.parts.items():
        pixels[part], images[part] = np.zeros(count, np.int64), np.zeros(count, np.int64)
        good = [item.mask for item in items if not item.mask.error and not item.mask.unknown]
        for mask in good:
            for label in classes:
                pixels[part][label] += mask.pixels.get(label, 0)
                images[part][label] += label in mask.pixels
                add(areas[label], mask.areas.get(label, {}))
                add(sides[label], mask.sides.get(label, {}))
            borders += mask.borders
            everything += mask.width * mask.height
        voids[part] = np.array([mask.pixels.get(void, 0) / (mask.width * mask.height) for mask in good], np.float64)
        readable = [(item.image.width, item.image.height) for item in items if not item.image.error]
        sizes[part] = np.array(readable, np.int64).reshape(-1, 2)
    mean, std = colours(known)
    return Numbers(
        known.data.classes, pixels, images, voids, sizes, areas, sides, borders / max(everything, 1), mean, std
    )


def colours(known: Survey) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " 3"]]:
    """Mean and standard deviation of all pixels of the training images."""
    facts = [item.image for item in known.parts.get("train", []) if not item.image.error]
    if not facts:
        return np.full(3, np.nan), np.full(3, np.nan)
    weights = np.array([fact.width * fact.height for fact in facts], np.float64)
    means, stds = np.array([fact.mean for fact in facts]), np.array([fact.std for fact in facts])
    mean = np.average(means, axis=0, weights=weights)
    return mean, np.sqrt(np.average(stds**2 + (means - mean) ** 2, axis=0, weights=weights))


def add(total: Bins, more: Bins) -> None:
    """Add counts to a total."""
    for power, count in more.items():
        total[power] = total.get(power, 0) + count


def shares_of(pixels: Int64[np.ndarray, " classes"]) -> Float64[np.ndarray, " classes"]:
    """Counts as shares of their sum; NaN where that is nothing."""
    total = pixels.sum()
    return pixels / total if total else np.full(len(pixels), np.nan)


def middle(power: int) -> float:
    """The geometric middle of a power of two; of the smallest, where 1 is alone, itself."""
    return 2.0 ** (power + 0.5) if power else 1.0


def typical(bins: Bins, share: float = 0.5) -> float:
    """The size of objects up to which a share of all their pixels lies, to within its power of two; NaN without any.

    So that specks do not count, of which there may be many more than of objects. Of areas; of lengths it is a share of
    all lengths.
    """
    weights = {power: count * middle(power) for power, count in sorted(bins.items())}
    total, seen = sum(weights.values()), 0.0
    for power, weight in weights.items():
        seen += weight
        if seen >= share * total * (1 - 1e-12):
            return middle(power)
    return float("nan")


def numbers_as_data(numbers: Numbers) -> dict[str, Any]:
    """The numbers for machines."""
    sizes = np.concatenate([*numbers.sizes.values(), np.zeros((0, 2), np.int64)])
    found, counts = np.unique(sizes, axis=0, return_counts=True)
    return {
        "classes": numbers.classes,
        "pixels": {part: values.tolist() for part, values in numbers.pixels.items()},
        "images_with_class": {part: values.tolist() for part, values in numbers.images.items()},
        "images": {part: len(values) for part, values in numbers.sizes.items()},
        "void_share": {part: round(float(v.mean()), 6) if v.size else None for part, v in numbers.void.items()},
        "image_sizes": [[int(w), int(h), int(count)] for (w, h), count in zip(found, counts, strict=True)],
        "objects_by_log2_of_pixels": [dict(sorted(bins.items())) for bins in numbers.areas],
        "objects_by_log2_of_longer_side": [dict(sorted(bins.items())) for bins in numbers.sides],
        "border_share": round(numbers.borders, 6),
        "mean": [None if value != value else round(float(value), 3) for value in numbers.mean],
        "std": [None if value != value else round(float(value), 3) for value in numbers.std],
    }
