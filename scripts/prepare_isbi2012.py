"""Neurons of ISBI 2012 for seglit.

python scripts/prepare_isbi2012.py downloads/isbi2012 data/isbi2012

The folder has train-volume.tif and train-labels.tif, stacks of 30 slices. The output has images/{train,val} and
masks/{train,val} with 0 for cells and 1 for membranes, which the labels show black; the last 6 slices are for
validation.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from preparation import arguments_of, binary, check_count, readable_errors, save_mask, track, write_folder

SLICES = 30
VALIDATION = 6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("source", type=Path, help="folder with train-volume.tif and train-labels.tif")
    parser.add_argument("output", type=Path, help="folder to make")
    options = parser.parse_args(arguments)
    with readable_errors():
        write_folder(options.output, options.force, lambda folder: prepare(options.source, folder, options.any_count))


def pages(path: Path) -> list[np.ndarray]:
    """The slices of a stack, grey."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with Image.open(path) as stack:
        return [np.asarray(page.convert("L")) for page in ImageSequence.Iterator(stack)]


def prepare(source: Path, folder: Path, any_count: bool) -> str:
    """Write the slices."""
    volume, labels = pages(source / "train-volume.tif"), pages(source / "train-labels.tif")
    check_count(len(volume), SLICES, "slices", any_count)
    check_count(len(labels), len(volume), "slices of labels", any_count=False)
    for place in track(range(len(volume)), "slices"):
        split = "val" if place >= len(volume) - VALIDATION else "train"
        target = folder / "images" / split / f"{place:02d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(volume[place]).convert("RGB").save(target)
        save_mask(folder / "masks" / split / target.name, 1 - binary(labels[place], source / "train-labels.tif"))
    return f"{len(volume) - VALIDATION} training and {VALIDATION} validation slices"


if __name__ == "__main__":
    main()
