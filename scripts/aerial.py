"""Large aerial images with coloured labels, cut to windows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from preparation import save_mask

Colour = tuple[int, int, int]


def write_windows(
    image: np.ndarray, labels: np.ndarray, folder: Path, split: str, tile: str, size: int, step: int
) -> int:
    """Write images/{split} and masks/{split} of a tile, named by tile, top and left; how many there are."""
    places = list(windows(*labels.shape, size, step))
    for top, left in places:
        place = (slice(top, top + size), slice(left, left + size))
        target = folder / "images" / split / f"{tile}_{top}_{left}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[place]).save(target)
        save_mask(folder / "masks" / split / target.name, labels[place])
    return len(places)


def read_pair(image: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image and its coloured labels.

    Raises:
        ValueError: names both where their sizes differ.
    """
    pixels, colours = read(image), read(mask)
    if pixels.shape != colours.shape:
        raise ValueError(f"{image}: is {pixels.shape[:2]}, but its label {mask} is {colours.shape[:2]}")
    return pixels, colours


def read(path: Path) -> np.ndarray:
    """Three channels of 8 bits."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def to_labels(colours: np.ndarray, path: Path, palette: Sequence[Colour], tolerance: int = 0) -> np.ndarray:
    """The place of each pixel's colour in the palette; grey values of a channel may differ by the tolerance.

    Raises:
        ValueError: names the file, the pixel and the colour that is none.
    """
    labels = np.full(colours.shape[:2], len(palette), np.uint8)
    for label, colour in enumerate(palette):
        labels[(np.abs(colours.astype(np.int16) - colour) <= tolerance).all(-1)] = label
    unknown = np.argwhere(labels == len(palette))
    if len(unknown):
        row, column = unknown[0].tolist()
        colour = colours[row, column].tolist()
        raise ValueError(f"{path}: row {row}, column {column} has the colour {colour}, which is no class's")
    return labels


def windows(height: int, width: int, size: int, step: int) -> Iterator[tuple[int, int]]:
    """Top left corners of windows that cover the tile."""
    for top in starts(height, size, step):
        for left in starts(width, size, step):
            yield top, left


def starts(length: int, size: int, step: int) -> list[int]:
    """Where windows begin along one side; the last is shifted back inside."""
    last = max(length - size, 0)
    return sorted({*range(0, last + 1, step), last})
