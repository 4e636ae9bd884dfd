import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import seglit.data
from seglit.data.description import read_description

FOLDER = Path(seglit.data.__file__).parent / "bluemarble"
DESCRIPTION = json.loads((FOLDER / "classes.json").read_text(encoding="utf-8"))
SPLITS = ("train", "val", "test")


def names(kind: str, split: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / kind / split).iterdir())


def masks(split: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted((FOLDER / "masks" / split).iterdir())]


def test_description_is_read():
    description = read_description(FOLDER)
    assert description.classes == ["water", "forest", "shrub_savanna", "grassland", "cropland", "snow_ice", "barren"]
    assert description.palette is not None
    assert len(set(description.palette)) == 7
    assert description.ignore_index == 255


def test_counts():
    assert {split: len(names("images", split)) for split in SPLITS} == DESCRIPTION["splits"]
    assert DESCRIPTION["splits"] == {"train": 70, "val": 15, "test": 20}


@pytest.mark.parametrize("split", SPLITS)
def test_each_image_has_a_mask_of_its_size(split):
    assert names("images", split) == names("masks", split)
    for name in names("images", split):
        with Image.open(FOLDER / "images" / split / f"{name}.jpg") as image:
            assert (image.size, image.mode, image.format) == ((225, 225), "RGB", "JPEG")
        with Image.open(FOLDER / "masks" / split / f"{name}.png") as mask:
            assert (mask.size, mask.mode, mask.format) == ((225, 225), "L", "PNG")


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_all_classes_and_void_and_nothing_else(split):
    assert set(np.unique(np.stack(masks(split)))) == {*range(7), 255}


@pytest.mark.parametrize("split", SPLITS)
def test_no_tile_is_mostly_water(split):
    assert max(np.mean(mask == 0) for mask in masks(split)) <= 0.8


def test_no_strip_of_longitude_is_in_two_splits():
    strips = [{name[4:] for name in names("images", split)} for split in SPLITS]
    assert sum(map(len, strips)) == len(set.union(*strips))


def test_shares():
    labels = np.concatenate([np.stack(masks(split)) for split in SPLITS])
    keys = [*DESCRIPTION["classes"], "ignore"]
    assert list(DESCRIPTION["pixel_share"]) == keys
    for key, label in zip(keys, (*range(7), 255), strict=True):
        assert DESCRIPTION["pixel_share"][key] == pytest.approx(np.mean(labels == label), abs=1e-5)


def test_mean_and_std_are_those_of_the_train_images():
    pixels = np.stack([np.asarray(Image.open(path)) for path in (FOLDER / "images" / "train").iterdir()])
    np.testing.assert_allclose(DESCRIPTION["mean"], pixels.mean((0, 1, 2)), atol=0.05)
    np.testing.assert_allclose(DESCRIPTION["std"], pixels.std((0, 1, 2)), atol=0.05)


def test_checksum_is_that_of_the_data_card():
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("images/*/*.jpg")) + sorted(FOLDER.glob("masks/*/*.png")):
        data = path.read_bytes()
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + len(data).to_bytes(8, "big") + data)
    assert DESCRIPTION["sha256"] == digest.hexdigest()
    assert digest.hexdigest() in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_is_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 3_000_000
