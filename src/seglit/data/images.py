"""Reading images."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from seglit.data.errors import DataError

MAX_PIXELS = 178_956_970
"""More pixels than this Pillow, too, takes for a bomb: they would fill half a gigabyte of memory."""


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


def open_pixels(path: Path, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "height width 3"]:
    """An image of any size: as `read_image`, or a `.npy` file of 8-bit red, green, blue, which stays on the disk.

    Args:
        path: of the file.
        max_pixels: so many pixels are believed to be a picture.

    Raises:
        DataError: as `read_image`; where a `.npy` file holds something else; where an image has more pixels, as a small
            file that unpacks to fill the memory may be damaged or an attack.
    """
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as an array ({error})") from error
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise DataError(
                f"{path}: has shape {array.shape} and type {array.dtype}; an image is (height, width, 3) of uint8"
            )
        return np.asarray(array)
    count = pixel_count(path)
    if count is not None and count > max_pixels:
        raise DataError(
            f"{path}: has {count} pixels, more than {max_pixels}, and may be damaged or made to fill the memory; "
            f"if it is yours, give --max-pixels {count}, and a --window unless the net can take it whole"
        )
    return read_image(path)


def pixel_count(path: Path) -> int | None:
    """How many pixels a file says that it has; None if Pillow, which tells without unpacking, does not know."""
    believed = Image.MAX_IMAGE_PIXELS
    # Pillow refuses to open a large image; here nothing is unpacked, and the caller has a limit of its own.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (OSError, SyntaxError, ValueError):
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = believed
