"""PNG files by rows: read back by others equal to what was written, whole or not there."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from seglit.pictures import save_labels
from seglit.png_rows import COLOUR, label_rows, png_rows

PALETTE = [(0, 0, 0), (200, 30, 40), (5, 250, 90)]


def bands(array: np.ndarray, heights: list[int]) -> list[np.ndarray]:
    return np.split(array, np.cumsum(heights)[:-1])


@pytest.mark.parametrize("classes", [3, 256, 257])
@pytest.mark.parametrize("heights", [[37], [1, 36], [16, 16, 5]])
def test_labels_are_read_back_equal_and_as_save_labels_writes_them(
    tmp_path: Path, classes: int, heights: list[int]
) -> None:
    labels = np.random.default_rng(0).integers(0, classes, (37, 53))
    palette = (PALETTE * 100)[:classes]
    with label_rows(tmp_path / "new" / "rows.png", labels.shape, palette) as picture:
        for band in bands(labels, heights):
            picture.write(band.astype(np.uint8 if classes <= 256 else np.uint16))
    save_labels(tmp_path / "whole.png", labels, palette)
    ours, whole = Image.open(tmp_path / "new" / "rows.png"), Image.open(tmp_path / "whole.png")
    assert ours.mode == whole.mode
    assert ours.getpalette() == whole.getpalette()
    np.testing.assert_array_equal(np.asarray(ours), labels)
    if classes > 256:
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "rows.png"), cv2.IMREAD_UNCHANGED), labels)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rows.png"]


def test_colours_are_read_back_equal(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3)).astype(np.uint8)
    with png_rows(tmp_path / "i.png", (21, 34), COLOUR) as picture:
        for band in bands(image, [8, 13]):
            picture.write(band)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "i.png")), image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "i.png"))[:, :, ::-1], image)


def test_a_picture_that_is_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"old")
    with (
        pytest.raises(ValueError, match="2 of the picture's 3 rows are missing"),
        label_rows(path, (3, 4), PALETTE) as p,
    ):
        p.write(np.zeros((1, 4), np.uint8))
    with pytest.raises(KeyboardInterrupt), label_rows(path, (3, 4), PALETTE):
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "rows",
    [np.zeros((1, 5), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((1, 4), np.int64), np.zeros((1, 4, 3), np.uint8)],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, rows: np.ndarray) -> None:
    # The shape checker of the test run may come first.
    with pytest.raises(Exception, match=r"rows|type"), label_rows(tmp_path / "p.png", (3, 4), PALETTE) as picture:
        picture.write(rows)
    with pytest.raises(ValueError, match="a PNG has from 1 to"), label_rows(tmp_path / "p.png", (0, 4), PALETTE):
        pass
