"""A small data set without a fault, and planters: each writes exactly one fault into such a set."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

WIDTH, HEIGHT, CLASSES = 96, 64, 3
COUNTS = {"train": 4, "val": 3, "test": 2}
COLOURS = np.array([(40, 60, 50), (200, 60, 60), (60, 60, 220)], np.uint8)
Options = dict[str, Any]


class Planted(NamedTuple):
    """What a planter does, and what has to be said of it.

    Attributes:
        kind: That of the finding.
        plant: Changes the files below a root; gives the arguments of the data module that it needs.
        file: Part of the path that has to be named.
        mend: Part of the words of the mend.
        fault: Whether it spoils training.
    """

    kind: str
    plant: Callable[[Path], Options | None]
    file: str
    mend: str
    fault: bool = True


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> tuple[np.ndarray, np.ndarray]:
    """An image of boxes on a ground of slow waves, and its labels with a frame of void at the top."""
    draw = np.random.default_rng([7, seed])
    labels = np.zeros((height, width), np.uint8)
    for label in (1, 2, 1, 2):
        top, left = int(draw.integers(2, height - 22)), int(draw.integers(0, width - 26))
        labels[top : top + int(draw.integers(8, 20)), left : left + int(draw.integers(8, 24))] = label
    rows, columns = np.mgrid[:height, :width] / 12
    phase = draw.uniform(0, 6, 3)
    waves = 25 * (np.sin(rows + phase[0]) + np.cos(columns + phase[1]) + np.sin(rows - columns + phase[2]))
    image = COLOURS[labels] + waves[..., None] + draw.normal(0, 4, (height, width, 3))
    labels[0] = 255
    return np.clip(image, 0, 255).astype(np.uint8), labels


def write_clean(root: Path) -> Path:
    """A set without a fault."""
    seed = 0
    for split, count in COUNTS.items():
        for number in range(count):
            image, labels = picture(seed)
            write(root / "images" / split / f"{number}.png", image)
            write(root / "masks" / split / f"{number}.png", labels)
            seed += 1
    return root


def write(path: Path, pixels: np.ndarray | Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def image(root: Path, split: str = "train", number: int = 1) -> Path:
    return root / "images" / split / f"{number}.png"


def mask(root: Path, split: str = "train", number: int = 1) -> Path:
    return root / "masks" / split / f"{number}.png"


def masks(root: Path) -> list[Path]:
    return sorted((root / "masks").rglob("*.png"))


def edit(path: Path, change: Callable[[np.ndarray], np.ndarray], **options: Any) -> None:
    """Change an array in a file."""
    write(path, change(read(path)), **options)


def edit_masks(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in masks(root):
        edit(path, change)


def table(entries: dict[int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """A change of values, others as they are."""
    lookup = np.arange(256)
    lookup[list(entries)] = list(entries.values())
    return lambda values: lookup[values].astype(np.uint8)


def cut(path: Path, share: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def as_jpeg(path: Path, target: Path, quality: int = 90, **options: Any) -> None:
    write(target, read(path), format="JPEG", quality=quality, **options)


# What is wrong with folders and names.


def no_root(root: Path) -> None:
    shutil.rmtree(root)


def no_images(root: Path) -> None:
    shutil.rmtree(root / "images" / "val")


def no_masks(root: Path) -> None:
    shutil.rmtree(root / "masks" / "val")


def empty_split(root: Path) -> None:
    for path in (root / "images" / "val").iterdir():
        path.unlink()


def masks_of_arrays(root: Path) -> None:
    for path in (root / "masks" / "val").iterdir():
        np.save(path.with_suffix(".npy"), read(path))
        path.unlink()


def mask_lost(root: Path) -> None:
    mask(root).unlink()


def mask_renamed(root: Path) -> None:
    image(root).rename(image(root).with_name("street_1.png"))
    mask(root).rename(mask(root).with_name("Street_01.png"))


def masks_with_suffix(root: Path) -> None:
    for path in masks(root):
        path.rename(path.with_name(f"{path.stem}_label.png"))


def image_lost(root: Path) -> None:
    image(root).unlink()


def two_of_one_name(root: Path) -> None:
    as_jpeg(image(root), image(root).with_suffix(".jpg"))


def two_masks_of_one_name(root: Path) -> None:
    write(mask(root).with_suffix(".bmp"), read(mask(root)))


def ending_not_read(root: Path) -> None:
    write(image(root).with_name("9.gif"), read(image(root)))


def split_files(root: Path, **changed: str) -> Options:
    for split in COUNTS:
        names = [f"{split}_{number}" for number in range(COUNTS[split])]
        for folder in ("images", "masks"):
            for number, name in enumerate(names):
                target = root / folder / "all" / f"{name}.png"
                target.parent.mkdir(exist_ok=True)
                (root / folder / split / f"{number}.png").rename(target)
        (root / f"{split}.txt").write_text(changed.get(split, "".join(f"{name}\n" for name in names)))
    return {"images": "images/all", "masks": "masks/all", "split_file": "{split}.txt"}


def split_file_lost(root: Path) -> Options:
    options = split_files(root)
    (root / "val.txt").unlink()
    return options


def leak_by_split_file(root: Path) -> Options:
    return split_files(root, val="val_0\nval_1\nval_2\ntrain_2\n")


def split_twice(root: Path) -> Options:
    return {"val_split": "train"}


# What is wrong with images.


def not_an_image(root: Path) -> None:
    image(root).write_text("<html>404</html>")


def empty_image(root: Path) -> None:
    image(root).write_bytes(b"")


def broken_link(root: Path) -> None:
    image(root).unlink()
    image(root).symlink_to(root / "nowhere.png")


def cut_jpeg(root: Path) -> None:
    target = image(root).with_suffix(".jpg")
    as_jpeg(image(root), target)
    image(root).unlink()
    cut(target)


def cut_png(root: Path) -> None:
    cut(image(root))


def spoilt_png(root: Path) -> None:
    content = bytearray(image(root).read_bytes())
    content[len(content) // 2] ^= 0xFF
    image(root).write_bytes(bytes(content))


def spoilt_tag(root: Path) -> None:
    write(image(root), read(image(root)), dpi=(72, 72))
    content = bytearray(image(root).read_bytes())
    content[content.index(b"pHYs") + 13] ^= 0xFF  # the last byte but its checksum, which is wrong then
    image(root).write_bytes(bytes(content))


def sixteen_bits(root: Path) -> None:
    write(image(root), read(image(root))[..., 0].astype(np.uint16) * 16)


def fractions_for_image(root: Path) -> None:
    write(image(root).with_suffix(".tif"), read(image(root))[..., 0].astype(np.float32) / 255)
    image(root).unlink()


def transparent(root: Path) -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
    alpha[:20, :20] = 0
    edit(image(root), lambda pixels: np.concatenate([pixels, alpha], 2))


def transparent_palette(root: Path) -> None:
    write(image(root), Image.open(image(root)).quantize(64), transparency=0)


def several_pages(root: Path) -> None:
    first, second = Image.open(image(root)), Image.fromarray(picture(90)[0])
    write(image(root).with_suffix(".tif"), first, save_all=True, append_images=[second])
    image(root).unlink()


def animated(root: Path) -> None:
    first, second = Image.open(image(root)).copy(), Image.fromarray(picture(90)[0])
    write(image(root), first, save_all=True, append_images=[second])


def cmyk(root: Path) -> None:
    write(image(root).with_suffix(".jpg"), Image.open(image(root)).convert("CMYK"))
    image(root).unlink()


def one_colour(root: Path) -> None:
    edit(image(root), np.zeros_like)


def turn(root: Path, orientation: int, square: bool = False) -> Path:
    """Give an image a JPEG of the same look as stored, which readers turn."""
    if square:
        pixels, labels = picture(50, HEIGHT, HEIGHT)
        write(image(root), pixels)
        write(mask(root), labels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    target = image(root).with_suffix(".jpg")
    as_jpeg(image(root), target, exif=exif)
    image(root).unlink()
    return target


def turned_sideways(root: Path) -> None:
    turn(root, 6)


def turned_over(root: Path) -> None:
    turn(root, 3)


def turned_square(root: Path) -> None:
    turn(root, 8, square=True)


def mirrored(root: Path) -> None:
    turn(root, 2)


# What is wrong with a mask as a file.


def small_mask(root: Path) -> None:
    edit(mask(root), lambda labels: labels[::2, ::2])


def cropped_mask(root: Path) -> None:
    edit(mask(root), lambda labels: labels[:-3])


def transposed(root: Path) -> None:
    edit(mask(root), lambda labels: labels.T)


def empty_mask(root: Path) -> None:
    mask(root).write_bytes(b"")


def cut_mask(root: Path) -> None:
    cut(mask(root))


def shades(labels: np.ndarray) -> np.ndarray:
    """Labels in colours that are nobody's palette."""
    colours = np.zeros((256, 3), np.uint8)
    colours[:4] = [(10, 20, 30), (200, 10, 10), (10, 200, 10), (10, 10, 200)]
    colours[255] = (250, 250, 250)
    return colours[labels]


def colours_for_indices(root: Path) -> None:
    edit_masks(root, shades)


def colours_of_the_palette(root: Path) -> Options:
    edit_masks(root, lambda labels: COLOURS[np.where(labels == 255, 0, labels)])
    return {"palette": COLOURS.tolist()}


def colours_with_alpha(root: Path) -> None:
    edit(mask(root), lambda labels: np.dstack([shades(labels), np.full_like(labels, 255)]))


def equal_channels(root: Path) -> None:
    edit_masks(root, lambda labels: np.dstack([labels] * 3))


def grey_with_alpha(root: Path) -> None:
    write(mask(root), Image.open(mask(root)).convert("LA"))


def indices_for_colours(root: Path) -> Options:
    edit_masks(root, lambda labels: np.where(labels == 255, 0, labels).astype(np.uint8))
    return {"mask_format": "color", "mask_colors": COLOURS.tolist()}


def colour_unknown(root: Path) -> Options:
    edit_masks(root, lambda labels: COLOURS[np.where(labels == 255, 0, labels)])
    edit(mask(root), lambda pixels: np.where(np.arange(HEIGHT)[:, None, None] < 3, np.uint8(9), pixels))
    return {"mask_format": "color", "mask_colors": COLOURS.tolist()}


def fractions_for_mask(root: Path) -> None:
    write(mask(root).with_suffix(".tif"), read(mask(root)).astype(np.float32))
    mask(root).unlink()


def negative(root: Path) -> None:
    labels = read(mask(root)).astype(np.int32)
    write(mask(root).with_suffix(".tif"), np.where(labels == 255, -1, labels).astype(np.int32))
    mask(root).unlink()


def mask_pages(root: Path) -> None:
    first = Image.open(mask(root))
    write(mask(root).with_suffix(".tif"), first, save_all=True, append_images=[first.copy()])
    mask(root).unlink()


def palette_shuffled(root: Path) -> Options:
    order = [2, 0, 1]  # the index of each class
    for path in masks(root):
        labels = read(path)
        indices = np.full_like(labels, 255)
        for label, index in enumerate(order):
            indices[labels == label] = index
        shuffled = Image.fromarray(indices)
        colours = np.zeros((256, 3), np.uint8)
        colours[order] = COLOURS
        shuffled.putpalette(colours.tobytes())
        write(path, shuffled)
    return {"palette": COLOURS.tolist()}


def jpeg_mask(root: Path) -> None:
    as_jpeg(mask(root), mask(root).with_suffix(".jpg"), quality=60)
    mask(root).unlink()


def jpeg_called_png(root: Path) -> None:
    write(mask(root), read(mask(root)), format="JPEG", quality=60)


def mask_is_image(root: Path) -> None:
    shutil.copy(image(root), mask(root))


def masks_are_images(root: Path) -> Options:
    return {"masks": "images/{split}"}


# What is wrong with values.


def blended(root: Path) -> None:
    def change(labels: np.ndarray) -> np.ndarray:
        small = Image.fromarray(labels).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.NEAREST)
        return np.array(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))

    edit_masks(root, lambda labels: change(table({1: 100, 2: 200, 255: 255})(labels)))


def stray_value(root: Path) -> None:
    edit(mask(root), lambda labels: np.where(np.arange(WIDTH)[None] == 5, np.uint8(9), labels))


def too_few_classes(root: Path) -> None:
    edit_masks(root, table({1: 4, 2: 7}))


def not_mapped(root: Path) -> Options:
    edit_masks(root, table({0: 7, 1: 11, 2: 26}))
    edit(mask(root), lambda labels: np.where(np.arange(WIDTH)[None] == 5, np.uint8(12), labels))
    return {"label_map": {7: 0, 11: 1, 26: 2}}


def void_elsewhere(root: Path) -> None:
    edit_masks(root, lambda labels: np.where(labels == 255, 65535, labels.astype(np.uint16)).astype(np.uint16))


def other_ignore_index(root: Path) -> Options:
    return {"ignore_index": 254}


def counted_from_one(root: Path) -> None:
    edit_masks(root, table({0: 1, 1: 2, 2: 3}))


def zero_for_void(root: Path) -> None:
    edit_masks(root, table({0: 1, 1: 2, 2: 3, 255: 0}))


def two_classes(root: Path) -> None:
    edit_masks(root, table({2: 0, 255: 0}))


def binary(root: Path) -> Options:
    two_classes(root)
    edit_masks(root, table({1: 255}))
    return {"num_classes": 2}


def binary_with_other_void(root: Path) -> Options:
    return {**binary(root), "ignore_index": 254}


def stretched(root: Path) -> None:
    edit_masks(root, table({1: 100, 2: 200, 255: 0}))


def grey_of_colours(root: Path) -> Options:
    def change(labels: np.ndarray) -> np.ndarray:
        return np.array(Image.fromarray(COLOURS[np.where(labels == 255, 0, labels)]).convert("L"))

    edit_masks(root, change)
    return {"palette": COLOURS.tolist()}


def reduced_needlessly(root: Path) -> Options:
    return {"reduce_zero_label": True}


def one_class_too_many(root: Path) -> Options:
    edit_masks(root, table({0: 1, 1: 2, 2: 3}))
    return {"num_classes": 4}


def void_is_a_class(root: Path) -> Options:
    edit_masks(root, table({255: 0}))
    return {"ignore_index": 0}


# What is wrong with classes.


def all_void(root: Path) -> None:
    edit(mask(root), lambda labels: np.full_like(labels, 255))


def split_void(root: Path) -> None:
    for number in range(COUNTS["val"]):
        edit(mask(root, "val", number), lambda labels: np.full_like(labels, 255))


def one_class(root: Path) -> None:
    edit_masks(root, table({1: 0, 2: 0}))


def never_trained(root: Path) -> None:
    for number in range(COUNTS["train"]):
        edit(mask(root, "train", number), table({2: 0}))


def never_validated(root: Path) -> None:
    for number in range(COUNTS["val"]):
        edit(mask(root, "val", number), table({2: 0}))


def absent(root: Path) -> Options:
    return {"num_classes": 4}


def nearly_empty(root: Path) -> Options:
    large = np.zeros((600, 900), np.uint8)
    large[:300] = 1
    large[10, 10] = 3
    write(image(root), picture(60, 900, 600)[0])
    write(mask(root), large)
    for split in ("val", "test"):
        edit(mask(root, split, 0), lambda labels: np.where(np.arange(WIDTH)[None] == 5, np.uint8(3), labels))
    return {"num_classes": 4}


# Pictures that are there twice.


def copy(root: Path, source: Path, split: str, number: int, change: Callable[[Path], None]) -> None:
    """Put a picture with its labels under another name."""
    change(root / "images" / split / f"{number}")
    shutil.copy(mask(root, source.parent.name, int(source.stem)), mask(root, split, number))


def leak(root: Path) -> None:
    copy(root, image(root), "val", 9, lambda path: shutil.copy(image(root), path.with_suffix(".png")))


def leak_into_test(root: Path) -> None:
    source = image(root, "val")
    copy(root, source, "test", 9, lambda path: shutil.copy(source, path.with_suffix(".png")))


def leak_as_bmp(root: Path) -> None:
    copy(root, image(root), "val", 9, lambda path: write(path.with_suffix(".bmp"), read(image(root))))


def leak_as_jpeg(root: Path) -> None:
    copy(root, image(root), "val", 9, lambda path: as_jpeg(image(root), path.with_suffix(".jpg"), quality=50))


def leak_resized(root: Path) -> None:
    size = WIDTH * 2, HEIGHT * 2

    def larger(path: Path) -> None:
        write(path.with_suffix(".jpg"), Image.open(image(root)).resize(size, Image.Resampling.BICUBIC), quality=80)

    copy(root, image(root), "val", 9, larger)
    labels = Image.open(mask(root, "val", 9)).resize(size, Image.Resampling.NEAREST)
    write(mask(root, "val", 9), labels)


def twice(root: Path) -> None:
    copy(root, image(root), "train", 9, lambda path: shutil.copy(image(root), path.with_suffix(".png")))


def contradiction(root: Path) -> None:
    twice(root)
    edit(mask(root, "train", 9), lambda labels: labels[:, ::-1])


def mask_for_two(root: Path) -> None:
    shutil.copy(mask(root, "train", 0), mask(root))


# What is wrong with arguments.


def units(root: Path) -> Options:
    return {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def mixed_batch(root: Path) -> Options:
    pixels, labels = picture(70, 120, 80)
    write(image(root, "val"), pixels)
    write(mask(root, "val"), labels)
    return {"eval_batch_size": 2}


PLANTED = (
    Planted("root-missing", no_root, "set", "data.root"),
    Planted("images-missing", no_images, "images/val", "data.images"),
    Planted("masks-missing", no_masks, "masks/val", "data.masks"),
    Planted("no-images", empty_split, "images/val", "add the files"),
    Planted("no-masks", masks_of_arrays, "masks/val", "add the files"),
    Planted("image-without-mask", mask_lost, "images/train/1.png", "add the masks"),
    Planted("image-without-mask", mask_renamed, "images/train/street_1.png", "Street_01.png"),
    Planted("image-without-mask", masks_with_suffix, "images/val/0.png", "data.masks='masks/{split}/**/*_label.png'"),
    Planted("mask-without-image", image_lost, "masks/train/1.png", "add the images", fault=False),
    Planted("images-of-one-name", two_of_one_name, "images/train", "one of the two"),
    Planted("masks-of-one-name", two_masks_of_one_name, "masks/train", "one of the two"),
    Planted("ending-not-read", ending_not_read, "images/train/9.gif", "PNG", fault=False),
    Planted("split-file", split_file_lost, "val.txt", "val.txt"),
    Planted("split-file", lambda root: split_files(root, val="val_0\nval_7\n"), "val.txt", "val.txt"),
    Planted("split-file", lambda root: split_files(root, val="val_0\nval_0\n"), "val.txt", "val.txt"),
    Planted("split-file", lambda root: split_files(root, val="\n"), "val.txt", "val.txt"),
    Planted("leakage", leak_by_split_file, "images/all/train_2.png", "one of the splits"),
    Planted("one-split-twice", split_twice, "set", "another split"),
    Planted("image-unreadable", not_an_image, "images/train/1.png", "anew"),
    Planted("image-unreadable", empty_image, "images/train/1.png", "anew"),
    Planted("image-unreadable", broken_link, "images/train/1.png", "anew"),
    Planted("image-unreadable", cut_jpeg, "images/train/1.jpg", "anew"),
    Planted("image-unreadable", cut_png, "images/train/1.png", "anew"),
    Planted("image-unreadable", spoilt_png, "images/train/1.png", "anew"),
    Planted("image-damaged", spoilt_tag, "images/train/1.png", "anew", fault=False),
    Planted("image-not-8-bit", sixteen_bits, "images/train/1.png", "0 .. 255"),
    Planted("image-not-8-bit", fractions_for_image, "images/train/1.tif", "0 .. 255"),
    Planted("image-transparent", transparent, "images/train/1.png", "void", fault=False),
    Planted("image-transparent", transparent_palette, "images/train/1.png", "void", fault=False),
    Planted("image-of-several-pages", several_pages, "images/train/1.tif", "each page", fault=False),
    Planted("image-of-several-pages", animated, "images/train/1.png", "each page", fault=False),
    Planted("image-cmyk", cmyk, "images/train/1.jpg", "RGB", fault=False),
    Planted("image-of-one-colour", one_colour, "images/train/1.png", "look at them", fault=False),
    Planted("exif-rotation", turned_sideways, "masks/train/1.png", "turn the pixels"),
    Planted("exif-rotation", turned_over, "masks/train/1.png", "turn the pixels"),
    Planted("exif-rotation", turned_square, "masks/train/1.png", "turn the pixels"),
    Planted("exif-rotation", mirrored, "masks/train/1.png", "turn the pixels"),
    Planted("size-mismatch", small_mask, "masks/train/1.png", "nearest"),
    Planted("size-mismatch", cropped_mask, "masks/train/1.png", "nearest"),
    Planted("mask-transposed", transposed, "masks/train/1.png", "transpose"),
    Planted("mask-unreadable", empty_mask, "masks/train/1.png", "anew"),
    Planted("mask-unreadable", cut_mask, "masks/train/1.png", "anew"),
    Planted("colours-for-indices", colours_for_indices, "masks/val/2.png", "data.mask_colors=[[10,20,30],"),
    Planted("colours-for-indices", colours_of_the_palette, "masks/val/2.png", "data.mask_format=color"),
    Planted("colours-for-indices", colours_with_alpha, "masks/train/1.png", "data.mask_format=color"),
    Planted("mask-of-equal-channels", equal_channels, "masks/val/2.png", "one channel"),
    Planted("mask-with-alpha", grey_with_alpha, "masks/train/1.png", "one channel"),
    Planted("indices-for-colours", indices_for_colours, "masks/val/2.png", "data.mask_format=index"),
    Planted("colour-unknown", colour_unknown, "masks/train/1.png", "data.mask_colors"),
    Planted("mask-of-fractions", fractions_for_mask, "masks/train/1.tif", "8-bit"),
    Planted("value-of-many-bits", negative, "masks/train/1.tif", "255"),
    Planted("mask-of-several-pages", mask_pages, "masks/train/1.tif", "page"),
    Planted("palette-order", palette_shuffled, "masks/train/1.png", "data.mask_format=color"),
    Planted("mask-lossy", jpeg_mask, "masks/train/1.jpg", "PNG"),
    Planted("mask-lossy", jpeg_called_png, "masks/train/1.png", "PNG"),
    Planted("mask-is-image", mask_is_image, "masks/train/1.png", "data.masks"),
    Planted("mask-is-image", masks_are_images, "images/val/2.png", "data.masks"),
    Planted("mask-blended", blended, "masks/train/1.png", "nearest"),
    Planted("value-out-of-range", stray_value, "masks/train/1.png", "data.num_classes"),
    Planted("value-out-of-range", too_few_classes, "masks/val/2.png", "asks for 8"),
    Planted("value-not-mapped", not_mapped, "masks/train/1.png", "{12: 255}"),
    Planted("ignore-index-wrong", void_elsewhere, "masks/val/2.png", "data.ignore_index=65535"),
    Planted("ignore-index-wrong", other_ignore_index, "masks/val/2.png", "data.ignore_index=255"),
    Planted("off-by-one", counted_from_one, "masks/val/2.png", "data.reduce_zero_label=true"),
    Planted("off-by-one", zero_for_void, "masks/val/2.png", "data.reduce_zero_label=true"),
    Planted("binary-0-255", binary, "masks/val/2.png", "data.label_map='{0:0,255:1}' data.ignore_index=254"),
    Planted("values-stretched", binary_with_other_void, "masks/val/2.png", "data.label_map='{0:0,255:1}'"),
    Planted("values-stretched", stretched, "masks/val/2.png", "data.label_map='{0:0,100:1,200:2}'"),
    Planted("grey-for-indices", grey_of_colours, "masks/val/2.png", "data.label_map='{53:0,"),
    Planted("zero-is-a-class", reduced_needlessly, "set", "data.reduce_zero_label=false"),
    Planted("zero-never-occurs", one_class_too_many, "set", "data.reduce_zero_label=true", fault=False),
    Planted("void-is-a-class", void_is_a_class, "set", "data.ignore_index=255", fault=False),
    Planted("mask-all-void", all_void, "masks/train/1.png", "label them", fault=False),
    Planted("split-all-void", split_void, "masks/val/2.png", "data.ignore_index"),
    Planted("one-class-alone", one_class, "set", "data.masks"),
    Planted("class-never-trained", never_trained, "masks/val/2.png", "training split"),
    Planted("class-not-validated", never_validated, "set", "validation split", fault=False),
    Planted("class-absent", absent, "set", "data.num_classes", fault=False),
    Planted("class-nearly-empty", nearly_empty, "set", "merge", fault=False),
    Planted("leakage", leak, "images/val/9.png", "one of the splits"),
    Planted("leakage", leak_into_test, "images/test/9.png", "one of the splits"),
    Planted("leakage", leak_as_bmp, "images/val/9.bmp", "one of the splits"),
    Planted("leakage", leak_as_jpeg, "images/val/9.jpg", "one of the splits"),
    Planted("leakage", leak_resized, "images/val/9.jpg", "one of the splits"),
    Planted("duplicate", twice, "images/train/9.png", "copies", fault=False),
    Planted("contradiction", contradiction, "masks/train/9.png", "right one"),
    Planted("mask-for-several", mask_for_two, "masks/train/1.png", "look at both", fault=False),
    Planted("normalisation-units", units, "set", "data.mean=[123.675,"),
    Planted("batch-of-mixed-sizes", mixed_batch, "set", "data.eval_batch_size=1"),
)


def descriptions() -> dict[str, tuple[str, str]]:
    """Contents of classes.json that the data module refuses, by name, with part of what is said."""
    return {
        "no JSON": ("{", "cannot be read as JSON"),
        "another void": (json.dumps({"ignore_index": 0}), "ignore_index=255, but"),
        "another number of classes": (json.dumps({"classes": ["a", "b"]}), "num_classes=3, but classes of"),
        "a near miss": (json.dumps({"clases": ["a", "b", "c"]}), "did you mean 'classes'?"),
        "a deviation of zero": (json.dumps({"std": [0, 1, 1]}), "must be positive"),
    }
