"""Aerial images of the ISPRS for seglit: Potsdam and Vaihingen, cut to windows.

python scripts/prepare_isprs.py potsdam downloads/2_Ortho_RGB downloads/5_Labels_all_noBoundary data/potsdam
python scripts/prepare_isprs.py vaihingen downloads/top downloads/gts_eroded data/vaihingen

The output has images/{train,val} and masks/{train,val}: windows of 512 x 512 at steps of 256, the last of a row or
column shifted back inside, named by tile, top and left. Masks hold the class, 0 to 5, and 255 where the label is
black. A colour is taken for the nearest of the six up to a distance of 8 grey values, as some labels of Potsdam
have such; any other stops.
"""

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

COLOURS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))
VOID = 255
TOLERANCE = 8
SIZE = 512
STEP = 256
NAMES = {
    "potsdam": (r"top_potsdam_(\d+_\d+)_RGB\.tif", r"top_potsdam_(\d+_\d+)_label(?:_noBoundary)?\.tif"),
    "vaihingen": (r"top_mosaic_09cm_area(\d+)\.tif", r"top_mosaic_09cm_area(\d+)(?:_noBoundary)?\.tif"),
}
TRAINING = {
    "potsdam": {
        *("2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12"),
        *("6_7", "6_8", "6_9", "6_10", "6_11", "6_12", "7_7", "7_8", "7_9", "7_10", "7_11", "7_12"),
    },
    "vaihingen": {"1", "3", "5", "7", "11", "13", "15", "17", "21", "23", "26", "28", "30", "32", "34", "37"},
}
TILES = {"potsdam": 38, "vaihingen": 33}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("set", choices=sorted(NAMES))
    parser.add_argument("images", type=Path, help="folder or archive of the images")
    parser.add_argument("labels", type=Path, help="folder or archive of the labels")
    parser.add_argument("output", type=Path, help="folder to make")
    options = parser.parse_args(arguments)
    with readable_errors():
        write_folder(
            options.output,
            options.force,
            lambda folder: prepare(options.set, options.images, options.labels, folder, options.any_count),
        )


def prepare(name: str, images: Path, label_source: Path, folder: Path, any_count: bool) -> str:
    """Write the windows of all tiles."""
    counts = {"train": 0, "val": 0}
    with unpacked(images) as image_files, unpacked(label_source) as label_files:
        tiles = matching(image_files, NAMES[name][0], "images", images)
        masks = matching(label_files, NAMES[name][1], "labels", label_source)
        check_pairs(tiles, masks)
        check_count(len(tiles), TILES[name], "tiles", any_count)
        for tile in track(sorted(tiles), "tiles"):
            split = "train" if tile in TRAINING[name] else "val"
            image, colours = read_pair(tiles[tile], masks[tile])
            labels = to_labels(colours, masks[tile], (*COLOURS, (0, 0, 0)), TOLERANCE)
            labels[labels == len(COLOURS)] = VOID
            counts[split] += write_windows(image, labels, folder, split, tile, SIZE, STEP)
    return f"{counts['train']} training and {counts['val']} validation windows of {len(tiles)} tiles"


if __name__ == "__main__":
    main()
