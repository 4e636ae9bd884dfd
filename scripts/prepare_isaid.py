"""Aerial images of iSAID for seglit, cut to windows.

python scripts/prepare_isaid.py TRAIN/images TRAIN/Semantic_masks VAL/images VAL/Semantic_masks data/isaid

Each argument is a folder or an archive; the images are those of DOTA v1.0, the labels *_instance_color_RGB.png. The
output has images/{train,val} and masks/{train,val}: windows of 896 x 896 at steps of 512, the last of a row or column
shifted back inside, named by image, top and left. Masks hold the class, 0 (background) to 15.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from aerial import read_pair, to_labels, write_windows
from preparation import (
    arguments_of,
    check_count,
    check_pairs,
    matching,
    readable_errors,
    track,
    unpacked,
    write_folder,
)

COLOURS = (
    *((0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255), (0, 127, 63)),
    *((0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127), (0, 127, 191), (0, 127, 255)),
    (0, 100, 155),
)
SIZE = 896
STEP = 512
IMAGES = {"train": 1411, "val": 458}
SOURCES = ("train_images", "train_labels", "val_images", "val_labels")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = arguments_of(__doc__)
    for name in SOURCES:
        parser.add_argument(name, type=Path, help=f"folder or archive of the {name.replace('_', ' ')}")
    parser.add_argument("output", type=Path, help="folder to make")
    options = parser.parse_args(arguments)
    with readable_errors():
        write_folder(options.output, options.force, lambda folder: prepare(options, folder))


def prepare(options: argparse.Namespace, folder: Path) -> str:
    """Write the windows of all images."""
    counts = dict.fromkeys(IMAGES, 0)
    for split, words in {"train": "training", "val": "validation"}.items():
        images, labels = (getattr(options, f"{split}_{kind}") for kind in ("images", "labels"))
        with unpacked(images) as image_files, unpacked(labels) as label_files:
            tiles = matching(image_files, r"(P\d+)\.png", f"{words} images", images)
            masks = matching(label_files, r"(P\d+)_instance_color_RGB\.png", f"{words} labels", labels)
            check_pairs(tiles, masks)
            check_count(len(tiles), IMAGES[split], f"{words} images", options.any_count)
            for tile in track(sorted(tiles), f"{words} images"):
                image, colours = read_pair(tiles[tile], masks[tile])
                found = to_labels(colours, masks[tile], COLOURS)
                counts[split] += write_windows(image, found, folder, split, tile, SIZE, STEP)
    return f"{counts['train']} training and {counts['val']} validation windows"


if __name__ == "__main__":
    main()
