"""Aerial images of the ISPRS for seglit: Potsdam and Vaihingen, cut to windows.

python scripts/prepare_isprs.py potsdam downloads/2_Ortho_RGB downloads/5_Labels_all_noBoundary data/potsdam
python scripts/prepare_isprs.py vaihingen downloads/top downloads/gts_eroded data/vaihingen

The output has images/{train,val} and masks/{train,val}: windows of 512 x 512 at steps of 256, the last of a row or
column shifted back inside, named by tile, top and left. Masks hold the class, 0 to 5, and 255 where the label is
black. A colour is taken for the nearest of the six up to a distance of 8 grey values, as some labels of Potsdam
have such; any other stops.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from preparation import (
    arguments_of,
    check_count,
    check_pairs,
    matching,
    readable_errors,
    save_mask,
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


def prepare(name: str, images: Path, labels: Path, folder: Path, any_count: bool) -> str:
    """Write the windows of all tiles."""
    counts = {"train": 0, "val": 0}
    with unpacked(images) as image_files, unpacked(labels) as label_files:
        tiles = matching(image_files, NAMES[name][0], "images", images)
        masks = matching(label_files, NAMES[name][1], "labels", labels)
        check_pairs(tiles, masks)
        check_count(len(tiles), TILES[name], "tiles", any_count)
        for tile in track(sorted(tiles), "tiles"):
            split = "train" if tile in TRAINING[name] else "val"
            image, mask = read(tiles[tile]), to_labels(read(masks[tile]), masks[tile])
            if image.shape[:2] != mask.shape:
                raise ValueError(f"{tiles[tile]}: is {image.shape[:2]}, but its label {masks[tile]} is {mask.shape}")
            for top, left in windows(*mask.shape):
                place = (slice(top, top + SIZE), slice(left, left + SIZE))
                target = folder / "images" / split / f"{tile}_{top}_{left}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[place]).save(target)
                save_mask(folder / "masks" / split / target.name, mask[place])
                counts[split] += 1
    return f"{counts['train']} training and {counts['val']} validation windows of {len(tiles)} tiles"


def read(path: Path) -> np.ndarray:
    """Three channels of 8 bits."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def to_labels(colours: np.ndarray, path: Path) -> np.ndarray:
    """Classes by colour.

    Raises:
        ValueError: names the file, the pixel and the colour that is none.
    """
    labels = np.full(colours.shape[:2], len(COLOURS) + 1, np.uint8)
    for label, colour in enumerate((*COLOURS, (0, 0, 0))):
        near = (np.abs(colours.astype(np.int16) - colour) <= TOLERANCE).all(-1)
        labels[near] = label
    unknown = np.argwhere(labels == len(COLOURS) + 1)
    if len(unknown):
        row, column = unknown[0].tolist()
        colour = colours[row, column].tolist()
        raise ValueError(f"{path}: row {row}, column {column} has the colour {colour}, which is no class's")
    labels[labels == len(COLOURS)] = VOID
    return labels


def windows(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Top left corners of windows that cover the tile."""
    for top in starts(height):
        for left in starts(width):
            yield top, left


def starts(length: int) -> list[int]:
    """Where windows begin along one side; the last is shifted back inside."""
    last = max(length - SIZE, 0)
    return sorted({*range(0, last + 1, STEP), last})


if __name__ == "__main__":
    main()
