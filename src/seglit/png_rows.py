"""PNG files that are written a band of rows at a time, so that the picture is never whole in memory."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from jaxtyping import UInt8, UInt16

from seglit.files import whole_file

GREY, COLOUR, INDEXED = 0, 2, 3
"""Colour types of the PNG specification."""
LARGEST_SIDE = 2**31 - 1


class PngRows:
    """Writes a PNG into an open file; made by `png_rows`.

    Args:
        file: where it goes.
        size: height and width.
        kind: `GREY` with 16 bits, `COLOUR` with three channels of 8, or `INDEXED` with 8.
        palette: of `INDEXED`: red, green and blue of each number, at most 256; the numbers without are black.
    """

    def __init__(
        self, file: BinaryIO, size: tuple[int, int], kind: int, palette: Sequence[Sequence[int]] | None = None
    ) -> None:
        self.file = file
        self.size = size
        self.kind = kind
        self.rows_left = size[0]
        # Labels, flat areas, are small at any level, and the first is several times as fast.
        self._compressor = zlib.compressobj(1)
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", size[1], size[0], 16 if kind == GREY else 8, kind, 0, 0, 0))
        if palette is not None:
            colours = np.zeros((256, 3), dtype=np.uint8)
            colours[: len(palette)] = palette
            self._chunk(b"PLTE", colours.tobytes())

    def write(self, rows: UInt8[np.ndarray, "rows width *channels"] | UInt16[np.ndarray, "rows width"]) -> None:
        """The next rows.

        Raises:
            ValueError: If they do not have the width or the type of the picture, or are more than it has left.
        """
        shape, dtype = (
            (self.size[1], 3) if self.kind == COLOUR else (self.size[1],),
            "u2" if self.kind == GREY else "u1",
        )
        if rows.shape[1:] != shape or rows.dtype != dtype or len(rows) > self.rows_left:
            raise ValueError(
                f"at most {self.rows_left} rows of shape {shape} and type {np.dtype(dtype)} are wanted, "
                f"got {rows.shape} of {rows.dtype}"
            )
        self.rows_left -= len(rows)
        values = rows.astype(">u2") if self.kind == GREY else rows
        plain = np.ascontiguousarray(values).reshape(len(rows), -1).view(np.uint8)
        filtered = np.zeros((len(rows), plain.shape[1] + 1), dtype=np.uint8)  # begins with the filter: none
        filtered[:, 1:] = plain
        if self.kind == COLOUR:
            filtered[:, 0] = 1  # the difference from the pixel to the left
            filtered[:, 4:] -= plain[:, :-3]
        self._data(self._compressor.compress(filtered.data))

    def finish(self) -> None:
        """End the picture.

        Raises:
            ValueError: If rows are missing.
        """
        if self.rows_left:
            raise ValueError(f"{self.rows_left} of the picture's {self.size[0]} rows are missing")
        self._data(self._compressor.flush())
        self._chunk(b"IEND", b"")

    def _data(self, compressed: bytes) -> None:
        if compressed:
            self._chunk(b"IDAT", compressed)

    def _chunk(self, name: bytes, content: bytes) -> None:
        self.file.write(struct.pack(">I", len(content)) + name + content)
        self.file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))


@contextmanager
def png_rows(
    path: Path, size: tuple[int, int], kind: int, palette: Sequence[Sequence[int]] | None = None
) -> Iterator[PngRows]:
    """A picture to write from above to below; the file at `path` is whole at any time, the old one or the new one.

    Args:
        path: Of the file; its folder is made if needed.
        size: As for `PngRows`.
        kind: As for `PngRows`.
        palette: As for `PngRows`.

    Raises:
        ValueError: If a side is 0 or larger than a PNG's can be, or rows are missing in the end.
    """
    if not all(0 < side <= LARGEST_SIDE for side in size):
        raise ValueError(f"{path}: a PNG has from 1 to {LARGEST_SIDE} rows and columns, got {size}")
    with whole_file(path) as temporary, temporary.open("wb") as file:
        picture = PngRows(cast(BinaryIO, file), size, kind, palette)
        yield picture
        picture.finish()


@contextmanager
def label_rows(path: Path, size: tuple[int, int], palette: Sequence[Sequence[int]]) -> Iterator[PngRows]:
    """Class numbers as `seglit.pictures.save_labels` writes them, by rows; see `png_rows`."""
    many = len(palette) > 256
    with png_rows(path, size, GREY if many else INDEXED, None if many else palette) as picture:
        yield picture
