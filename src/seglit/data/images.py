"""Reading images."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from seglit.data.errors import DataError


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """An 8-bit image as red, green, blue, turned as its EXIF orientation says, as viewers show it.

    Grey images give three equal channels, palette images their colours; transparency is dropped.

    Raises:
        DataError: Names the file, if it cannot be read or has more than 8 bits a channel. Those are not
            scaled here: the range that they use is known to their owner alone (12 bits in 16 would come out
            black).
    """
    try:
        # Not cv2.imread, which cannot open every name that a file may have on Windows.
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    except (OSError, cv2.error) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from error
    if pixels is None:
        raise DataError(f"{path}: cannot be read as an image; is the file damaged or incomplete?")
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{path}: has values of type {pixels.dtype}; images must have 8 bits a channel: "
            "scale them from the range that they use to 0 .. 255 and save them anew"
        )
    return pixels
