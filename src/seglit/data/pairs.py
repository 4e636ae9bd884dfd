"""Which files make up a split, and which mask belongs to which image."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seglit.data.errors import DataError

IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SPLIT = "{split}"


@dataclass(frozen=True)
class Layout:
    """Where images and masks lie below the root; `{split}` stands for the name of the split.

    `images` and `masks` are each a folder, which is searched with all its subfolders, or a pattern, in
    which `*` and `?` stand for part of a name and `**` for any number of folders. Files that are no images
    by their ending, and hidden ones, are passed over.

    **An image and a mask belong together when the wildcards of their patterns stand for the same text**; a
    folder stands for the pattern `folder/**/*`, and an ending is never part of that text. So these are
    paired:

    - `images/{split}` and `masks/{split}`: `images/train/a/1.jpg` with `masks/train/a/1.png`;
    - `img/**/*.jpg` and `gt/**/*_labelIds.png`: `img/a/1.jpg` with `gt/a/1_labelIds.png`.

    Attributes:
        images: Where the images are.
        masks: Where the masks are. Masks without an image are not used.
        split_file: A text file that lists the images of a split, a line each: by the paired text above, or
            by the path below the root, in either case with or without the ending. The list gives the order.
            None: a split has all the images that `images` finds, sorted by name.
    """

    images: str = "images/{split}"
    masks: str = "masks/{split}"
    split_file: str | None = None

    @property
    def tells_splits_apart(self) -> bool:
        """Whether two splits can have different images."""
        return self.split_file is not None or SPLIT in self.images


class Pair(NamedTuple):
    """An image and its mask.

    Attributes:
        name: The text that pairs them, for instance "berlin/0001"; one image of a split has it.
        image: The image file.
        mask: The mask file.
    """

    name: str
    image: Path
    mask: Path


def find_pairs(root: Path, split: str, layout: Layout) -> list[Pair]:
    """The images of a split with their masks. Looks at names only, no file but the split file is opened.

    Raises:
        DataError: If a folder, the split file, an image that it lists or a mask is missing, if there is no
            image, or if two files have the same name: says which, and what there is instead.
    """
    images = find_images(root, split, layout)
    masks = find_masks(root, split, layout)
    names = names_of_split(root, split, layout, images)
    missing = [name for name in names if name not in masks]
    if missing:
        example = next(iter(masks.values()))
        raise DataError(
            f"{images[missing[0]]}: has no mask {layout.masks.replace(SPLIT, split)!r} of the name "
            f"{missing[0]!r} (so have {len(missing)} of {len(names)} images); there is for instance "
            f"{example}; add the masks, list the labelled images in a split_file, or correct the pattern"
        )
    return [Pair(name, images[name], masks[name]) for name in names]


def find_images(root: Path, split: str, layout: Layout) -> dict[str, Path]:
    """The image files that are found for a split, by name; with a split file, those of other splits among them.

    Raises:
        DataError: If a folder is missing, there is no image, or two have one name.
    """
    return _find_files(root, layout.images.replace(SPLIT, split), f"images of split {split!r}")


def find_masks(root: Path, split: str, layout: Layout) -> dict[str, Path]:
    """The mask files that are found for a split, by name; there may be some without an image.

    Raises:
        DataError: If a folder is missing, there is no mask, or two have one name.
    """
    return _find_files(root, layout.masks.replace(SPLIT, split), f"masks of split {split!r}")


def names_of_split(root: Path, split: str, layout: Layout, images: dict[str, Path]) -> list[str]:
    """The names of the images that a split has, in its order: as its split file lists them, else all of `images`.

    Raises:
        DataError: If the split file is missing, empty, lists what is no image, or an image twice.
    """
    if layout.split_file is None:
        return sorted(images)
    return _read_split_file(root, root / layout.split_file.replace(SPLIT, split), images)


def searched_folder(root: Path, pattern: str) -> Path:
    """The folder below which files for a pattern, without `{split}`, are looked for."""
    return root / _compiled(pattern)[0]


def _find_files(root: Path, pattern: str, purpose: str) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; {_what_there_is(root)}")
    folder, expression = _compiled(pattern)
    top = root / folder
    if not top.is_dir():
        raise DataError(f"{top}: no such folder, for the {purpose}; {_what_there_is(top)}")
    found: dict[str, Path] = {}
    for path in _walk(top):
        match = expression.fullmatch(path.relative_to(top).as_posix())
        if match is None:
            continue
        name = "/".join(text.strip("/") for text in match.groups() if text.strip("/"))
        if name in found:
            raise DataError(f"{path} and {found[name]}: two {purpose} have the name {name!r}; keep one")
        found[name] = path
    if not found:
        raise DataError(
            f"{top}: holds no {purpose}, which should match {pattern!r} and end in one of {', '.join(IMAGE_ENDINGS)}"
        )
    return found


def _walk(top: Path) -> Iterator[Path]:
    # Data sets are often put together from links to folders, hence followlinks.
    for folder, subfolders, files in os.walk(top, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(IMAGE_ENDINGS):
                yield Path(folder, name)


def _compiled(pattern: str) -> tuple[str, re.Pattern[str]]:
    """The folder before the first wildcard, and an expression for paths below it, a group a wildcard."""
    if "*" not in pattern and "?" not in pattern:
        pattern = f"{pattern}/**/*"
    parts = Path(pattern).as_posix().split("/")
    if parts[-1] == "**":
        parts.append("*")
    first = next(place for place, part in enumerate(parts) if "*" in part or "?" in part)
    expressions = ["((?:[^/]+/)*)" if part == "**" else _of_name(part) + "/" for part in parts[first:-1]]
    # An ending that the last wildcard would take in is no part of the name.
    last = _of_name(parts[-1]) + (r"\.[^./]+" if parts[-1].endswith("*") else "")
    return "/".join(parts[:first]), re.compile("".join(expressions) + last)


def _of_name(part: str) -> str:
    wildcards = {"*": "([^/]*)", "?": "([^/])"}
    return "".join(wildcards.get(character, re.escape(character)) for character in part)


def _read_split_file(root: Path, path: Path, images: dict[str, Path]) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a split file ({error}); {_what_there_is(path)}") from error
    called: dict[str, str] = {}
    for name, image in images.items():
        below = Path(os.path.relpath(image, root))
        for alias in (name, name + image.suffix, below.as_posix(), below.with_suffix("").as_posix()):
            called.setdefault(alias, name)
    names: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            name = called[line.strip().removeprefix("./")]
        except KeyError:
            example = next(iter(images))
            raise DataError(
                f"{path}, line {number}: {line.strip()!r} names none of the {len(images)} images; one is {example!r}"
            ) from None
        if name in names:
            raise DataError(f"{path}, line {number}: {name!r} is listed before, in line {names[name]}")
        names[name] = number
    if not names:
        raise DataError(f"{path}: lists no image")
    return list(names)


def _what_there_is(path: Path) -> str:
    """What the nearest folder that exists above `path` holds."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{folder} holds {listed}" if names else f"{folder} is empty"
