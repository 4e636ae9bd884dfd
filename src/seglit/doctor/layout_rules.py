"""Folders, names and partners: what is wrong before any image is opened."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from seglit.data.datamodule import SegmentationDataModule
from seglit.data.errors import DataError
from seglit.data.pairs import SPLIT, Pair, find_images, find_masks, names_of_split, searched_folder
from seglit.doctor.findings import Finding, Place, finding
from seglit.doctor.survey import parts_read

UNREAD = (
    *(".gif", ".jp2", ".jfif", ".npy", ".npz", ".heic", ".exr", ".dcm"),
    *(".nii", ".gz", ".ppm", ".pgm", ".avif", ".mat", ".h5", ".zip"),
)
"""Endings of files that may well be images or masks, but are passed over."""


def look_up(data: SegmentationDataModule, parts: Sequence[str]) -> tuple[dict[str, list[Pair]], list[Finding]]:
    """The pairs of each part, and what is wrong with names and folders. A part that cannot be found has no pairs."""
    if not data.root.is_dir():
        words = f"{data.root} is no folder"
        mend = "correct data.root, or unpack the data set there"
        return {}, finding("root-missing", words, mend, [Place(data.root)])
    found: list[Finding] = one_split_twice(data, parts)
    pairs: dict[str, list[Pair]] = {}
    for part in parts_read(data, parts):
        pairs[part], problems = pairs_of(data, part)
        found += problems
    return pairs, found


def one_split_twice(data: SegmentationDataModule, parts: Sequence[str]) -> list[Finding]:
    """Whether the model is judged by what it was trained on. That validation and test are the same is usual."""
    same = [
        part for part in parts if part != "train" and "train" in parts and data.splits[part] == data.splits["train"]
    ]
    words = f"data.train_split and {' and '.join(f'data.{part}_split' for part in same)} are the same split"
    return finding(
        "one-split-twice",
        f"{words}, {data.splits['train']!r}: the score would be that on the training images",
        "name another split",
        [Place(data.root, value=data.splits["train"])] if same else [],
    )


def pairs_of(data: SegmentationDataModule, part: str) -> tuple[list[Pair], list[Finding]]:
    """The pairs of a part as far as there are any, and what is wrong."""
    layout, root, split = data.layout, data.root, data.splits[part]
    otherwise = "; or name another data.test_split, or test_after_fit=false" if part == "test" else ""
    problems: list[Finding] = []
    tables: list[dict[str, Path]] = []
    for key, pattern, find in (("images", layout.images, find_images), ("masks", layout.masks, find_masks)):
        folder = searched_folder(root, pattern.replace(SPLIT, split))
        try:
            tables.append(find(root, split, layout))
        except DataError as error:
            kind, mend = f"{key}-missing", f"add the files, or correct data.{key}{otherwise}"
            if ": two " in str(error):
                kind, mend = f"{key}-of-one-name", f"delete or rename one of the two, or make data.{key} find one alone"
            elif folder.is_dir():
                kind = f"no-{key}"
            problems += refusal(kind, error, mend, folder)
    if len(tables) < 2:
        return [], problems
    images, masks = tables
    try:
        names = names_of_split(root, split, layout, images)
    except DataError as error:
        path = root / str(layout.split_file).replace(SPLIT, split)
        return [], refusal("split-file", error, f"correct {path}, or data.split_file{otherwise}", path)
    missing = [name for name in names if name not in masks]
    problems += without_mask(data, split, {name: images[name] for name in missing}, masks)
    # Where every split's masks lie in one folder, those of the others have no image here.
    if not missing and (SPLIT in layout.masks or SPLIT not in layout.images):
        problems += finding(
            "mask-without-image",
            f"masks of split {split!r} belong to no image, and are not used",
            "add the images, or delete the masks",
            [Place(masks[name]) for name in sorted(masks.keys() - images.keys())],
            fault=False,
        )
    for key, pattern in (("images", layout.images), ("masks", layout.masks)):
        problems += finding(
            "ending-not-read",
            f"files beside the {key} of split {split!r} are passed over because of their ending",
            "save them as PNG",
            [Place(path) for path in passed_over(searched_folder(root, pattern.replace(SPLIT, split)))],
            fault=False,
        )
    return [Pair(name, images[name], masks[name]) for name in names if name in masks], problems


def refusal(kind: str, error: DataError, mend: str, place: Path) -> list[Finding]:
    """What training would say, as a finding."""
    return finding(kind, str(error), mend, [Place(place)])


def without_mask(
    data: SegmentationDataModule, split: str, missing: dict[str, Path], masks: dict[str, Path]
) -> list[Finding]:
    """Images whose mask is missing, with what the mask may be called instead."""
    if not missing:
        return []
    mend = "add the masks, or list the labelled images in a data.split_file"
    endings = {suffix(name, masks) for name in missing}
    ending = endings.pop() if len(endings) == 1 else None
    if ending:
        folder = searched_folder(data.root, data.layout.masks.replace(SPLIT, split))
        pattern = (folder.relative_to(data.root) / f"**/*{ending}.png").as_posix().replace(split, SPLIT)
        mend = f"the masks' names end in {ending!r}: data.masks='{pattern}'"
    else:
        alike = {name: similar_name(name, masks) for name in missing}
        if guess := next((name for name in alike if alike[name]), None):
            mend = f"{masks[str(alike[guess])].name} may be that of {missing[guess].name}: rename it; else {mend}"
    return finding(
        "image-without-mask",
        f"{len(missing)} image(s) of split {split!r} have no mask",
        mend,
        [Place(path) for path in missing.values()],
    )


def suffix(name: str, masks: dict[str, Path]) -> str | None:
    """What a mask's name has behind that of its image, if there is just one such mask."""
    longer = [mask.removeprefix(name) for mask in masks if mask.startswith(name)]
    return longer[0] if len(longer) == 1 else None


def similar_name(name: str, masks: dict[str, Path]) -> str | None:
    """The mask whose name is nearly that of an image, for instance but for capitals or a zero."""
    lower = {mask.lower(): mask for mask in masks}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.75)
    return lower[close[0]] if close else None


def passed_over(folder: Path) -> list[Path]:
    """Files below a folder whose ending is in `UNREAD`, sorted."""
    return sorted(
        Path(above, name)
        for above, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(UNREAD) and not name.startswith(".")
    )
