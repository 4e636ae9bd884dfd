"""Tiny data in the original layout of every shipped data set: noise, with labels that the set's files may hold."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 96
READY = {
    "ade20k": ("images/{split}/{name}.jpg", "annotations/{split}/{name}.png", ("training", "validation"), (0, 1, 150)),
    "camvid": ("images/{split}/{name}.png", "masks/{split}/{name}.png", ("train", "val", "test"), (0, 10, 255)),
    "chase_db1": ("images/{split}/{name}.jpg", "masks/{split}/{name}.png", ("train", "val"), (0, 1)),
    "cityscapes": (
        "leftImg8bit/{split}/bonn/{name}_leftImg8bit.png",
        "gtFine/{split}/bonn/{name}_gtFine_labelIds.png",
        ("train", "val"),
        (0, 7, 8, 33),
    ),
    "cityscapes_coarse": (
        "leftImg8bit/{split}/bonn/{name}_leftImg8bit.png",
        "gtCoarse/{split}/bonn/{name}_gtCoarse_labelIds.png",
        ("train_extra", "val"),
        (0, 7, 8, 33),
    ),
    "coco_stuff164k": (
        "images/{split}/{name}.jpg",
        "annotations/{split}/{name}.png",
        ("train2017", "val2017"),
        (0, 12, 181, 255),
    ),
    "drive": ("images/{split}/{name}.tif", "masks/{split}/{name}.png", ("train", "val"), (0, 1)),
    "dsb2018": ("images/{split}/{name}.png", "masks/{split}/{name}.png", ("train", "val", "test"), (0, 1)),
    "folder": ("images/{split}/{name}.png", "masks/{split}/{name}.png", ("train", "val", "test"), (0, 1, 2, 255)),
    "hrf": ("images/{split}/{name}.jpg", "masks/{split}/{name}.png", ("train", "val"), (0, 1)),
    "isaid": ("images/{split}/{name}.png", "masks/{split}/{name}.png", ("train", "val"), (0, 15)),
    "isbi2012": ("images/{split}/{name}.png", "masks/{split}/{name}.png", ("train", "val"), (0, 1)),
    "loveda": (
        "{split}/Urban/images_png/{name}.png",
        "{split}/Urban/masks_png/{name}.png",
        ("Train", "Val"),
        (0, 1, 7),
    ),
    "pascal_context": ("images/{split}/{name}.jpg", "masks/{split}/{name}.png", ("train", "val"), (0, 1, 59)),
    "pascal_context_59": ("images/{split}/{name}.jpg", "masks/{split}/{name}.png", ("train", "val"), (0, 1, 59)),
    "potsdam": ("images/{split}/{name}.png", "masks/{split}/{name}.png", ("train", "val"), (0, 5, 255)),
    "stare": ("images/{split}/{name}.png", "masks/{split}/{name}.png", ("train", "val"), (0, 1)),
    "vaihingen": ("images/{split}/{name}.png", "masks/{split}/{name}.png", ("train", "val"), (0, 5, 255)),
    "voc2012": (
        "JPEGImages/{split}_{name}.jpg",
        "SegmentationClass/{split}_{name}.png",
        ("train", "val"),
        (0, 20, 255),
    ),
    "voc2012_aug": (
        "JPEGImages/{split}_{name}.jpg",
        "SegmentationClassAug/{split}_{name}.png",
        ("trainaug", "val"),
        (0, 20, 255),
    ),
}
"""By configuration: where an image and its mask are, the splits, and values of the masks."""


def write_layout(name: str, root: Path, per_split: int = 2) -> list[str]:
    """Write tiny data for `data=<name>`, and return the overrides that it needs."""
    if name == "bluemarble":
        return []
    image, mask, splits, values = READY[name]
    random = np.random.default_rng(0)
    for split in splits:
        names = [f"{place:02d}" for place in range(per_split)]
        for place in names:
            labels = random.choice(np.array(values, np.uint8), (SIDE // 8, SIDE // 8)).repeat(8, 0).repeat(8, 1)
            # A value that is surely there, whatever is drawn.
            labels[:8, : 8 * len(values)] = np.repeat(np.array(values, np.uint8), 8)
            pixels = (labels[..., None] * np.array([1, 2, 3]) % 200 + random.integers(0, 50, (SIDE, SIDE, 3))) % 256
            save(root / image.format(split=split, name=place), pixels.astype(np.uint8))
            save(root / mask.format(split=split, name=place), labels)
        if name.startswith("voc2012"):
            listed = root / "ImageSets" / "Segmentation" / f"{split}.txt"
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.write_text("".join(f"{split}_{place}\n" for place in names))
    more = ["data.num_classes=3", "data.train_transforms.crop.height=64"] if name == "folder" else []
    return [f"data.root={root}", *more]


def save(path: Path, pixels: np.ndarray) -> None:
    """Write an image by its ending, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def archive(folder: Path, kind: str) -> Path:
    """Pack a folder, which goes, into an archive beside it."""
    path = Path(shutil.make_archive(str(folder), kind, folder))
    shutil.rmtree(folder)
    return path


def noise(seed: int, height: int, width: int, *channels: int) -> np.ndarray:
    """Bytes."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, *channels)).astype(np.uint8)


def checker(values: Sequence[int], height: int, width: int) -> np.ndarray:
    """Stripes of the values."""
    return np.array(values, np.uint8)[np.arange(height) // 8 % len(values)][:, None].repeat(width, 1)
