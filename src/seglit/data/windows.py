"""A window of a scaled image, without scaling the rest of it."""

import cv2
import numpy as np
from jaxtyping import Int, Integer, UInt8

Window = tuple[slice, slice]


def source_places(source: int, target: int, interpolation: int) -> Int[np.ndarray, " target"]:
    """Which pixel of a row each pixel of the scaled row is taken from, by OpenCV's nearest-neighbour rules.

    Args:
        source: Pixels of the row.
        target: Pixels of the scaled row.
        interpolation: `cv2.INTER_NEAREST` or `cv2.INTER_NEAREST_EXACT`.
    """
    places: np.ndarray = cv2.resize(np.arange(source, dtype=np.float64)[None], (target, 1), interpolation=interpolation)
    return places[0].astype(np.int64)


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
    return np.take(labels[rows[window[0]]], columns[window[1]], axis=1)


def linear_window(
    image: UInt8[np.ndarray, "height width 3"], size: tuple[int, int], window: Window
) -> UInt8[np.ndarray, "window_height window_width 3"]:
    """The window of the image after scaling it to `size` by bilinear interpolation.

    Each pixel is taken where `cv2.resize` would take it, to a 64th of a pixel, the step of `cv2.warpAffine`; so it
    is another by a grey value or so at edges.

    Args:
        image: The image as it is stored.
        size: Height and width of the scaled image.
        window: The part of it to make.
    """
    if size == image.shape[:2]:
        return image[window]
    steps = [stored / scaled for stored, scaled in zip(image.shape, size, strict=False)]
    starts = [(part.start + 0.5) * step - 0.5 for part, step in zip(window, steps, strict=True)]
    matrix = np.array([[steps[1], 0.0, starts[1]], [0.0, steps[0], starts[0]]])
    shape = (window[1].stop - window[1].start, window[0].stop - window[0].start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
