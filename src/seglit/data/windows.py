"""A window of a scaled image, without scaling the rest of it."""

import math

import cv2
import numpy as np
from jaxtyping import Int, Integer, UInt8

Window = tuple[slice, slice]
TOLERANCE = 1 / 32
"""Of the place that a scaled pixel is taken from, in stored pixels; the step of `cv2.warpAffine`."""
REACH = 48
"""Scaled pixels beyond a window among which to look for a border that is one in the stored image as well."""


def source_places(source: int, target: int, interpolation: int) -> Int[np.ndarray, " target"]:
    """Which pixel of a row each pixel of the scaled row is taken from, by OpenCV's nearest-neighbour rules.

    Args:
        source: Pixels of the row.
        target: Pixels of the scaled row.
        interpolation: `cv2.INTER_NEAREST` or `cv2.INTER_NEAREST_EXACT`.
    """
    places: np.ndarray = cv2.resize(np.arange(source, dtype=np.float64)[None], (target, 1), interpolation=interpolation)
    whole: np.ndarray = places[0].astype(np.int64)
    return whole


def nearest_window(
    labels: Integer[np.ndarray, "height width"],
    rows: Int[np.ndarray, " scaled_height"],
    columns: Int[np.ndarray, " scaled_width"],
    window: Window,
) -> Integer[np.ndarray, "window_height window_width"]:
    """The window of the scaled labels, to the pixel.

    Args:
        labels: The labels as they are stored.
        rows: The source of each scaled row, see `source_places`.
        columns: The source of each scaled column.
        window: The part of the scaled labels to make.
    """
    taken: np.ndarray = np.take(labels[rows[window[0]]], columns[window[1]], axis=1)
    return taken


def linear_window(
    image: UInt8[np.ndarray, "height width 3"], size: tuple[int, int], window: Window
) -> UInt8[np.ndarray, "window_height window_width 3"]:
    """The window of the image after scaling it to `size` by bilinear interpolation.

    Each pixel is taken where `cv2.resize` of the whole takes it, to a 32nd of a stored pixel.

    Args:
        image: The image as it is stored.
        size: Height and width of the scaled image.
        window: The part of it to make.
    """
    if size == image.shape[:2]:
        return image[window]
    parts = [_part(stored, scaled, piece) for stored, scaled, piece in zip(image.shape, size, window, strict=False)]
    if parts[0] is None or parts[1] is None:
        return _warped_window(image, size, window)
    (rows, height, top), (columns, width, left) = parts[0], parts[1]
    scaled_part = cv2.resize(image[rows, columns], (width, height), interpolation=cv2.INTER_LINEAR)
    wanted = [
        slice(skipped, skipped + piece.stop - piece.start) for skipped, piece in zip((top, left), window, strict=True)
    ]
    return np.ascontiguousarray(scaled_part[wanted[0], wanted[1]])


def _part(stored: int, scaled: int, piece: slice) -> tuple[slice, int, int] | None:
    """A part of an axis whose scaled pixels lie where those of the scaled axis do, and that reaches beyond `piece`.

    Returns:
        The part, its length when scaled, and how much of that is before `piece`; None where there is none near.
    """
    step = stored / scaled
    margin = math.ceil(0.5 / step)  # as pixels at the ends of a part do not see their neighbours beyond
    first = _end(max(0, piece.start - margin), max(-1, piece.start - margin - REACH), step)
    last = _end(min(scaled, piece.stop + margin), min(scaled + 1, piece.stop + margin + REACH), step)
    if first is None or last is None or round(last * step) <= round(first * step):
        return None
    return slice(round(first * step), round(last * step)), last - first, piece.start - first


def _end(nearest: int, beyond: int, step: float) -> int | None:
    """The first border between scaled pixels, from `nearest` on, that is one between stored ones as well, or almost."""
    for border in range(nearest, beyond, 1 if beyond > nearest else -1):
        if abs(border * step - round(border * step)) <= TOLERANCE:
            return border
    return None


def _warped_window(image: np.ndarray, size: tuple[int, int], window: Window) -> np.ndarray:
    """The same for any window; it takes several times as long."""
    steps = [stored / scaled for stored, scaled in zip(image.shape, size, strict=False)]
    starts = [(piece.start + 0.5) * step - 0.5 for piece, step in zip(window, steps, strict=True)]
    matrix = np.array([[steps[1], 0.0, starts[1]], [0.0, steps[0], starts[0]]])
    shape = (window[1].stop - window[1].start, window[0].stop - window[0].start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped: np.ndarray = cv2.warpAffine(image, matrix, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return warped
