"""Sets of retinal vessels for seglit: DRIVE, STARE, CHASE_DB1 and HRF.

python scripts/prepare_vessels.py drive downloads/drive data/drive

The source is the folder of the downloaded archives, or of what is in them. The output has images/{train,val} and
masks/{train,val} with 0 for background and 1 for vessels, split as in MMSegmentation: of DRIVE what it calls
training and test, of STARE the first 10 and the last 10, of CHASE_DB1 the first 20 and the last 8, of HRF the first
5 and the last 10 of each of its three groups.
"""

import gzip
import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from preparation import (
    arguments_of,
    binary,
    check_count,
    check_pairs,
    matching,
    readable_errors,
    save_mask,
    track,
    unpacked,
    write_folder,
)


@dataclass(frozen=True)
class Vessels:
    """How the files of a set are called, and which of its images train.

    Attributes:
        images: pattern of the image files, with the name of the image as its group.
        masks: likewise of the masks.
        trains: whether an image trains, by its place among the sorted names and its name.
        counts: numbers of training and validation images.
    """

    images: str
    masks: str
    trains: Callable[[int, str], bool]
    counts: tuple[int, int]


SETS = {
    # Numbers 21 to 40 train, 1 to 20 are the test.
    "drive": Vessels(r"(\d\d)_(?:training|test)\.tif", r"(\d\d)_manual1\.gif", lambda _, name: name > "20", (20, 20)),
    "stare": Vessels(r"(im\d{4})\.ppm(?:\.gz)?", r"(im\d{4})\.ah\.ppm(?:\.gz)?", lambda place, _: place < 10, (10, 10)),
    "chase_db1": Vessels(
        r"(Image_\d\d[LR])\.jpg", r"(Image_\d\d[LR])_1stHO\.png", lambda place, _: place < 20, (20, 8)
    ),
    "hrf": Vessels(r"(\d\d_(?:dr|g|h))\.jpe?g", r"(\d\d_(?:dr|g|h))\.tif", lambda _, name: name[:2] <= "05", (15, 30)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("source", type=Path, help="folder of the archives, or of what is in them")
    parser.add_argument("output", type=Path, help="folder to make")
    options = parser.parse_args(arguments)
    with readable_errors():
        write_folder(
            options.output,
            options.force,
            lambda folder: prepare(SETS[options.set], options.source, folder, options.any_count),
        )


def prepare(vessels: Vessels, source: Path, folder: Path, any_count: bool) -> str:
    """Write the pairs of a set."""
    with unpacked(source) as files:
        images = matching(files, vessels.images, "images", source)
        masks = matching(files, vessels.masks, "masks", source)
        check_pairs(images, masks)
        names = sorted(images)
        splits = {name: "train" if vessels.trains(place, name) else "val" for place, name in enumerate(names)}
        counts = [list(splits.values()).count(split) for split in ("train", "val")]
        for split, found, expected in zip(("training", "validation"), counts, vessels.counts, strict=True):
            check_count(found, expected, f"{split} images", any_count)
        for name in track(names, "vessels"):
            write_image(images[name], folder / "images" / splits[name] / name)
            save_mask(folder / "masks" / splits[name] / f"{name}.png", binary(read(masks[name]), masks[name]))
    return f"{counts[0]} training and {counts[1]} validation images"


def read(path: Path) -> np.ndarray:
    """The pixels of an image file, which may be packed by gzip; colours of a palette as grey or RGB."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB") if image.mode not in {"1", "L"} else image.convert("L"))


def write_image(path: Path, target: Path) -> None:
    """Copy an image, or write it as PNG where its format is one that few programs read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in {".jpg", ".jpeg", ".tif"}:
        shutil.copyfile(path, target.with_name(target.name + path.suffix.lower()))
    else:
        Image.fromarray(read(path)).save(target.with_name(f"{target.name}.png"))


if __name__ == "__main__":
    main()
