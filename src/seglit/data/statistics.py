"""How often each class occurs in the training labels."""

import hashlib
import json
import os
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from rich.console import Console
from rich.progress import track
from torch import Tensor

from seglit.data.masks import MaskReader
from seglit.data.pairs import Pair

# Raise it when counting changes, so that older caches are not taken for newer ones.
CACHE_VERSION = 1


@dataclass(frozen=True)
class LabelStatistics:
    """Counts over the labels of a split. Void is counted nowhere.

    Attributes:
        pixels: Pixels of each class.
        image_pixels: For each class, the valid pixels, of any class, of the images in which it occurs.
        images: The number of images.
    """

    pixels: Int64[Tensor, " classes"]
    image_pixels: Int64[Tensor, " classes"]
    images: int


def label_statistics(pairs: list[Pair], read_mask: MaskReader, cache: Path | None = None) -> LabelStatistics:
    """Statistics of the masks of `pairs`: from the cache if it has them, else counted and put there.

    Counts once for the same files (by path, size and time of change) read in the same way. Masks are read
    in threads, with a progress bar on standard error.

    Args:
        pairs: The files.
        read_mask: From a mask file to labels.
        cache: The folder of the cache. None: `cache_folder()`.

    Raises:
        DataError: If a mask is not as it should be.
    """
    path = (cache_folder() if cache is None else cache) / f"labels-{_key(pairs, read_mask)}.json"
    num_classes = read_mask.table.num_classes
    cached = _read_cache(path, num_classes)
    if cached is not None:
        return cached
    pixels = np.zeros(num_classes, dtype=np.int64)
    image_pixels = np.zeros(num_classes, dtype=np.int64)
    with ThreadPoolExecutor() as pool:
        counts = pool.map(lambda pair: _count(pair, read_mask), pairs)
        console = Console(stderr=True)
        for count in track(counts, "counting labels", len(pairs), console=console, transient=True):
            pixels += count
            image_pixels += np.where(count > 0, count.sum(), 0)
    result = LabelStatistics(torch.from_numpy(pixels), torch.from_numpy(image_pixels), len(pairs))
    _write_cache(path, result)
    return result


def cache_folder() -> Path:
    """`seglit` in `$XDG_CACHE_HOME`, or in `~/.cache` where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seglit"


def _count(pair: Pair, read_mask: MaskReader) -> Int64[np.ndarray, " classes"]:
    labels = read_mask(pair.mask)
    void = read_mask.table.ignore_index
    return np.bincount(labels[labels != void], minlength=read_mask.table.num_classes)


def _key(pairs: list[Pair], read_mask: MaskReader) -> str:
    digest = hashlib.sha256(read_mask.identity)
    digest.update(str(CACHE_VERSION).encode())
    for pair in pairs:
        state = pair.mask.stat()
        digest.update(f"{pair.mask.absolute()}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:32]


def _read_cache(path: Path, num_classes: int) -> LabelStatistics | None:
    if not path.exists():
        return None
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        counts = [contents["pixels"], contents["image_pixels"]]
        for numbers in (*counts, [contents["images"]] * num_classes):
            if len(numbers) != num_classes or not all(type(number) is int for number in numbers):
                raise ValueError(f"expected {num_classes} whole numbers, found {numbers}")
        return LabelStatistics(torch.tensor(counts[0]), torch.tensor(counts[1]), contents["images"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        warnings.warn(f"{path}: not a cache of label statistics ({error!r}); counting anew", stacklevel=3)
        return None


def _write_cache(path: Path, statistics: LabelStatistics) -> None:
    contents = {
        "pixels": statistics.pixels.tolist(),
        "image_pixels": statistics.image_pixels.tolist(),
        "images": statistics.images,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # By way of another name, so that a process that reads, or one that is killed, leaves no half a
        # file.
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8"
        ) as file:
            json.dump(contents, file)
        Path(file.name).replace(path)
    except OSError as error:
        warnings.warn(
            f"{path}: label statistics cannot be kept there ({error}), so each run counts anew; "
            "set XDG_CACHE_HOME to a folder that can be written",
            stacklevel=3,
        )
