"""Nuclei of the Data Science Bowl 2018 for seglit.

python scripts/prepare_dsb2018.py downloads/stage1_train.zip data/dsb2018

The output has images/{train,val,test} and masks/{train,val,test}, where the masks of an image's nuclei are merged:
0 is background, 1 a nucleus. A tenth of the images each, drawn by their names, are for validation and for the test.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from preparation import (
    arguments_of,
    check_count,
    matching,
    readable_errors,
    save_mask,
    track,
    unpacked,
    write_folder,
)

IMAGES = 670


def main(arguments: Sequence[str] | None = None) -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("source", type=Path, help="stage1_train.zip, or its folder")
    parser.add_argument("output", type=Path, help="folder to make")
    options = parser.parse_args(arguments)
    with readable_errors():
        write_folder(options.output, options.force, lambda folder: prepare(options.source, folder, options.any_count))


def split_of(name: str) -> str:
    """Where an image goes, by a hash of its name."""
    return {0: "test", 1: "val"}.get(int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10, "train")


def prepare(source: Path, folder: Path, any_count: bool) -> str:
    """Write the images, and their masks merged."""
    with unpacked(source) as files:
        images = matching(files, r"([^/]+)/images/[^/]+\.png", "images", source)
        check_count(len(images), IMAGES, "images", any_count)
        counts: Counter[str] = Counter()
        for name in track(sorted(images), "nuclei"):
            split = split_of(name)
            with Image.open(images[name]) as image:
                picture = image.convert("RGB")
            parts = sorted((images[name].parents[1] / "masks").glob("*.png"))
            if not parts:
                raise ValueError(f"{images[name]}: has no mask beside it, in {images[name].parents[1] / 'masks'}")
            merged = np.zeros((picture.height, picture.width), bool)
            for part in parts:
                with Image.open(part) as nucleus:
                    shape = np.asarray(nucleus.convert("L")) > 0
                if shape.shape != merged.shape:
                    raise ValueError(f"{part}: is {shape.shape}, but its image is {merged.shape}")
                merged |= shape
            target = folder / "images" / split / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.save(target)
            save_mask(folder / "masks" / split / target.name, merged)
            counts[split] += 1
    return ", ".join(f"{counts[split]} {split}" for split in ("train", "val", "test")) + " images"


if __name__ == "__main__":
    main()
