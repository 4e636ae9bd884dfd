"""From one image file to its labels and its overlay, by bands of rows: nothing of full size but the stored pixels."""

import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from torch import nn

from seglit.crops import PixelCrops
from seglit.inference import Inference
from seglit.pictures import Palette, overlay
from seglit.png_rows import COLOUR, label_rows, png_rows

OVERLAY_PIXELS = 2**26
"""An overlay of more pixels is reduced by a whole factor."""


def write_predictions(
    net: nn.Module,
    inference: Inference,
    crops: PixelCrops,
    labels: Path,
    overlaid: Path | None,
    palette: Palette,
    ignore_index: int,
) -> None:
    """Predict an image and write its labels, and its overlay, as they come.

    Beside the stored pixels, what lies in memory at a time is the windows that the net sees, the logits of two or
    three rows of windows at the head's stride, and 64 rows of labels; if the image is read whole, its logits.

    Args:
        net: In eval mode.
        inference: How it reads the image.
        crops: The image.
        labels: A PNG of class numbers, see `seglit.pictures.save_labels`.
        overlaid: A PNG of the image with its labels over it. Of more than 2^26 pixels, every second, third, ... row and
            column is shown, so that there are no more. None: not written.
        palette: A colour for each class.
        ignore_index: See `seglit.pictures.overlay`.
    """
    height, width = crops.size
    step = overlay_step(crops.size)
    with ExitStack() as files:
        label_file = files.enter_context(label_rows(labels, crops.size, palette))
        small = (math.ceil(height / step), math.ceil(width / step))
        overlay_file = None if overlaid is None else files.enter_context(png_rows(overlaid, small, COLOUR))
        for top, band in inference.bands(net, crops, crops.size):
            found = band[0].cpu().numpy()
            label_file.write(found.astype(np.uint8 if len(palette) <= 256 else np.uint16))
            if overlay_file is not None:
                first = -top % step
                shown = reduced(crops.pixels[top : top + len(found)], first, step)
                overlay_file.write(overlay(shown, found[first::step, ::step], palette, ignore_index))


def reduced(pixels: UInt8[np.ndarray, "_ _ 3"], first: int, step: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """Every so many rows, from the first, and columns."""
    return np.asarray(pixels[first::step, ::step])


def overlay_step(size: tuple[int, int]) -> int:
    """By which factor an overlay is reduced."""
    return math.ceil(math.sqrt(size[0] * size[1] / OVERLAY_PIXELS))
