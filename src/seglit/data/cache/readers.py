"""Readers of images and masks that look into a cache before they decode a file."""

import hashlib
import os
from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np
import PIL
from jaxtyping import Integer, UInt8

from seglit.data.cache.runs import packed_labels, unpacked_labels
from seglit.data.images import read_image
from seglit.data.masks import MaskReader
from seglit.files import write_whole

# Raise it when what is stored changes, so that older entries are not taken for newer ones.
CACHE_VERSION = 1


class CachedReader(ABC):
    """Gives what a reader of files gives, from the cache where `store` has put it there.

    An entry goes by the path, size and time of change of its file and by the way in which it was decoded, so that a
    file that changes is decoded anew. Each entry takes its name when it is whole. Reading writes nothing: what is
    missing, as in the middle of `fill`, is decoded from its file.

    Args:
        folder: Where the entries are.
        identity: Differs between two ways of decoding.
        ending: Of the names of the entries.
    """

    def __init__(self, folder: Path, identity: bytes, ending: str) -> None:
        self.folder = folder
        self.ending = ending
        # Decoders may differ in a last bit from version to version.
        versions = f"{CACHE_VERSION} {cv2.__version__} {PIL.__version__} ".encode()
        self._identity = hashlib.sha256(versions + identity).digest()

    def __call__(self, path: Path) -> np.ndarray:
        """What the file holds.

        Raises:
            DataError: If it has to be decoded and cannot be.
        """
        entry = self.entry(path)
        if entry is None:
            return self.decoded(path)
        try:
            return self.loaded(entry)
        except FileNotFoundError:
            return self.decoded(path)
        except (OSError, ValueError):  # damaged, for instance as the machine lost power; the next `fill` makes it anew
            entry.unlink(missing_ok=True)
            return self.decoded(path)

    def entry(self, path: Path) -> Path | None:
        """The entry of a file in its present state, whether it is there or not; None where there is no such file."""
        try:
            state = path.stat()
        except OSError:
            return None
        key = f"{os.path.abspath(path)}\0{state.st_size}\0{state.st_mtime_ns}"  # noqa: PTH100, ten times quicker
        name = hashlib.sha256(self._identity + key.encode(errors="surrogateescape")).hexdigest()[:32]
        return self.folder / f"{name}{self.ending}"

    def lacks(self, path: Path) -> bool:
        """Whether `store` would write something."""
        entry = self.entry(path)
        return entry is None or not entry.exists()

    def store(self, path: Path) -> None:
        """Put a file into the cache unless it is there.

        Raises:
            DataError: If it cannot be decoded.
            OSError: If the entry cannot be written.
        """
        entry = self.entry(path)
        if entry is None or not entry.exists():
            content = self.decoded(path)
            if entry is not None:
                write_whole(entry, lambda temporary: self.save(temporary, content))

    @abstractmethod
    def decoded(self, path: Path) -> np.ndarray:
        """What the file holds, from the file itself."""

    @abstractmethod
    def loaded(self, entry: Path) -> np.ndarray:
        """What an entry holds; ValueError if it is damaged."""

    @abstractmethod
    def save(self, entry: Path, content: np.ndarray) -> None:
        """Write an entry."""


class CachedImages(CachedReader):
    """`read_image` by way of raw pixels, which are mapped into memory: who crops them reads only that part.

    Args:
        folder: Where the entries are.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, b"image", ".npy")

    def decoded(self, path: Path) -> UInt8[np.ndarray, "height width 3"]:
        """The image in the file."""
        return read_image(path)

    def loaded(self, entry: Path) -> UInt8[np.ndarray, "height width 3"]:
        """The image, of which a caller may change his copy."""
        pixels: np.ndarray = np.lib.format.open_memmap(entry, mode="c").view(np.ndarray)
        return pixels

    def save(self, entry: Path, content: np.ndarray) -> None:
        """Write the pixels."""
        with entry.open("wb") as file:
            np.save(file, content)


class CachedMasks(CachedReader):
    """A mask reader by way of packed labels.

    Args:
        folder: Where the entries are.
        read_mask: From a mask file to labels.
    """

    def __init__(self, folder: Path, read_mask: MaskReader) -> None:
        super().__init__(folder, b"mask" + read_mask.identity, ".labels")
        self.read_mask = read_mask

    def decoded(self, path: Path) -> Integer[np.ndarray, "height width"]:
        """The labels in the file."""
        return self.read_mask(path)

    def loaded(self, entry: Path) -> Integer[np.ndarray, "height width"]:
        """The labels."""
        return unpacked_labels(entry.read_bytes(), self.read_mask.table.dtype)

    def save(self, entry: Path, content: np.ndarray) -> None:
        """Write the labels."""
        entry.write_bytes(packed_labels(content))
