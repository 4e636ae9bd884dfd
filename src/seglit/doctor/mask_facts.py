"""What there is to know of one mask."""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Integer
from PIL import Image

from seglit.data.errors import DataError
from seglit.data.masks import MaskReader, read_indices
from seglit.doctor.headers import Header, read_header

LISTED = 64
"""So many of a mask's colours, and of its values that mean nothing, are kept."""
Bins = dict[int, int]
"""How many there are by the power of two, rounded down."""


@dataclass(frozen=True)
class MaskFacts:
    """A mask file, as training reads it and as it is.

    Attributes:
        digest: SHA-256 of the file; empty if it cannot be opened.
        header: What it says of itself.
        error: What is wrong with the file, without the path; None if training can read its raw values.
        width: After EXIF orientation, in pixels; 0 if there is an error.
        height: Likewise.
        values: Pixels of each raw value.
        unknown: Row and column of the first pixel of each raw value that means nothing, of the first `LISTED`.
        labels: SHA-256 of size and raw values.
        colours: Of a file of colours, or with a palette: up to `LISTED` that occur. With a palette in the order of
            `values`.
        indices: Whether the file could be read as class indices.
        pixels: Pixels of each label, void included.
        borders: Pixels with another label to the right or below.
        areas: Of each class, how many connected objects there are by the power of two of their pixels.
        sides: Likewise by that of the longer side of their box.
    """

    digest: str
    header: Header
    error: str | None = None
    width: int = 0
    height: int = 0
    values: dict[int, int] = field(default_factory=dict)
    unknown: dict[int, tuple[int, int]] = field(default_factory=dict)
    labels: str = ""
    colours: tuple[tuple[int, ...], ...] = ()
    indices: bool = True
    pixels: dict[int, int] = field(default_factory=dict)
    borders: int = 0
    areas: dict[int, Bins] = field(default_factory=dict)
    sides: dict[int, Bins] = field(default_factory=dict)

    @property
    def objects(self) -> int:
        """Connected objects of all classes."""
        return sum(sum(bins.values()) for bins in self.areas.values())


def mask_facts(path: Path, content: bytes, read_mask: MaskReader) -> MaskFacts:
    """The facts of the mask file with that content, read as training reads it."""
    digest, header = hashlib.sha256(content).hexdigest(), read_header(content)
    try:
        raw = read_mask.raw(path)
    except DataError as error:
        words = str(error).removeprefix(f"{path}: ")
        colours, values = ((), {}) if header.damage else (colours_of(content), values_of(path))
        return MaskFacts(digest, header, words, colours=colours, indices=bool(values), values=values)
    counts = np.bincount(raw.ravel())
    values = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    meanings = dict(zip(values, read_mask.table.meanings(np.array(list(values))), strict=True))
    unknown = [value for value, label in meanings.items() if label is None][:LISTED]
    pixels: dict[int, int] = {}
    for value, label in meanings.items():
        if label is not None:
            pixels[label] = pixels.get(label, 0) + values[value]
    borders, areas, sides = 0, {}, {}
    if not unknown:
        labels = read_mask.table(raw, path)
        borders = int((labels[:, 1:] != labels[:, :-1]).sum() + (labels[1:] != labels[:-1]).sum())
        classes = [label for label in sorted(pixels) if label != read_mask.table.ignore_index]
        areas, sides = objects_of(labels, classes)
    height, width = raw.shape
    return MaskFacts(
        digest,
        header,
        None,
        width,
        height,
        values,
        {value: first_pixel(raw, value) for value in unknown},
        hashlib.sha256(f"{height} {width} {raw.dtype}".encode() + np.ascontiguousarray(raw).tobytes()).hexdigest(),
        palette_colours(content, list(values)) if header.mode == "P" else (),
        True,
        pixels,
        borders,
        areas,
        sides,
    )


def first_pixel(raw: Integer[np.ndarray, "height width"], value: int) -> tuple[int, int]:
    """Row and column of the first pixel of a value."""
    row, column = divmod(int((raw == value).argmax()), raw.shape[1])
    return row, column


def objects_of(labels: Integer[np.ndarray, "height width"], classes: list[int]) -> tuple[dict[int, Bins], ...]:
    """For each class, its connected objects by area and by longer side, see `MaskFacts`."""
    areas, sides = {}, {}
    for label in classes:
        _, _, boxes, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        objects = boxes[1:]  # the first is the rest of the image
        areas[label] = in_bins(objects[:, cv2.CC_STAT_AREA])
        sides[label] = in_bins(objects[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1))
    return areas, sides


def in_bins(sizes: Integer[np.ndarray, " objects"]) -> Bins:
    """How many sizes there are by the power of two, rounded down."""
    powers, counts = np.unique(np.log2(sizes).astype(int), return_counts=True)
    return dict(zip(powers.tolist(), counts.tolist(), strict=True))


def colours_of(content: bytes) -> tuple[tuple[int, ...], ...]:
    """Up to `LISTED` colours of a readable image, the commonest first."""
    with Image.open(io.BytesIO(content)) as file:
        pixels = np.asarray(file.convert("RGB"), dtype=np.int64) if file.mode != "F" else np.zeros((0, 3), np.int64)
    packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    found, counts = np.unique(packed, return_counts=True)
    common = found[np.argsort(-counts)[:LISTED]].tolist()
    return tuple((colour >> 16, colour >> 8 & 255, colour & 255) for colour in common)


def palette_colours(content: bytes, values: list[int]) -> tuple[tuple[int, ...], ...]:
    """The colours that a palette file shows for its values; black for one without."""
    with Image.open(io.BytesIO(content)) as file:
        palette = file.getpalette("RGB") or []
    padded = [*palette, *[0] * (768 - len(palette))]
    return tuple(tuple(padded[3 * value : 3 * value + 3]) for value in values)


def values_of(path: Path) -> dict[int, int]:
    """Pixels of each value of a file that may be one of class indices; none where it is not."""
    try:
        counts = np.bincount(read_indices(path).ravel())
    except DataError:
        return {}
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
