"""Which files there are, and the facts of each, read side by side."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
from rich.console import Console
from rich.progress import track

from seglit.data.datamodule import SegmentationDataModule
from seglit.data.masks import MaskReader
from seglit.data.pairs import Pair
from seglit.data.statistics import cache_folder
from seglit.doctor.headers import Header
from seglit.doctor.image_facts import ImageFacts, image_facts
from seglit.doctor.mask_facts import MaskFacts, mask_facts
from seglit.doctor.store import VERSION, Facts, Store


class Item(NamedTuple):
    """An image with its mask, and the facts of both."""

    pair: Pair
    image: ImageFacts
    mask: MaskFacts


@dataclass(frozen=True)
class Survey:
    """All that was read.

    Attributes:
        data: The data set.
        parts: The items of `train`, `val` and `test`, of those that were looked at. A part that is by its split's name
            the same as an earlier one is left out.
    """

    data: SegmentationDataModule
    parts: dict[str, list[Item]]

    @property
    def items(self) -> list[Item]:
        """Those of all parts."""
        return [item for items in self.parts.values() for item in items]


def survey(
    data: SegmentationDataModule, pairs: dict[str, list[Pair]], cache: Path | None = None, show: bool = True
) -> Survey:
    """Read every file of the pairs, in threads; what was read before, by its content, is looked up.

    Args:
        data: The data set.
        pairs: The files of each part.
        cache: The file of what is known. None: `doctor.sqlite` in `seglit.data.statistics.cache_folder()`.
        show: Whether to show progress and the time that is left on standard error.
    """
    everything = [pair for part in pairs.values() for pair in part]
    jobs: list[tuple[Path, MaskReader | None]] = [(path, None) for path in dict.fromkeys(p.image for p in everything)]
    jobs += [(path, data.read_mask) for path in dict.fromkeys(p.mask for p in everything)]
    path = cache_folder() / "doctor.sqlite" if cache is None else cache
    with Store(path) as store, quiet_decoders(), ThreadPoolExecutor() as pool:
        results = pool.map(lambda job: facts_of(job[0], job[1], store), jobs)
        console = Console(stderr=True)
        progress = track(results, "reading", len(jobs), console=console, transient=True, disable=not show)
        try:
            found = dict(zip(((path, reader is None) for path, reader in jobs), progress, strict=True))
        except BaseException:
            # Else an interrupted run would first read what is left.
            pool.shutdown(cancel_futures=True)
            raise
    return Survey(
        data,
        {
            part: [Item(pair, found[pair.image, True], found[pair.mask, False]) for pair in some]  # type: ignore[arg-type]
            for part, some in pairs.items()
        },
    )


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep what Pillow and OpenCV say of damaged files off the terminal: it is among the facts."""
    loud = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    finally:
        cv2.utils.logging.setLogLevel(loud)


def facts_of(path: Path, read_mask: MaskReader | None, store: Store) -> Facts:
    """The facts of a mask, read by that reader, or of an image where there is none."""
    try:
        content = path.read_bytes()
    except OSError as error:
        header, words = Header(damage=str(error)), f"cannot be opened ({error.strerror})"
        return ImageFacts("", header, words) if read_mask is None else MaskFacts("", header, words, indices=False)
    identity = b"image" if read_mask is None else read_mask.identity
    key = hashlib.sha256(b"%d %s %s" % (VERSION, hashlib.sha256(identity).digest(), content)).hexdigest()
    known = store.get(key)
    if known is not None:
        return known
    facts: Facts = image_facts(path, content) if read_mask is None else mask_facts(path, content, read_mask)
    store.put(key, facts)
    return facts


def parts_read(data: SegmentationDataModule, parts: Sequence[str]) -> list[str]:
    """The parts without those that are by their split's name the same as an earlier one."""
    names: dict[str, str] = {}
    for part in parts:
        names.setdefault(data.splits[part], part)
    return list(names.values())
