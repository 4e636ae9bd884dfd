"""The cache of decoded files: the same samples, whatever happens to it."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from itertools import islice
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seglit.data.cache import CachedImages, CachedMasks, building, fill
from seglit.data.cache.runs import packed_labels, unpacked_labels
from seglit.data.datamodule import SegmentationDataModule
from seglit.data.errors import DataError
from seglit.data.label_table import LabelTable
from seglit.data.masks import MaskReader
from seglit.data.transforms import PhotoMetricDistortion, RandomCrop

TRANSFORMS = {
    "scale": lambda: A.RandomScale((-0.3, 0.5), p=1),
    "crop": lambda: RandomCrop(16, 16, 0.9),
    "flip": A.HorizontalFlip,
    "color": PhotoMetricDistortion,
    "pad": lambda: A.PadIfNeeded(16, 16, border_mode=0, fill_mask=255),
}
CACHES = ("masks", "all")
Usage = namedtuple("Usage", "total used free")


def module(root, cache=None, **options):
    options = {"train_transforms": {name: make() for name, make in TRANSFORMS.items()}, "num_workers": 0} | options
    if cache is not None:
        options |= {"cache": cache, "cache_dir": root / "cache"}
    return SegmentationDataModule(root, options.pop("num_classes", 3), batch_size=4, **options)


def batches(data):
    """Two epochs of training batches, and the validation batches."""
    data.setup("fit")
    return [*islice(data.train_dataloader(), 4), *data.val_dataloader()]


def assert_same(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        assert one["name"] == other["name"]
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["labels"], other["labels"])
        assert one["labels"].dtype == other["labels"].dtype


def entries(root, ending=""):
    return sorted(path for path in (root / "cache").rglob(f"*{ending}") if path.is_file())


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_workers": 1},
        {"train_transforms": ()},
        {"ignore_index": -100, "label_map": {0: 0, 1: 2, 2: 1, 255: -100}},
    ],
)
def test_samples_are_the_same_with_and_without(stripes, cache, options):
    if "ignore_index" in options:
        options = {**options, "train_transforms": [A.HorizontalFlip()]}
    expected = batches(module(stripes, **options))
    assert_same(batches(module(stripes, cache, **options)), expected)
    assert len(entries(stripes, ".labels")) == 12
    assert len(entries(stripes, ".npy")) == (12 if cache == "all" else 0)
    assert_same(batches(module(stripes, cache, **options)), expected)


@pytest.mark.parametrize("cache", CACHES)
def test_a_file_in_the_cache_is_not_decoded(stripes, cache, monkeypatch):
    expected = batches(module(stripes, cache))

    def refuse(*_):
        raise AssertionError("decodes")

    monkeypatch.setattr(MaskReader, "__call__", refuse)
    if cache == "all":
        monkeypatch.setattr("seglit.data.cache.readers.read_image", refuse)
    assert_same(batches(module(stripes, cache)), expected)


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.int16, np.int32]),
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.integers(0, 3) | st.sampled_from([100]),
    )
)
def test_labels_come_back(labels):
    result = unpacked_labels(packed_labels(labels), labels.dtype)
    np.testing.assert_array_equal(result, labels)
    assert result.dtype == labels.dtype
    assert result.flags.writeable


def test_labels_of_great_width_and_with_signs_come_back():
    labels = np.zeros((2, 70_000), np.int16)
    labels[1, 69_000:] = -100
    content = packed_labels(labels)
    assert len(content) < 100
    np.testing.assert_array_equal(unpacked_labels(content, labels.dtype), labels)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"nonsense" * 20, "half"])
def test_a_damaged_entry_is_not_read(stripes, damage):
    """As after a loss of power: the file is decoded, and the next run makes the entry anew."""
    expected = batches(module(stripes))
    data = module(stripes, "all")
    data.setup("fit")
    sizes = {path: path.stat().st_size for path in entries(stripes)}
    for path in sizes:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage == "half" else damage)
    assert_same(batches_without_setup(data), expected)
    assert entries(stripes) == []
    assert_same(batches(module(stripes, "all")), expected)
    assert {path: path.stat().st_size for path in entries(stripes)} == sizes


def batches_without_setup(data):
    return [*islice(data.train_dataloader(), 4), *data.val_dataloader()]


def test_a_cache_deleted_during_a_run_is_no_loss(stripes):
    data = module(stripes, "all")
    data.setup("fit")
    shutil.rmtree(stripes / "cache")
    assert_same(batches_without_setup(data), batches(module(stripes)))


def test_a_changed_file_is_noticed(stripes, save):
    data = module(stripes, "all")
    before = batches(data)
    save("masks/val/03.png", np.full((20, 24), 2, np.uint8))
    save("images/val/03.png", np.full((20, 24, 3), 7, np.uint8))
    after = batches_without_setup(data)
    assert (after[7]["labels"] == 2).all()
    assert (after[7]["image"] == 7).all()
    assert not (before[7]["labels"] == 2).all()
    assert_same(batches(module(stripes, "all")), after)


def test_another_meaning_of_the_masks_has_entries_of_its_own(stripes):
    for options in ({}, {"label_map": {0: 1, 1: 0, 2: 2}}):
        assert_same(batches(module(stripes, "masks", **options)), batches(module(stripes, **options)))
    assert len(entries(stripes)) == 24


def test_a_mapped_image_may_be_changed_but_not_its_entry(stripes):
    read = CachedImages(stripes / "cache")
    path = stripes / "images" / "val" / "00.png"
    read.store(path)
    image = read(path)
    assert isinstance(image.base, np.memmap)
    kept = image.copy()
    image[:] = 0
    np.testing.assert_array_equal(read(path), kept)


def readers(root):
    images, masks = CachedImages(root / "cache"), CachedMasks(root / "cache", MaskReader(LabelTable(3)))
    return [
        *((images, path) for path in sorted((root / "images").rglob("*.png"))),
        *((masks, path) for path in sorted((root / "masks").rglob("*.png"))),
    ]


def test_an_interrupted_filling_leaves_whole_entries_and_goes_on(stripes, monkeypatch):
    whole = CachedImages.save

    def half(self, entry, content):
        whole(self, entry, content[:3])
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(CachedImages, "save", half)
        with pytest.raises(DataError, match=r"cache: the cache cannot be written \(No space left.* data.cache_dir"):
            fill(readers(stripes), show=False)
    assert not entries(stripes, ".npy")
    assert not entries(stripes, ".tmp")
    (stripes / "cache" / ".leftover.npy.tmp").parent.mkdir(exist_ok=True)
    (stripes / "cache" / ".leftover.npy.tmp").write_bytes(b"half")
    fill(readers(stripes), show=False)
    for reader, path in readers(stripes):
        assert not reader.lacks(path)
        np.testing.assert_array_equal(reader(path), reader.decoded(path))


def test_two_processes_fill_one_cache(stripes):
    program = (
        "import sys; from pathlib import Path; from seglit.data.cache import *; root = Path(sys.argv[1]);"
        "images = CachedImages(root / 'cache');"
        "fill([(images, path) for path in sorted((root / 'images').rglob('*.png'))])"
    )
    command = [sys.executable, "-c", program, str(stripes)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate()[1].count(b"Error"), process.returncode) for process in both] == [(0, 0), (0, 0)]
    assert len(entries(stripes)) == 12
    for reader, path in readers(stripes)[:12]:
        np.testing.assert_array_equal(np.load(reader.entry(path)), reader.decoded(path))


def test_the_estimate_is_of_the_pixels_and_the_mask_files(stripes):
    masks = sum(path.stat().st_size for path in (stripes / "masks").rglob("*.png"))
    assert building.bytes_needed(readers(stripes)) == 12 * 20 * 24 * 3 + masks


@pytest.mark.parametrize(("cache", "instead"), [("all", "data.cache=masks"), ("masks", "data.cache=null")])
def test_a_disk_without_room_is_refused_before_anything_is_written(stripes, monkeypatch, cache, instead):
    monkeypatch.setattr(building.shutil, "disk_usage", lambda _: Usage(10, 5, 5))
    files = "24" if cache == "all" else "12"
    message = (
        rf"decoding {files} files .* about 0.00 GB, but there are 0.00 GB free; .*data.cache_dir, or set {instead}"
    )
    with pytest.raises(DataError, match=message):
        module(stripes, cache).setup("fit")
    assert not (stripes / "cache").exists()


def test_a_cache_that_is_full_needs_no_room(stripes, monkeypatch):
    module(stripes, "all").setup("fit")
    monkeypatch.setattr(building.shutil, "disk_usage", lambda _: Usage(10, 10, 0))
    module(stripes, "all").setup("fit")


def test_a_folder_that_cannot_be_written_is_named(stripes):
    (stripes / "cache").write_text("a file")
    with pytest.raises(
        DataError, match=r"cache/\w+: the cache cannot be written .*name another folder by data.cache_dir"
    ):
        module(stripes, "all").setup("fit")


def test_a_bad_file_stops_the_filling_with_its_name(stripes, save):
    save("masks/train/03.png", np.full((20, 24), 9, np.uint8))
    with pytest.raises(DataError, match=r"masks/train/03.png: value 9"):
        module(stripes, "masks").setup("fit")
    (stripes / "images" / "train" / "02.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"images/train/02.png: cannot be read as an image"):
        module(stripes, "all").setup("fit")


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_evaluation_alone_fills_no_cache(stripes, stage):
    data = module(stripes, "all", test_split="val")
    data.setup(stage)
    list(data.test_dataloader())
    assert not (stripes / "cache").exists()


def test_the_cache_is_in_the_users_unless_named(stripes, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    data = SegmentationDataModule(stripes, 3, cache="masks", num_workers=0)
    data.setup("fit")
    assert len(list((tmp_path / "home" / "seglit" / "decoded" / "masks").iterdir())) == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_dir": "x"}, "cache_dir='x' has no effect without a cache; set cache to 'masks' or 'all'"),
        (
            {"prefetch_factor": 2, "num_workers": 0},
            "no effect without workers; got prefetch_factor=2 with num_workers=0",
        ),
        ({"prefetch_factor": 0, "num_workers": 1}, "prefetch_factor must be at least 1"),
    ],
)
def test_options_without_effect_are_refused(stripes, options, message):
    with pytest.raises(ValueError, match=message):
        SegmentationDataModule(stripes, 3, **options)


def test_prefetch_factor_reaches_the_loaders(stripes):
    def factors(**options):
        data = SegmentationDataModule(stripes, 3, **options)
        return data.train_dataloader().prefetch_factor, data.val_dataloader().prefetch_factor

    assert factors(num_workers=1) == (4, 2)
    assert factors(num_workers=1, prefetch_factor=3) == (3, 3)
    assert factors(num_workers=0) == (None, None)


def test_a_mask_takes_far_less_than_its_pixels():
    """A circle of 512 pixels across: two runs or so a row."""
    rows, columns = np.mgrid[:512, :512]
    labels = ((rows - 256) ** 2 + (columns - 256) ** 2 < 200**2).astype(np.uint8)
    assert len(packed_labels(labels)) < labels.size / 100


def test_the_state_of_the_file_is_in_the_key(stripes):
    read = CachedImages(Path("cache"))
    path = stripes / "images" / "val" / "00.png"
    before = read.entry(path)
    assert read.entry(path) == before
    os.utime(path, ns=(0, 12345))
    assert read.entry(path) != before
    assert read.entry(stripes / "images" / "val" / "01.png") != before
