"""Reading masks."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer, UInt8, UInt16
from PIL import Image, ImageOps

from seglit.data.errors import DataError
from seglit.data.label_table import RAW_VALUES, LabelTable
from seglit.data.palette import Colour, checked_palette

# Pillow stretches grey values of 2 and 4 bits to 8; dividing by these gives back what the file holds.
STRETCHED = {"L;2": 85, "L;4": 17}
# A TIFF without a size is a TypeError to Pillow.
UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError)
COLOUR_MODES = ("1", "L", "P", "RGB", "RGBA")


class MaskReader:
    """Reads a mask file: raw values first, then labels by the table.

    With `mask_format="index"` the raw values are what a single-channel file of 1 to 16 bits holds; in a
    palette PNG they are the indices, whatever their colours. With `mask_format="color"` the raw value of a
    pixel is the place of its colour in `mask_colors`.

    Args:
        table: From raw values to labels.
        mask_format: What the files hold, `index` or `color`; never guessed.
        mask_colors: The colours of the files, each red, green, blue, in the order of their raw values.

    Raises:
        ValueError: If `mask_colors` does not go with `mask_format`, or holds a colour twice.
    """

    def __init__(
        self,
        table: LabelTable,
        mask_format: Literal["index", "color"] = "index",
        mask_colors: Sequence[Sequence[int]] | None = None,
    ) -> None:
        if mask_format == "index" and mask_colors is not None:
            raise ValueError("mask_colors has no effect with mask_format='index'; remove it or set 'color'")
        if mask_format == "color" and not mask_colors:
            raise ValueError("mask_format='color' needs mask_colors, the colours that occur in the masks")
        self.table = table
        self.colours = None if mask_colors is None else tuple(checked_palette(mask_colors, "mask_colors"))
        for place, colour in enumerate(self.colours or ()):
            if colour in (self.colours or ())[:place]:
                raise ValueError(f"mask_colors: {list(colour)} occurs twice; a colour has one meaning")

    def __call__(self, path: Path) -> Integer[np.ndarray, "height width"]:
        """The labels in the file, in `table.dtype`.

        Raises:
            DataError: If the file cannot be read, holds something else than `mask_format` says, or has a
                value or colour that means nothing: names the file, the first such pixel and the mend.
        """
        return self.table(self.raw(path), path)

    def raw(self, path: Path) -> UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]:
        """The raw values in the file, which the table turns into labels.

        Raises:
            DataError: If the file cannot be read, or holds something else than `mask_format` says.
        """
        return read_indices(path) if self.colours is None else _read_colours(path, self.colours)

    @property
    def identity(self) -> bytes:
        """Equal for two readers exactly if they read every file alike."""
        return repr(self.colours).encode() + self.table.identity


def read_indices(path: Path) -> UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]:
    """The values in a file of one channel of 1 to 16 bits; of a palette file the indices.

    Raises:
        DataError: If the file cannot be read, or holds something else.
    """
    try:
        # Not by its name: Pillow would map the file into memory, and cut the rows of a turned TIFF at wrong places.
        with path.open("rb") as stream, Image.open(stream) as file:
            stretch = STRETCHED.get(str(file.tile[0][3]), 1) if file.tile else 1
            mode = file.mode
            ImageOps.exif_transpose(file, in_place=True)
            raw = np.array(file)
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as a mask ({error})") from error
    if raw.ndim != 2 or mode == "F":
        raise DataError(
            f"{path}: is a colour or floating-point image (mode {mode}), but masks are read as class "
            "indices; if its colours are the classes, set mask_format=color, else save one channel of indices"
        )
    if raw.dtype.itemsize > 2:
        outside = (raw < 0) | (raw >= RAW_VALUES)
        if outside.any():
            row, column = divmod(int(outside.argmax()), raw.shape[1])
            raise DataError(
                f"{path}: value {raw[row, column]} at row {row}, column {column} is not from 0 to "
                f"{RAW_VALUES - 1}; save the mask with 8 or 16 bits"
            )
    values = raw.astype(np.uint8 if raw.dtype.itemsize == 1 else np.uint16, copy=False)
    return values if stretch == 1 else values // stretch


def _read_colours(path: Path, colours: tuple[Colour, ...]) -> UInt16[np.ndarray, "height width"]:
    try:
        # As above.
        with path.open("rb") as stream, Image.open(stream) as file:
            mode = file.mode
            ImageOps.exif_transpose(file, in_place=True)
            pixels = np.array(file.convert("RGB"), dtype=np.int32)
    except UNREADABLE as error:
        raise DataError(f"{path}: cannot be read as a mask ({error})") from error
    if mode not in COLOUR_MODES:
        raise DataError(f"{path}: has mode {mode}, which is no 8-bit colour image; save it as RGB")
    places: np.ndarray = np.take(_places_of(colours), _packed(pixels))
    unknown = places == 0
    if unknown.any():
        row, column = divmod(int(unknown.argmax()), places.shape[1])
        raise DataError(
            f"{path}: colour {pixels[row, column].tolist()} at row {row}, column {column} is none of the "
            f"{len(colours)} mask colours; list it in mask_colors (label_map can make it void)"
        )
    raw: np.ndarray = places - np.uint16(1)
    return raw


def _packed(colours: Integer[np.ndarray, "*shape 3"]) -> Integer[np.ndarray, "*shape"]:
    packed: np.ndarray = colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
    return packed


@functools.lru_cache(maxsize=2)
def _places_of(colours: tuple[Colour, ...]) -> UInt16[np.ndarray, " 16777216"]:
    """1 + the place of each colour in the list, 0 for the others; only pages in use take memory."""
    table = np.zeros(1 << 24, dtype=np.uint16)
    table[_packed(np.array(colours))] = np.arange(1, len(colours) + 1)
    return table
