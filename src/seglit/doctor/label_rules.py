"""What the values in the masks mean, and what they seem to mean."""

import math
from collections.abc import Callable, Iterable

import numpy as np

from seglit.data.datamodule import SegmentationDataModule
from seglit.doctor.findings import Finding, Place, finding
from seglit.doctor.survey import Item, Survey

LOSSY = ("JPEG", "MPO")
BLEND = 8
"""So many values beyond the classes, in one mask, are no classes that were forgotten."""
ENDS = (255, 65535)
"""Values that usually are void."""
LUMA = (0.299, 0.587, 0.114)


def label_findings(known: Survey) -> list[Finding]:
    """What is wrong with masks as files, and then with the values in those that can be read."""
    items = known.items
    copies, items = split_by(items, lambda item: bool(item.mask.digest) and item.mask.digest == item.image.digest)
    lossy, items = split_by(items, lambda item: item.mask.header.format in LOSSY)
    found = [
        *finding(
            "mask-is-image",
            "the mask is the image itself",
            "correct data.masks, or copy the masks again",
            [Place(item.pair.mask) for item in copies],
        ),
        *finding(
            "mask-lossy",
            "masks are stored as JPEG, whatever their ending, which changes values along borders",
            "make them anew from the source, as PNG",
            [Place(item.pair.mask) for item in lossy],
        ),
    ]
    broken, items = split_by(items, lambda item: item.mask.error is not None)
    found += broken_masks(known.data, broken)
    many, items = split_by(items, lambda item: is_blended(known.data, item))
    found += finding(
        "mask-blended",
        "masks have so many values that they were resized by interpolation, smoothed, or are pictures",
        "make them anew; resize masks by nearest neighbour only",
        [Place(item.pair.mask, *first(item), value=f"{len(item.mask.values)} values") for item in many],
    )
    found += pages(items) + palette_order(known.data, items)
    return found + (unknown_values(known.data, items) or suspicious_values(known.data, items))


def split_by(items: Iterable[Item], chosen: Callable[[Item], bool]) -> tuple[list[Item], list[Item]]:
    """The items that are chosen, and the others."""
    yes: list[Item] = []
    no: list[Item] = []
    for item in items:
        (yes if chosen(item) else no).append(item)
    return yes, no


def broken_masks(data: SegmentationDataModule, items: list[Item]) -> list[Finding]:
    """Masks whose raw values cannot be read, by what they are instead."""
    kinds: dict[tuple[str, str, str], list[Place]] = {}
    for item in items:
        kind = kind_of_broken(data, item)
        kinds.setdefault(kind, []).append(Place(item.pair.mask, value=f"mode {item.mask.header.mode or 'unknown'}"))
    return [entry for key, places in kinds.items() for entry in finding(*key, places)]


def kind_of_broken(data: SegmentationDataModule, item: Item) -> tuple[str, str, str]:
    """The kind, the words and the mend for one mask that cannot be read."""
    mask = item.mask
    mode = mask.header.mode
    words = mask.error or ""
    if mask.header.damage is not None:
        return "mask-unreadable", f"masks cannot be read: {mask.header.damage}", "get the files anew"
    if data.read_mask.colours is not None:
        if mask.indices and max(mask.values) <= data.num_classes:
            return "indices-for-colours", "masks hold class indices, not colours", "data.mask_format=index"
        return (
            "colour-unknown",
            f"masks have colours that are not listed, such as: {words.split(';')[0]}",
            ("list the colour in data.mask_colors; data.label_map can make it void"),
        )
    if mode == "F":
        return "mask-of-fractions", "masks hold floating-point numbers", "save them as 8-bit class indices"
    if mode in ("I", "I;16", "I;16B", "L", "P"):
        return (
            "value-of-many-bits",
            f"masks hold numbers beyond 16 bits: {words.split(';')[0]}",
            ("save the masks with 8 or 16 bits; void as 255"),
        )
    if mode in ("LA", "PA", "La"):
        return "mask-with-alpha", "masks of one channel have transparency beside it", "save the one channel alone"
    if all(len(set(colour)) == 1 for colour in mask.colours):
        return (
            "mask-of-equal-channels",
            "masks hold one and the same value in red, green and blue",
            ("save one channel of each"),
        )
    palette = {tuple(colour) for colour in data.palette}
    colours = list(mask.colours)
    mend = "data.mask_format=color"
    if not set(colours) <= palette:
        listed = "[" + ",".join(f"[{red},{green},{blue}]" for red, green, blue in sorted(colours)) + "]"
        mend += f", with the colours in the order of the classes: data.mask_colors={listed}"
    return "colours-for-indices", "masks are pictures in colours, not class indices", mend


def is_blended(data: SegmentationDataModule, item: Item) -> bool:
    """Whether a mask has more values than can be classes that were forgotten."""
    strangers = sum(1 for value in item.mask.unknown if value not in ENDS)
    return strangers >= BLEND and len(item.mask.values) > data.num_classes + BLEND


def pages(items: list[Item]) -> list[Finding]:
    """Masks of several pages."""
    return finding(
        "mask-of-several-pages",
        "mask files hold several pictures, of which the first alone is read",
        "save each page as a file of its own, or merge them into one mask",
        [Place(item.pair.mask) for item in items if item.mask.header.pages > 1],
    )


def palette_order(data: SegmentationDataModule, items: list[Item]) -> list[Finding]:
    """Palette files that show each class in a colour of the data set, but of another class."""
    places, example = [], ""
    by_colour = {tuple(colour): label for label, colour in enumerate(data.palette)}
    for item in items:
        if not item.mask.colours:
            continue
        values = list(item.mask.values)
        labels = data.read_mask.table.meanings(np.array(values))
        shown = {
            value: (label, by_colour.get(tuple(colour)))
            for value, label, colour in zip(values, labels, item.mask.colours, strict=True)
            if label is not None and label != data.ignore_index
        }
        if any(meant is None for _, meant in shown.values()):
            continue  # colours of its own
        wrong = {value: pair for value, pair in shown.items() if pair[0] != pair[1]}
        if wrong:
            value, (label, meant) = next(iter(wrong.items()))
            places.append(Place(item.pair.mask, value=value))
            example = f"index {value} is {name(data, label)}, but shown in the colour of {name(data, meant)}"
    return finding(
        "palette-order",
        f"palette masks number their colours in an order of their own: {example}",
        "renumber the files; or data.mask_format=color, which goes by the colours of data.palette",
        places,
    )


def name(data: SegmentationDataModule, label: int | None) -> str:
    """What a class is called."""
    return "nothing" if label is None else data.classes[label]


def first(item: Item) -> tuple[int | None, int | None]:
    """The first pixel of a value that means nothing."""
    return next(iter(item.mask.unknown.values()), (None, None))


def raw_values(items: Iterable[Item]) -> dict[int, int]:
    """Pixels of each raw value, over all masks."""
    total: dict[int, int] = {}
    for item in items:
        for value, count in item.mask.values.items():
            total[value] = total.get(value, 0) + count
    return total


def unknown_values(data: SegmentationDataModule, items: list[Item]) -> list[Finding]:
    """Raw values that mean nothing, with what they are likely to be."""
    if data.read_mask.colours is not None:
        return []
    places: list[Place] = []
    strangers: set[int] = set()
    for item in items:
        strangers |= item.mask.unknown.keys()
        places += [Place(item.pair.mask, *pixel, value=value) for value, pixel in item.mask.unknown.items()]
    if not places:
        return []
    table, classes = data.read_mask.table, data.num_classes
    used = sorted(raw_values(items))
    reduces = data.read_mask.table.meanings(np.array([0]))[0] == data.ignore_index != 0
    listed = ", ".join(map(str, sorted(strangers)[:12]))
    if table.label_map is not None:
        more = ", ".join(f"{value}: {data.ignore_index}" for value in sorted(strangers)[:12])
        return finding(
            "value-not-mapped",
            f"values {listed} are not in data.label_map",
            f"say in data.label_map what they are, as void {{{more}}}; or data.label_map_default=ignore",
            places,
        )
    if grey := grey_values(data, used):
        return finding(
            "grey-for-indices",
            f"values {listed} are the brightness of the classes' colours: the masks were converted to grey",
            f"make them anew, or data.label_map='{as_map(grey)}'",
            places,
        )
    step = math.gcd(*used)
    if step > 1 and max(used) // step < classes:
        return finding(
            "values-stretched",
            f"values {listed}: the classes are stored as multiples of {step}",
            f"data.label_map='{as_map({value: value // step for value in used})}'"
            + (" data.ignore_index=254" if data.ignore_index in used else ""),
            places,
        )
    if strangers <= set(ENDS):
        (void, *_) = strangers
        return finding(
            "ignore-index-wrong",
            f"value {void} is no class, and looks like void, but data.ignore_index is {data.ignore_index}",
            f"data.ignore_index={void}",
            places,
        )
    if strangers - set(ENDS) == {classes} and not reduces:
        without = "no mask has a 0, so that" if 0 not in used else "if 0 is void,"
        return finding(
            "off-by-one",
            f"value {classes} is one too many for {classes} classes, 0 to {classes - 1}",
            f"{without} classes are counted from 1: data.reduce_zero_label=true; "
            f"else there is one class more: data.num_classes={classes + 1}",
            places,
        )
    most = max(strangers - set(ENDS))
    return finding(
        "value-out-of-range",
        f"values {listed} are no label: the classes are 0 to {classes - 1} and void is {data.ignore_index}",
        f"correct data.num_classes (the largest value asks for {most + (not reduces)}), "
        f"or say in data.label_map what they are",
        places,
    )


def grey_values(data: SegmentationDataModule, used: list[int]) -> dict[int, int] | None:
    """From values to classes, if all values are the brightness of classes' colours."""
    brightness: dict[int, int] = {}
    for label, colour in enumerate(data.palette):
        value = round(sum(share * part for share, part in zip(LUMA, colour, strict=True)))
        brightness.setdefault(value, label)
    found = {
        value: next((brightness[v] for v in (value, value - 1, value + 1) if v in brightness), None) for value in used
    }
    classes = {value: label for value, label in found.items() if label is not None}
    if len(classes) < 2 or len(set(classes.values())) < len(classes):
        return None
    return classes if all(value in classes or value in ENDS for value in used) else None


def as_map(entries: dict[int, int]) -> str:
    """A map as Hydra reads it."""
    return "{" + ",".join(f"{value}:{label}" for value, label in sorted(entries.items())) + "}"


def suspicious_values(data: SegmentationDataModule, items: list[Item]) -> list[Finding]:
    """Values all of which mean something, but hardly what they are taken for."""
    if not items:
        return []
    total = raw_values(items)
    used, void, classes = set(total), data.ignore_index, data.num_classes
    plain = data.read_mask.table.label_map is None and data.read_mask.colours is None
    reduces = plain and data.read_mask.table.meanings(np.array([0]))[0] == void != 0
    whole = Place(data.root, value=f"values {', '.join(map(str, sorted(used)[:12]))}")
    if plain and classes == 2 and void == 255 and used == {0, 255}:
        return finding(
            "binary-0-255",
            "the masks hold 0 and 255 alone: 255 is void, so that nothing but class 0 is ever learnt",
            "data.label_map='{0:0,255:1}' data.ignore_index=254",
            [Place(item.pair.mask, value=255) for item in items if 255 in item.mask.values],
        )
    if reduces and classes > 1 and used - {void} == set(range(classes)):
        return finding(
            "zero-is-a-class",
            f"data.reduce_zero_label makes 0 void, but the masks count their {classes} classes from 0: "
            f"{name(data, classes - 1)} never occurs, and all others are taken for the one before",
            "data.reduce_zero_label=false",
            [whole],
        )
    if 0 <= void < classes:
        share = sum(item.mask.pixels.get(void, 0) for item in items) / max(sum(total.values()), 1)
        return finding(
            "void-is-a-class",
            f"data.ignore_index={void} makes {name(data, void)} void, {share:.1%} of all pixels, which nothing is "
            "learnt of",
            "data.ignore_index=255, unless it is meant",
            [Place(data.root, value=void)],
            fault=False,
        )
    if plain and not reduces and classes > 2 and used - {void} == set(range(1, classes)):
        return finding(
            "zero-never-occurs",
            f"no mask has a 0, {name(data, 0)}: are the classes counted from 1?",
            f"if so, data.reduce_zero_label=true data.num_classes={classes - 1}",
            [whole],
            fault=False,
        )
    return []
