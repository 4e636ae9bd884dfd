"""Filling a cache, after a look at the space that it needs."""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL
from PIL import Image
from rich.console import Console
from rich.progress import track

from seglit.data.cache.readers import CachedImages, CachedReader
from seglit.data.errors import DataError

SAMPLED = 256
"""Images whose size is looked up for the estimate, evenly spread over those to come."""
ANOTHER = "data.cache_dir"


def fill(files: Sequence[tuple[CachedReader, Path]], show: bool = True) -> None:
    """Puts files into their caches, those that are not there.

    Several processes may do so at once: each begins at another file and passes over what is there by then, so that
    they share the work. One that is killed leaves whole entries, and the next goes on with the rest.

    Args:
        files: The files, each with the reader whose cache it is for.
        show: Whether to show progress on standard error.

    Raises:
        DataError: If there is not enough space, the cache cannot be written, or a file is not as it should be.
    """
    missing = [(reader, path) for reader, path in files if reader.lacks(path)]
    if not missing:
        return
    _check_space(missing)
    start = os.getpid() * 7919 % len(missing)  # a prime, which takes neighbours apart
    turned = missing[start:] + missing[:start]
    console = Console(stderr=True)
    try:
        with ThreadPoolExecutor() as pool:
            done = pool.map(lambda job: job[0].store(job[1]), turned)
            for _ in track(
                done, "decoding into the cache", len(turned), console=console, transient=True, disable=not show
            ):
                pass
    except OSError as error:
        raise DataError(
            f"{missing[0][0].folder}: the cache cannot be written ({error}); name another folder by {ANOTHER}, "
            "or set data.cache=null"
        ) from error


def bytes_needed(missing: Sequence[tuple[CachedReader, Path]]) -> int:
    """An estimate of what files take in their caches: images three bytes a pixel, masks no more than their files."""
    images = [path for reader, path in missing if isinstance(reader, CachedImages)]
    sampled = images[:: -(-len(images) // SAMPLED) or 1]
    pixels = sum(_pixels(path) for path in sampled)
    masks = sum(path.stat().st_size for reader, path in missing if not isinstance(reader, CachedImages))
    return masks + (3 * pixels * len(images) // len(sampled) if sampled else 0)


def _pixels(path: Path) -> int:
    try:
        with Image.open(path) as file:
            return file.width * file.height
    except (OSError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from error


def _check_space(missing: Sequence[tuple[CachedReader, Path]]) -> None:
    folder = missing[0][0].folder
    there = next(parent for parent in folder.absolute().parents if parent.is_dir())
    needed, free = bytes_needed(missing), shutil.disk_usage(there).free
    if needed > free:
        smaller = (
            "data.cache=masks" if any(isinstance(reader, CachedImages) for reader, _ in missing) else "data.cache=null"
        )
        raise DataError(
            f"{folder}: decoding {len(missing)} files into the cache needs about {needed / 1e9:.2f} GB, but there are "
            f"{free / 1e9:.2f} GB free; make room, name a folder on another disk by {ANOTHER}, or set {smaller}"
        )
