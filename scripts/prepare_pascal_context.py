"""Pascal Context for seglit.

python scripts/prepare_pascal_context.py downloads/pascal-context data/VOCdevkit/VOC2010 data/pascal_context

The first folder has trainval/*.mat, labels.txt and 59_labels.txt as downloaded. The output has images/{train,val}
and masks/{train,val} with 0 for the background, which is all that is none of the 59 classes, and the classes from
1, in the order of data=pascal_context; split by VOC's ImageSets/Main.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from preparation import arguments_of, check_count, readable_errors, save_mask, track, write_folder
from seglit.config import compose

COUNTS = {"train": 4998, "val": 5105}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("context", type=Path, help="folder with trainval, labels.txt and 59_labels.txt")
    parser.add_argument("voc", type=Path, help="folder VOC2010")
    parser.add_argument("output", type=Path, help="folder to make")
    options = parser.parse_args(arguments)
    with readable_errors():
        write_folder(
            options.output,
            options.force,
            lambda folder: prepare(options.context, options.voc, folder, options.any_count),
        )


def numbered(path: Path) -> dict[str, int]:
    """The names in a file of lines such as `2: aeroplane`, with their numbers.

    Raises:
        ValueError: names the file and the line that is not of this form.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    result = {}
    for place, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            number, colon, name = line.partition(":")
            if not colon or not number.strip().isdigit():
                raise ValueError(f"{path}, line {place}: {line!r} is no number, colon and name")
            result[name.strip()] = int(number)
    return result


def lookup(context: Path) -> np.ndarray:
    """Our label for each number of the 459 classes.

    Raises:
        ValueError: where the 59 classes are not those of data=pascal_context.
    """
    classes = list(compose(["data=pascal_context", "name=x", "output_dir=x"]).data.classes)
    numbers = numbered(context / "labels.txt")
    listed = set(numbered(context / "59_labels.txt"))
    if strange := listed.symmetric_difference(classes[1:]):
        raise ValueError(f"{context / '59_labels.txt'}: is not of our classes: {', '.join(sorted(strange))}")
    if missing := [name for name in classes[1:] if name not in numbers]:
        raise ValueError(f"{context / 'labels.txt'}: has no class {', '.join(missing)}")
    table = np.zeros(max(numbers.values()) + 1, np.uint8)
    for label, name in enumerate(classes[1:], start=1):
        table[numbers[name]] = label
    return table


def prepare(context: Path, voc: Path, folder: Path, any_count: bool) -> str:
    """Write images and masks of both splits."""
    table = lookup(context)
    mats = {path.stem: path for path in (context / "trainval").glob("*.mat")}
    if not mats:
        raise ValueError(f"{context / 'trainval'}: holds no .mat file")
    counts = {}
    for split, expected in COUNTS.items():
        path = voc / "ImageSets" / "Main" / f"{split}.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such list; give the folder VOC2010")
        names = [name for name in path.read_text(encoding="utf-8").split() if name in mats]
        check_count(len(names), expected, f"images of {split}", any_count)
        for name in track(names, split):
            numbers = np.asarray(loadmat(mats[name])["LabelMap"])
            if numbers.max() >= len(table):
                raise ValueError(
                    f"{mats[name]}: has the class {numbers.max()}, but labels.txt ends at {len(table) - 1}"
                )
            target = folder / "images" / split / f"{name}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(voc / "JPEGImages" / target.name, target)
            save_mask(folder / "masks" / split / f"{name}.png", table[numbers])
        counts[split] = len(names)
    return f"{counts['train']} training and {counts['val']} validation images"


if __name__ == "__main__":
    main()
