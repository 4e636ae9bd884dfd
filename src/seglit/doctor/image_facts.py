"""What there is to know of one image."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from seglit.data.errors import DataError
from seglit.data.images import read_image
from seglit.doctor.headers import Header, read_header


@dataclass(frozen=True)
class ImageFacts:
    """An image file, as training reads it and as it is.

    Attributes:
        digest: SHA-256 of the file; empty if it cannot be opened.
        header: What it says of itself.
        error: What training would say, without the path; None if it reads the image.
        width: After EXIF orientation, in pixels; 0 if there is an error.
        height: Likewise.
        pixels: SHA-256 of size and pixels, the same for two files that show the same.
        look: 64 bits that are much the same for two versions of a picture, see `look_of`.
        mean: Of red, green and blue, 0 to 255.
        std: Likewise; all zero if the image is of one colour.
    """

    digest: str
    header: Header
    error: str | None = None
    width: int = 0
    height: int = 0
    pixels: str = ""
    look: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def image_facts(path: Path, content: bytes) -> ImageFacts:
    """The facts of the image file with that content."""
    digest, header = hashlib.sha256(content).hexdigest(), read_header(content)
    try:
        image = read_image(path)
    except DataError as error:
        return ImageFacts(digest, header, str(error).removeprefix(f"{path}: "))
    height, width = image.shape[:2]
    mean, std = cv2.meanStdDev(image)
    shape = f"{height} {width} ".encode()
    return ImageFacts(
        digest,
        header,
        None,
        width,
        height,
        hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).hexdigest(),
        look_of(image),
        tuple(round(float(value), 3) for value in mean.ravel()),
        tuple(round(float(value), 3) for value in std.ravel()),
    )


def look_of(image: UInt8[np.ndarray, "height width 3"]) -> int:
    """64 bits of what an image looks like from afar: the signs of its lowest frequencies against their median.

    Another encoding or another size of the picture changes a few of them. Of an image of one colour they mean nothing.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    waves = cv2.dct(small)[:8, :8].ravel()
    signs = waves > np.median(waves[1:])
    return int.from_bytes(np.packbits(signs).tobytes(), "big")
