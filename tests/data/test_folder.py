from pathlib import Path

import numpy as np
import pytest

from seglit.data.errors import DataError
from seglit.data.folder import FolderDataset
from seglit.data.label_table import LabelTable
from seglit.data.masks import MaskReader
from seglit.data.pairs import Layout

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
LAYOUT = Layout()


def test_gives_image_labels_and_name(stripes):
    samples = FolderDataset(stripes, "val", MaskReader(LabelTable(3)), LAYOUT)
    assert len(samples) == 5
    image, labels, name = samples[3]
    draw = np.random.default_rng([5, 3])
    np.testing.assert_array_equal(image, draw.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    assert labels.shape == (20, 24)
    assert labels.dtype == np.uint8
    assert name == "03"
    assert [pair.name for pair in samples.pairs] == ["00", "01", "02", "03", "04"]


def test_a_mask_of_another_size_is_refused_with_both_sizes(stripes, save):
    save("masks/val/03.png", np.zeros((24, 20), np.uint8))
    samples = FolderDataset(stripes, "val", MaskReader(LabelTable(3)), LAYOUT)
    with pytest.raises(DataError, match=r"masks/val/03.png: the mask is 20 x 24 .*images/val/03.png is 24 x 20"):
        samples[3]


def test_files_are_checked_when_read_and_not_before(stripes, save):
    save("masks/val/03.png", np.full((20, 24), 3, np.uint8))
    samples = FolderDataset(stripes, "val", MaskReader(LabelTable(3)), LAYOUT)
    samples[2]
    with pytest.raises(DataError, match=r"masks/val/03.png: value 3 at row 0, column 0 is no label"):
        samples[3]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared trial images")
@pytest.mark.parametrize(
    ("name", "num_classes", "train", "val"),
    [
        ("bluemarble_lc", 7, 70, 15),
        ("camvid", 11, 367, 101),
        ("drive", 2, 16, 4),
        ("dsb2018", 2, 486, 62),
        ("isbi2012", 2, 20, 4),
    ],
)
def test_reads_the_shared_sets(name, num_classes, train, val):
    read_mask = MaskReader(LabelTable(num_classes))
    for split, count in (("train", train), ("val", val)):
        samples = FolderDataset(SHARED / name, split, read_mask, LAYOUT)
        assert len(samples) == count
        assert samples[0].image.shape[:2] == samples[0].labels.shape
