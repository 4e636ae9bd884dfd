"""Every shipped data set, on tiny data in its own layout."""

from pathlib import Path

import numpy as np
import pytest

from seglit.build import built
from seglit.check import check
from seglit.config import compose, conf_dir
from seglit.data.datamodule import SegmentationDataModule
from tiny_layouts import READY, write_layout

NAMES = sorted(path.stem for path in (conf_dir() / "data").glob("*.yaml"))
LABELS = {
    "ade20k": {0: 255, 1: 0, 150: 149},
    "cityscapes": {0: 255, 7: 0, 8: 1, 33: 18},
    "cityscapes_coarse": {0: 255, 7: 0, 8: 1, 33: 18},
    "coco_stuff164k": {0: 0, 12: 11, 181: 170, 255: 255},
    "loveda": {0: 255, 1: 0, 7: 6},
    "pascal_context_59": {0: 255, 1: 0, 59: 58},
}
"""What becomes of the values in the files; in the other sets they are the labels."""
SAME_COLOURS = {"ade20k", "pascal_context", "pascal_context_59"}
"""Sets with a palette in which two classes have one colour."""


def module(name: str, root: Path) -> SegmentationDataModule:
    cfg = compose([f"data={name}", "name=x", f"output_dir={root}/run", "data.num_workers=0", *write_layout(name, root)])
    check(cfg)
    return built(cfg.data, "data")


def test_there_is_tiny_data_for_every_set() -> None:
    assert set(NAMES) == {*READY, "bluemarble"}
    assert len(NAMES) == 21


@pytest.mark.parametrize("name", NAMES)
def test_classes_and_colours(name: str, tmp_path: Path) -> None:
    data = module(name, tmp_path)
    assert len(data.classes) == len(data.palette) == data.num_classes
    assert len(set(data.classes)) == data.num_classes
    assert all(label == label.strip() for label in data.classes)
    assert (len(set(map(tuple, data.palette))) == data.num_classes) is (name not in SAME_COLOURS)


@pytest.mark.parametrize("name", sorted(READY))
def test_labels(name: str, tmp_path: Path) -> None:
    data = module(name, tmp_path)
    values = READY[name][3]
    expected = LABELS.get(name, {value: value for value in values})
    for part in ("train", "val", "test"):
        samples = data.samples(part)
        assert len(samples) == 2
        labels = samples[0][1]
        assert [int(labels[0, 8 * place]) for place in range(len(values))] == [expected[value] for value in values]


@pytest.mark.parametrize("name", sorted(READY))
def test_batches(name: str, tmp_path: Path) -> None:
    cfg = compose(
        [
            f"data={name}",
            "name=x",
            "output_dir=x",
            "data.num_workers=0",
            "data.batch_size=2",
            *write_layout(name, tmp_path),
            "data.train_transforms.crop.height=48",
            "data.train_transforms.crop.width=64",
        ]
    )
    data = built(cfg.data, "data")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 48, 64)
    assert set(np.unique(batch["labels"])) <= {*range(data.num_classes), 255}
