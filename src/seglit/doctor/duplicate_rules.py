"""Pictures that are there more than once: in one split, in two, or with labels that contradict each other."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8, UInt64
from rich.console import Console
from rich.progress import track

from seglit.data.images import read_image
from seglit.doctor.findings import Finding, Place, finding
from seglit.doctor.survey import Item, Survey

ALIKE = 6
"""Of 64 bits of a look, so many may differ between two that are compared pixel by pixel."""
CLOSE = ((24, 6.0), (64, 20.0))
"""Longer side of a small version, and the largest difference there, of brightness over 3 x 3 pixels, of one picture.

On the five sets of the tests, JPEG of quality 40 makes at most 3 and 7 of it, halving and doubling at most 6 and 20,
while the nearest of different pictures, frames of CamVid in a car that hardly moves, differ by 9 and 24. In brightness,
as JPEG keeps colours at half the resolution only.
"""
HUE = 12.0
"""By so much the mean of red, green or blue may differ."""
CORRELATION = 0.97
"""Below that, a small difference is one between two images that show next to nothing."""
PLAIN = 2.0
"""Images that vary less, in grey values, have no look."""
BLOCK = 1 << 23
"""So many pairs of looks are compared at once."""
ONES = np.array([value.bit_count() for value in range(1 << 16)], dtype=np.uint8)
OBJECTS = 3
"""A mask of fewer objects may be the same as another by chance."""


class Shown(NamedTuple):
    """An item and the part that it is of."""

    part: str
    item: Item


def duplicate_findings(known: Survey, show: bool = False) -> list[Finding]:
    """Pictures are compared as decoded, and by looks, which a new encoding or size leaves as they are.

    Args:
        known: All that was read.
        show: Whether to show progress, where that takes long.
    """
    shown = [Shown(part, item) for part, items in known.parts.items() for item in items if not item.image.error]
    groups: dict[str, list[Shown]] = {}
    for one in shown:
        groups.setdefault(one.item.image.pixels, []).append(one)
    pairs = [(group[0], other) for group in groups.values() for other in group[1:]]
    unique = [group[0] for group in groups.values()]
    pairs += same_pictures(unique, show)
    across = [(a, b) for a, b in pairs if a.part != b.part]
    within = [(a, b) for a, b in pairs if a.part == b.part]
    odd = [(a, b) for a, b in within if contradict(a.item, b.item)]
    return [
        *finding(
            "leakage",
            "pictures of the training split are in another, too, or those of validation in the test: "
            "the score is better than it ought to be",
            "take each out of one of the splits",
            [Place(b.item.pair.image, value=relation(a, b)) for a, b in across],
        ),
        *finding(
            "contradiction",
            "one picture has two masks that differ",
            "keep the right one",
            [Place(b.item.pair.mask, value=f"another than {a.item.pair.mask}") for a, b in odd],
        ),
        *finding(
            "duplicate",
            "pictures are there more than once in a split, and count as often",
            "delete the copies, unless it is meant",
            [Place(b.item.pair.image, value=relation(a, b)) for a, b in within if (a, b) not in odd],
            fault=False,
        ),
        *one_mask_for_several(unique, pairs),
    ]


def relation(a: Shown, b: Shown) -> str:
    """How the second is the first once more."""
    first, second = a.item, b.item
    if first.pair.image == second.pair.image:
        return f"the file is in {a.part} and in {b.part}"
    how = "is like" if first.image.pixels != second.image.pixels else "shows the very pixels of"
    if (first.image.width, first.image.height) != (second.image.width, second.image.height):
        how = "is another size of"
    elif how == "is like":
        how = "is another encoding of"
    return f"{how} {first.pair.image}, of {a.part}"


def contradict(a: Item, b: Item) -> bool:
    """Whether two items of one picture, of one size, have masks that differ."""
    same = a.image.pixels == b.image.pixels and not a.mask.error and not b.mask.error
    return same and a.mask.labels != b.mask.labels


def one_mask_for_several(unique: Sequence[Shown], pairs: Sequence[tuple[Shown, Shown]]) -> list[Finding]:
    """Masks with several objects that are the same for pictures that are not; `pairs` are those that are."""
    copies = {id(b.item) for _, b in pairs}
    seen: dict[str, Item] = {}
    places = []
    for _, item in unique:
        if id(item) in copies or item.mask.error or item.mask.objects < OBJECTS:
            continue
        other = seen.setdefault(item.mask.labels, item)
        if other is not item:
            places.append(Place(item.pair.mask, value=f"the same as {other.pair.mask}"))
    return finding(
        "mask-for-several",
        "images that differ have one and the same mask",
        "look at both; copy the right mask anew",
        places,
        fault=False,
    )


def same_pictures(shown: Sequence[Shown], show: bool) -> Iterator[tuple[Shown, Shown]]:
    """Pairs that are one picture, by look, shape and colour first, and then all over."""
    varied = [one for one in shown if max(one.item.image.std) >= PLAIN]
    if not varied:
        return
    looks = np.array([one.item.image.look for one in varied], dtype=np.uint64)
    means = np.array([one.item.image.mean for one in varied], dtype=np.float32)
    prints: dict[int, UInt8[np.ndarray, "_ _"]] = {}
    rows = max(BLOCK // len(varied), 1)
    starts = range(0, len(varied), rows)
    console = Console(stderr=True)
    for start in track(starts, "comparing", console=console, transient=True, disable=not show or len(starts) == 1):
        block = slice(start, start + rows)
        near = differing_bits(looks[block, None] ^ looks[None]) <= ALIKE
        for row, column in zip(*np.nonzero(near), strict=True):
            first, second = start + int(row), int(column)
            a, b = varied[first], varied[second]
            if first >= second or np.abs(means[first] - means[second]).max() > HUE or not same_shape(a.item, b.item):
                continue
            for place, one in ((first, a), (second, b)):
                if place not in prints:
                    prints[place] = print_of(one.item.pair.image)
            if is_one_picture(prints[first], prints[second]):
                yield a, b


def differing_bits(values: UInt64[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """How many bits of each are set."""
    parts = ONES[values.view(np.uint16)].reshape(*values.shape, 4)
    return np.asarray(parts.sum(-1, dtype=np.uint8))


def same_shape(a: Item, b: Item) -> bool:
    """Whether one may be the other, scaled: whether the ratios of their sides are equal up to rounding."""
    sides = (a.image.width, a.image.height, b.image.width, b.image.height)
    return abs(a.image.width * b.image.height - a.image.height * b.image.width) <= max(sides)


def is_one_picture(first: UInt8[np.ndarray, "_ _"], second: UInt8[np.ndarray, "_ _"]) -> bool:
    """Whether two prints are of one picture, in another encoding or size: at two sizes they are the same all over."""
    height, width = min(first.shape[0], second.shape[0]), min(first.shape[1], second.shape[1])
    for side, most in CLOSE:
        x, y = (scaled(one, height, width, side).astype(np.float32) for one in (first, second))
        if cv2.blur(np.abs(x - y), (3, 3)).max() > most:
            return False
        if not np.corrcoef(x.ravel(), y.ravel())[0, 1] >= CORRELATION:
            return False
    return True


def print_of(path: Path) -> UInt8[np.ndarray, "_ _"]:
    """The brightness of an image, small; twice what is compared, so that two sizes are averaged alike in the end."""
    image = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    return scaled(image, image.shape[0], image.shape[1], 2 * CLOSE[-1][0])


def scaled(image: UInt8[np.ndarray, "_ _"], height: int, width: int, side: int) -> UInt8[np.ndarray, "_ _"]:
    """The image as one of that height and width would be with its longer side no longer than `side`."""
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
