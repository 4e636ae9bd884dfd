"""What a file says of itself, and whether it is whole."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
PAGED = ("TIFF", "PNG", "WEBP", "GIF")
"""Formats of which only the first picture is read; a telephone's JPEG may hold a small second one, as is usual."""


@dataclass(frozen=True)
class Header:
    """What Pillow finds in a file.

    Attributes:
        format: As Pillow calls it, such as `PNG`; empty if it knows none.
        mode: Pillow's mode, such as `RGB` or `P`.
        width: In pixels, as stored.
        height: Likewise.
        orientation: That of EXIF, 1 to 8; 1 is upright.
        pages: Pictures in the file.
        transparent: Pixels that are not opaque.
        damage: What is wrong with the file; None if it can be read to its end.
    """

    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    orientation: int = 1
    pages: int = 1
    transparent: int = 0
    damage: str | None = None


def read_header(content: bytes) -> Header:
    """The header of an image file, all of which is decoded; never raises for what is in it."""
    if not content:
        return Header(damage="has no content, 0 bytes")
    known: dict[str, str | int] = {}
    try:
        with Image.open(io.BytesIO(content)) as file:
            known = {"format": file.format or "", "mode": file.mode, "width": file.width, "height": file.height}
            known["orientation"] = upright(file.getexif().get(ORIENTATION, 1))
            if file.format in PAGED:
                known["pages"] = getattr(file, "n_frames", 1)
            file.load()
            if "A" in file.getbands() or "transparency" in file.info:
                alpha = np.asarray(file.convert("RGBA"))[..., 3] if "16" not in file.mode else np.zeros(0)
                known["transparent"] = int((alpha < 255).sum())
    except Exception as error:  # Pillow has no kind of its own for what is wrong with a file
        words = str(error).partition("<_io")[0].strip() or type(error).__name__
        return Header(**known, damage=words)  # type: ignore[arg-type]
    return Header(**known)  # type: ignore[arg-type]


def upright(orientation: object) -> int:
    """The orientation, or 1 where it is none of the eight that there are, as readers take it."""
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
