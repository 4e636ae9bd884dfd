"""Files that are damaged, odd, or do not fit their partner."""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from seglit.data.errors import DataError
from seglit.data.images import read_image
from seglit.doctor.findings import Finding, Place, finding
from seglit.doctor.survey import Item, Survey

DEEP = ("F", "I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of more than 8 bits."""
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that change width and height."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BETTER = 1.25
"""So many times the contrast along the mask's borders tells which way up the mask is."""


def file_findings(known: Survey) -> list[Finding]:
    """What is wrong with single files, and with an image and its mask together."""
    return [*image_findings(known), *shape_findings(known)]


def image_findings(known: Survey) -> list[Finding]:
    """Images that cannot be read, or not as their owner may think."""
    items = known.items

    def images(chosen: Callable[[Item], bool], value: Callable[[Item], str | None] = lambda item: None) -> list[Place]:
        return [Place(item.pair.image, value=value(item)) for item in items if chosen(item)]

    def deep(item: Item) -> bool:
        return item.image.header.mode in DEEP or "values of type" in (item.image.error or "")

    def broken(item: Item) -> bool:
        return item.image.error is None and item.image.header.damage is not None

    def cut(item: Item) -> bool:
        return broken(item) and "truncated" in str(item.image.header.damage)

    return [
        *finding(
            "image-unreadable",
            "images that cannot be read",
            "get the files anew, or take them and their masks out",
            images(
                lambda item: item.image.error is not None and not deep(item),
                lambda item: item.image.header.damage or item.image.error,
            ),
        ),
        *finding(
            "image-not-8-bit",
            "images with more than 8 bits a channel",
            "scale them from the range that they use to 0 .. 255, and save them anew",
            images(
                lambda item: item.image.error is not None and deep(item),
                lambda item: f"mode {item.image.header.mode or 'unknown'}",
            ),
        ),
        *finding(
            "image-damaged",
            "images are cut short; what is missing would be trained on as grey or black",
            "get the files anew, or take them and their masks out",
            images(cut, lambda item: item.image.header.damage),
        ),
        *finding(
            "image-damaged",
            "images are damaged where training does not look, but other programs refuse them",
            "get the files anew",
            images(lambda item: broken(item) and not cut(item), lambda item: item.image.header.damage),
            fault=False,
        ),
        *finding(
            "image-transparent",
            "images have transparent pixels; transparency is dropped, and what lies beneath is trained on",
            "lay them on the ground that they shall have, or make these pixels void in the masks",
            images(
                lambda item: item.image.error is None and item.image.header.transparent > 0,
                lambda item: f"{item.image.header.transparent} pixels",
            ),
            fault=False,
        ),
        *finding(
            "image-of-several-pages",
            "files hold several pictures, of which the first alone is read",
            "save each page as a file of its own, with a mask",
            images(lambda item: item.image.header.pages > 1, lambda item: f"{item.image.header.pages} pages"),
            fault=False,
        ),
        *finding(
            "image-cmyk",
            "images are in the colours of print (CMYK), whose red, green and blue depend on the reader",
            "convert them to RGB with their colour profile",
            images(lambda item: item.image.header.mode == "CMYK"),
            fault=False,
        ),
        *finding(
            "image-of-one-colour",
            "images are of one colour throughout",
            "look at them; get them anew, or take them and their masks out",
            images(lambda item: bool(item.image.std) and max(item.image.std) == 0, lambda item: str(item.image.mean)),
            fault=False,
        ),
    ]


def shape_findings(known: Survey) -> list[Finding]:
    """Masks of another size than their image, or turned another way."""
    turned, doubtful, sideways, other = [], [], [], []
    for item in known.items:
        image, mask = item.image, item.mask
        if image.error or mask.error:
            continue
        sizes = f"image {image.width} x {image.height}, mask {mask.width} x {mask.height}"
        orientation, differs = image.header.orientation, image.header.orientation != mask.header.orientation
        place = Place(item.pair.mask, value=sizes)
        words = f"EXIF orientation {orientation} of the image, {mask.header.orientation} of the mask"
        if (image.width, image.height) != (mask.width, mask.height):
            if (image.width, image.height) != (mask.height, mask.width):
                other.append(place)
            elif differs and (orientation in SIDEWAYS) != (mask.header.orientation in SIDEWAYS):
                turned.append(Place(item.pair.mask, value=f"{words}; {sizes}"))
            else:
                sideways.append(place)
        elif differs and mask.header.orientation == 1:
            stored = contrast(known, item, TURNS[orientation]) if could_be_turned(item) else 0.0
            shown = contrast(known, item, None)
            if stored > BETTER * shown:
                turned.append(Place(item.pair.mask, value=words))
            elif could_be_turned(item) and shown <= BETTER * stored:
                doubtful.append(Place(item.pair.mask, value=words))
    upright = "turn the pixels of the image as EXIF says, or those of the mask, and save it without that entry"
    return [
        *finding("exif-rotation", "images are turned by EXIF, and their masks are not", upright, turned),
        *finding(
            "exif-rotation",
            "images are turned by EXIF; whether their masks were made before or after cannot be told",
            f"look at them; if they do not fit: {upright}",
            doubtful,
            fault=False,
        ),
        *finding(
            "mask-transposed",
            "masks have the width and height of their images in turn",
            "transpose the masks (an array is indexed by row, then column), or rotate them, and look at one",
            sideways,
        ),
        *finding(
            "size-mismatch",
            "masks are not of the size of their images",
            "make the masks of the images' size by nearest neighbour, or the images of the masks'",
            other,
        ),
    ]


def could_be_turned(item: Item) -> bool:
    """Whether the mask has the size of the image as stored, too."""
    return item.image.header.orientation not in SIDEWAYS or item.image.width == item.image.height


def contrast(known: Survey, item: Item, turn: Image.Transpose | None) -> float:
    """How much steeper the image is along the borders of its mask than elsewhere, the mask turned or as it is."""
    grey = cv2.cvtColor(read_image(item.pair.image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    try:
        labels = known.data.read_mask(item.pair.mask).astype(np.int32)
    except DataError:
        return 0.0
    if turn is not None:
        labels = np.asarray(Image.fromarray(labels).transpose(turn))
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    if not border.any():
        return 0.0
    return float(slope[border].mean() / max(float(slope.mean()), 1e-6))
