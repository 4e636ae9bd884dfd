"""Pictures: pixels, files that are whole at any time, and what figures show."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib import image as matplotlib_image
from PIL import Image

from seglit.callbacks import Pictures, Predictions
from seglit.data.datamodule import SegmentationDataModule
from seglit.module import SegmentationModule
from seglit.pictures import (
    colourise,
    confusion_figure,
    curves_figure,
    overlay,
    panel,
    save_figure,
    save_labels,
    save_png,
)

PALETTE = [(10, 20, 30), (200, 0, 0), (0, 200, 0)]
CLASSES = ["background", "road", "tree"]
LABELS = np.array([[0, 1, 2], [255, 2, 0]])
IMAGE = np.full((2, 3, 3), 100, dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_colours_of_classes_and_black_for_ignored_pixels(dtype: type) -> None:
    colours = colourise(LABELS.astype(dtype), PALETTE, 255)
    assert colours.dtype == np.uint8
    expected = [[PALETTE[0], PALETTE[1], PALETTE[2]], [(0, 0, 0), PALETTE[2], PALETTE[0]]]
    assert np.array_equal(colours, np.array(expected))


def test_an_ignored_class_number_is_black() -> None:
    assert colourise(np.array([[0, 1]]), PALETTE, 0).tolist() == [[[0, 0, 0], [200, 0, 0]]]


@pytest.mark.parametrize("value", [-1, 3, 255])
def test_a_label_without_a_colour_is_named(value: int) -> None:
    with pytest.raises(ValueError, match=f"the label {value}, which is no class from 0 to 2"):
        colourise(np.array([[0, value]]), PALETTE, 254)


def test_overlay_mixes_and_leaves_ignored_pixels() -> None:
    mixed = overlay(IMAGE, LABELS, PALETTE, 255, alpha=0.25)
    assert mixed.dtype == np.uint8
    assert mixed[0, 1].tolist() == [125, 75, 75]  # 0.75 * 100 + 0.25 * (200, 0, 0)
    assert mixed[1, 0].tolist() == [100, 100, 100]


def test_overlay_from_image_alone_to_labels_alone() -> None:
    assert np.array_equal(overlay(IMAGE, LABELS, PALETTE, 255, alpha=0), IMAGE)
    alone = overlay(IMAGE, LABELS, PALETTE, 255, alpha=1)
    assert np.array_equal(alone[LABELS != 255], colourise(LABELS, PALETTE, 255)[LABELS != 255])


def test_overlay_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="alpha must be from 0 to 1"):
        overlay(IMAGE, LABELS, PALETTE, 255, alpha=1.5)
    with pytest.raises(ValueError, match="one size"):
        # Past the shape check of the test run, which other runs do not have.
        inspect.unwrap(overlay)(IMAGE, LABELS[:1], PALETTE, 255)


def test_panel_shows_every_image_and_every_class_colour() -> None:
    images = [np.full((40, 60, 3), colour, dtype=np.uint8) for colour in ((250, 1, 2), (3, 4, 251))]
    shown = panel(images, ["image", "prediction"], CLASSES, PALETTE)
    assert shown.dtype == np.uint8
    colours = {tuple(colour) for colour in shown.reshape(-1, 3).tolist()}
    assert {(250, 1, 2), (3, 4, 251), *PALETTE} <= colours
    columns = [np.flatnonzero((shown == image[0, 0]).all(2).any(0)) for image in images]
    assert columns[0].max() < columns[1].min()
    rows = np.flatnonzero((shown == images[0][0, 0]).all(2).any(1))
    assert len(columns[0]) / len(rows) == pytest.approx(60 / 40, rel=0.02)
    legend = np.flatnonzero((shown == PALETTE[1]).all(2).any(1))
    assert rows.max() < legend.min()
    assert shown[: rows.min()].min() < 50  # the titles


def test_panel_has_room_for_many_classes_in_their_legend() -> None:
    palette = [(7 * i, 3, 255 - i) for i in range(30)]
    shown = panel([np.zeros((60, 60, 3), np.uint8)], ["image"], [f"a longer name {i}" for i in range(30)], palette)
    assert set(palette) <= {tuple(colour) for colour in shown.reshape(-1, 3).tolist()}


def test_panel_refuses_what_does_not_match() -> None:
    with pytest.raises(ValueError, match="as many titles"):
        panel([], [], CLASSES, PALETTE)
    with pytest.raises(ValueError, match="as many titles"):
        panel([IMAGE], ["one", "two"], CLASSES, PALETTE)
    with pytest.raises(ValueError, match="equally many, got 3 and 2"):
        panel([IMAGE], ["one"], CLASSES, PALETTE[:2])


@pytest.mark.parametrize("shape", [(4, 5, 3), (4, 5)])
def test_png_returns_the_pixels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    save_png(tmp_path / "picture.png", array)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "picture.png")), array)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_palette_png_keeps_the_class_numbers_and_shows_the_colours(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "labels.png"
    save_png(str(path), LABELS.astype(np.uint8), PALETTE)
    stored = Image.open(path)
    assert stored.mode == "P"
    assert np.array_equal(np.asarray(stored), LABELS)
    assert np.array_equal(np.asarray(stored.convert("RGB")), colourise(LABELS, PALETTE, 255))


def test_palette_png_refuses_colours_and_too_many_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="palette takes"):
        save_png(tmp_path / "a.png", IMAGE, PALETTE)
    with pytest.raises(ValueError, match="at most 256 colours"):
        save_png(tmp_path / "a.png", LABELS.astype(np.uint8), [(0, 0, 0)] * 257)
    assert list(tmp_path.iterdir()) == []


def test_labels_of_many_classes_are_grey_of_16_bits(tmp_path: Path) -> None:
    labels = np.array([[0, 255, 256, 299]])
    for count, mode, expected in ((256, "P", labels % 256), (300, "I;16", labels)):
        save_labels(tmp_path / "labels.png", labels % count, [(0, 0, 0)] * count)
        with Image.open(tmp_path / "labels.png") as stored:
            assert stored.mode == mode
            assert np.array_equal(np.asarray(stored), expected % count)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.png"]


def trainer_with(**data: Any) -> Trainer:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.datamodule = SegmentationDataModule("seglit:bluemarble", **data)
    return trainer


def test_predictions_and_pictures_go_by_the_whole_name_of_the_image(tmp_path: Path) -> None:
    names = ["a/f.1", "a/f.2", "b/f.1"]
    labels = torch.arange(3)[:, None, None].expand(3, 4, 4)
    trainer = trainer_with(num_classes=7)
    batch = {"name": names, "image": torch.zeros(3, 3, 4, 4), "labels": labels}
    Predictions(tmp_path / "predictions").on_predict_batch_end(
        trainer, LightningModule(), {"predictions": labels}, batch, 0
    )
    for index, name in enumerate(names):
        assert (np.asarray(Image.open(tmp_path / "predictions" / f"{name}.png")) == index).all()
    module = SegmentationModule.__new__(SegmentationModule)
    Pictures(tmp_path / "pictures").on_test_batch_end(trainer, module, {"predictions": labels}, batch, 0)
    assert all((tmp_path / "pictures" / "test" / f"{name}.png").is_file() for name in names)


def test_predictions_of_many_classes_are_not_cut_to_8_bits(tmp_path: Path) -> None:
    trainer = trainer_with(num_classes=300, classes=[f"class {number}" for number in range(300)])
    outputs = {"predictions": torch.full((1, 2, 2), 299)}
    Predictions(tmp_path).on_predict_batch_end(trainer, LightningModule(), outputs, {"name": ["a"]}, 0)
    assert (np.asarray(Image.open(tmp_path / "a.png")) == 299).all()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.png"
    save_png(path, IMAGE)
    before = path.read_bytes()

    def half(self: Image.Image, file: Path, format: str) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_png(path, np.zeros_like(IMAGE))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def history() -> dict[str, tuple[list[int], list[float]]]:
    return {
        "train/loss": ([0, 10, 20], [3.0, 2.0, 1.0]),
        "train/decode.loss_ce": ([0, 10, 20], [2.0, 1.0, 0.5]),
        "lr-SGD/backbone": ([0, 10, 20], [0.1, 0.05, 0.0]),
        "val/miou": ([20], [0.4]),
    }


def test_curves_by_kind() -> None:
    figure = curves_figure(history())
    shown = {axes.get_ylabel(): {line.get_label(): line for line in axes.get_lines()} for axes in figure.axes}
    assert {kind: list(lines) for kind, lines in shown.items()} == {
        "loss": ["train/loss", "train/decode.loss_ce"],
        "learning rate": ["lr-SGD/backbone"],
        "score": ["val/miou"],
    }
    line = shown["loss"]["train/decode.loss_ce"]
    assert list(line.get_xdata()) == [0, 10, 20]
    assert list(line.get_ydata()) == [2.0, 1.0, 0.5]
    assert shown["score"]["val/miou"].get_marker() == "o"  # a single point has no line to see


def test_curves_without_a_kind_have_no_panel_for_it() -> None:
    figure = curves_figure({"lr-SGD": (list(range(100)), [0.1] * 100)})
    assert [axes.get_ylabel() for axes in figure.axes] == ["learning rate"]


def test_curves_refuse_nothing_and_the_uneven() -> None:
    with pytest.raises(ValueError, match="history is empty"):
        curves_figure({})
    with pytest.raises(ValueError, match="val/miou: 2 steps but 1 values"):
        curves_figure({"val/miou": ([1, 2], [0.5])})


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_confusion_rows_add_up_to_one(kind: str) -> None:
    counts = np.array([[3, 1, 0], [2, 2, 4], [0, 0, 0]], dtype=np.int64)
    figure = confusion_figure(torch.from_numpy(counts) if kind == "tensor" else counts, CLASSES)
    axes = figure.axes[0]
    shares = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    assert np.allclose(shares, [[0.75, 0.25, 0], [0.25, 0.25, 0.5], [np.nan] * 3], equal_nan=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == CLASSES
    assert [text.get_text() for text in axes.texts] == ["0.75", "0.25", "0.00", "0.25", "0.25", "0.50"]


def test_confusion_of_many_classes_has_no_numbers() -> None:
    figure = confusion_figure(torch.eye(30, dtype=torch.int64), [f"class {i}" for i in range(30)])
    assert len(figure.axes[0].texts) == 0


def test_confusion_needs_a_name_for_each_class() -> None:
    with pytest.raises(ValueError, match="3 classes, but there are 2 names"):
        confusion_figure(torch.eye(3, dtype=torch.int64), CLASSES[:2])


def test_figures_are_saved_in_the_format_of_the_suffix(tmp_path: Path) -> None:
    figure = curves_figure(history())
    save_figure(figure, tmp_path / "curves.png")
    save_figure(figure, str(tmp_path / "curves.pdf"))
    assert matplotlib_image.imread(tmp_path / "curves.png").std() > 0.05
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.pdf", "curves.png"]
    with pytest.raises(ValueError, match="needs a suffix"):
        save_figure(figure, tmp_path / "curves")
