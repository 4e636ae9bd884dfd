"""What a data set says of itself, in its classes.json."""

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seglit.data.errors import DataError
from seglit.data.normalise import IMAGENET_MEAN, IMAGENET_STD
from seglit.data.palette import Colour, checked_palette, default_palette

FILE_NAME = "classes.json"
Numbers = tuple[float, float, float]


@dataclass(frozen=True)
class Description:
    """The contents of a classes.json; None where it is silent, and everywhere if there is none.

    Attributes:
        path: Where it is, or would be.
        classes: The names of the classes.
        palette: A colour for each class.
        ignore_index: The value of void in the masks.
        mean: The images' mean by channel, in units of 0 to 255; ImageNet's where the file is silent.
        std: Their standard deviation by channel, likewise.
    """

    path: Path
    classes: list[str] | None = None
    palette: list[Colour] | None = None
    ignore_index: int | None = None
    mean: Numbers = IMAGENET_MEAN
    std: Numbers = IMAGENET_STD

    def check_ignore_index(self, ignore_index: int, label_map: Mapping[int, int] | None) -> None:
        """Compares `ignore_index` with the file's, unless `label_map` says what becomes of that value.

        Raises:
            DataError: With both, if they differ.
        """
        written = self.ignore_index
        if written not in (None, ignore_index, *(label_map or ())):
            raise DataError(
                f"ignore_index={ignore_index}, but {self.path} says {written}; give the same, "
                f"or say in label_map what becomes of {written}, for instance {{{written}: {ignore_index}}}"
            )

    def classes_and_palette(
        self, num_classes: int, classes: Sequence[str] | None, palette: Sequence[Sequence[int]] | None
    ) -> tuple[list[str], list[Colour]]:
        """The names and colours of the classes: those given, else the file's, else made up.

        The file's colours belong to the file's classes: where other classes are given they are not used.

        Raises:
            DataError: If either is not `num_classes` long, with both numbers, or not of its kind.
        """
        if palette is not None:
            colours = checked_palette(palette, "palette")
        elif classes is None and self.palette is not None:
            colours = self.palette
        else:
            colours = default_palette(num_classes)
        if classes is not None:
            names = checked_names(classes, "classes")
        else:
            names = self.classes or [f"class_{label}" for label in range(num_classes)]
        for key, values, given in (("classes", names, classes), ("palette", colours, palette)):
            if len(values) != num_classes:
                source = f"{key} of {self.path}" if given is None else key
                raise DataError(
                    f"num_classes={num_classes}, but {source} has {len(values)} entries; "
                    "give as many, or classes and palette of your own"
                )
        return names, colours


def read_description(root: Path) -> Description:
    """What `classes.json` in the folder says. Keys other than those of `Description` are for people.

    Raises:
        DataError: Names the file and the key, if it cannot be read, a value is not of its kind, or a key is nearly but
            not quite one that is read.
    """
    path = root / FILE_NAME
    if not path.is_file():
        return Description(path)
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(contents, dict):
        raise DataError(f"{path}: must hold a JSON object, with a list of names under 'classes'")
    checks: dict[str, Callable[[Any, str], Any]] = {
        "classes": checked_names,
        "palette": checked_palette,
        "ignore_index": _checked_integer,
        "mean": checked_mean,
        "std": checked_std,
    }
    for key in contents.keys() - checks.keys():
        if close := difflib.get_close_matches(str(key), checks, n=1, cutoff=0.8):
            raise DataError(f"{path}: {key!r} is not read; did you mean {close[0]!r}?")
    try:
        found = {key: check(contents[key], key) for key, check in checks.items() if key in contents}
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return Description(path, **found)


def checked_names(names: Any, origin: str) -> list[str]:
    """The names of classes. Takes anything, as it may come from a file.

    Raises:
        ValueError: Names `origin`, if they are no list of different, non-empty strings.
    """
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{origin}: must be a list of names, got {names!r}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{origin}: every class needs a name of its own, got {repeated} more than once")
    return list(names)


def checked_mean(numbers: Any, origin: str) -> Numbers:
    """Three finite numbers, for red, green and blue. Takes anything, as it may come from a file.

    Raises:
        ValueError: Names `origin`, if they are something else.
    """
    values = numbers if isinstance(numbers, list | tuple) else ()
    if len(values) != 3 or not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        raise ValueError(f"{origin}: must be three numbers, for red, green and blue, got {numbers!r}")
    return float(values[0]), float(values[1]), float(values[2])


def checked_std(numbers: Any, origin: str) -> Numbers:
    """Three positive numbers, for red, green and blue. Takes anything, as it may come from a file.

    Raises:
        ValueError: Names `origin`, if they are something else.
    """
    values = checked_mean(numbers, origin)
    if min(values) <= 0:
        raise ValueError(f"{origin}: must be positive, as images are divided by it, got {numbers!r}")
    return values


def _checked_integer(value: Any, origin: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{origin}: must be a whole number, got {value!r}")
    return value
