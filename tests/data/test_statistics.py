import json
import os

import numpy as np
import pytest
import torch

from seglit.data.errors import DataError
from seglit.data.label_table import LabelTable
from seglit.data.masks import MaskReader
from seglit.data.pairs import Layout, find_pairs
from seglit.data.statistics import cache_folder, label_statistics

READ = MaskReader(LabelTable(4))


@pytest.fixture
def pairs(save, tmp_path):
    """Image a: 2 pixels of class 0, 1 of class 1, 1 void. Image b: 3 of class 1, 1 of class 3."""
    for name, labels in {"a": [[0, 0], [1, 255]], "b": [[1, 1], [1, 3]]}.items():
        save(f"images/train/{name}.png", np.zeros((2, 2, 3), np.uint8))
        save(f"masks/train/{name}.png", np.array(labels, np.uint8))
    return find_pairs(tmp_path, "train", Layout())


def test_worked_numbers(pairs, tmp_path):
    """Class 1 has 1 + 3 pixels and occurs in images of 3 and 4 valid ones; class 2 occurs nowhere."""
    statistics = label_statistics(pairs, READ, tmp_path / "cache")
    assert statistics.pixels.tolist() == [2, 4, 0, 1]
    assert statistics.image_pixels.tolist() == [3, 7, 0, 4]
    assert statistics.images == 2
    assert statistics.pixels.dtype == statistics.image_pixels.dtype == torch.int64


def test_void_is_counted_nowhere_even_where_it_is_a_class(pairs, tmp_path):
    table = LabelTable(4, ignore_index=1, label_map={255: 1}, label_map_default="keep")
    statistics = label_statistics(pairs, MaskReader(table), tmp_path / "cache")
    assert statistics.pixels.tolist() == [2, 0, 0, 1]
    assert statistics.image_pixels.tolist() == [2, 0, 0, 1]


def test_the_cache_answers_for_the_same_files(pairs, tmp_path, monkeypatch):
    first = label_statistics(pairs, READ, tmp_path / "cache")
    monkeypatch.setattr("seglit.data.statistics._count", lambda *arguments: pytest.fail("counted anew"))
    again = label_statistics(pairs, READ, tmp_path / "cache")
    assert again.pixels.tolist() == first.pixels.tolist()
    assert again.image_pixels.tolist() == first.image_pixels.tolist()
    assert again.images == first.images
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".json"]


def test_changed_files_or_another_reading_are_counted_anew(pairs, save, tmp_path):
    cache = tmp_path / "cache"
    label_statistics(pairs, READ, cache)
    path = save("masks/train/b.png", np.array([[2, 2], [2, 3]], np.uint8))
    os.utime(path, ns=(0, 0))
    assert label_statistics(pairs, READ, cache).pixels.tolist() == [2, 1, 3, 1]
    other = MaskReader(LabelTable(4, label_map={0: 1, 1: 1, 2: 1, 3: 1}))
    assert label_statistics(pairs, other, cache).pixels.tolist() == [0, 7, 0, 0]
    assert label_statistics(pairs[:1], READ, cache).pixels.tolist() == [2, 1, 0, 0]
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize(
    "contents",
    [
        "",
        "{",
        "[]",
        json.dumps({"pixels": [1, 2, 3, 4]}),
        json.dumps({"pixels": [1], "image_pixels": [1], "images": 2}),
        json.dumps({"pixels": [1.5] * 4, "image_pixels": [1] * 4, "images": 2}),
        json.dumps({"pixels": [1] * 4, "image_pixels": [1] * 4, "images": "2"}),
    ],
)
def test_a_corrupt_cache_is_counted_anew_with_a_warning(pairs, tmp_path, contents):
    cache = tmp_path / "cache"
    label_statistics(pairs, READ, cache)
    (file,) = cache.iterdir()
    file.write_text(contents, encoding="utf-8")
    with pytest.warns(UserWarning, match=r"labels-.*json: not a cache of label statistics .*counting anew"):
        statistics = label_statistics(pairs, READ, cache)
    assert statistics.pixels.tolist() == [2, 4, 0, 1]
    label_statistics(pairs, READ, cache)  # a warning would be an error: the cache is whole again


def test_a_cache_that_cannot_be_written_warns(pairs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"cannot be kept there .*set XDG_CACHE_HOME"):
        statistics = label_statistics(pairs, READ, tmp_path / "file" / "cache")
    assert statistics.pixels.tolist() == [2, 4, 0, 1]


def test_a_bad_mask_is_named(pairs, save, tmp_path):
    save("masks/train/b.png", np.array([[0, 9]], np.uint8))
    with pytest.raises(DataError, match=r"masks/train/b.png: value 9 at row 0, column 1"):
        label_statistics(pairs, READ, tmp_path / "cache")


def test_the_cache_lies_in_the_users_cache_folder(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    label_statistics(pairs, READ)
    assert len(list((tmp_path / "xdg" / "seglit").iterdir())) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "seglit"
