"""What many tests need: a tiny data set, and no calls to the network."""

import os
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch import Callback
from PIL import Image

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"


def write_tiny_data(root: Path, *, size: int = 48, seed: int = 0) -> Path:
    """Squares of two colours on a dark ground, with some void: 3 classes, 6 / 3 / 3 images."""
    random = np.random.RandomState(seed)
    for split, count in {"train": 6, "val": 3, "test": 3}.items():
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for index in range(count):
            image = random.randint(0, 60, (size, size, 3))
            mask = np.zeros((size, size), np.uint8)
            for label, colour in ((1, (220, 60, 60)), (2, (60, 60, 220))):
                top, left = random.randint(0, size - 20, 2)
                image[top : top + 18, left : left + 18] = colour
                mask[top : top + 18, left : left + 18] = label
            mask[random.rand(size, size) < 0.05] = 255
            Image.fromarray(image.astype(np.uint8)).save(root / "images" / split / f"{index}.png")
            Image.fromarray(mask).save(root / "masks" / split / f"{index}.png")
    return root


class Watcher(Callback):
    """A callback of the user's own."""


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(autouse=True)
def cache_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tiny_overrides(data: Path, output: Path, *more: str) -> list[str]:
    """Overrides of the root configuration for a run of seconds."""
    return [
        "data=folder",
        f"data.root={data}",
        "data.num_classes=3",
        "data.num_workers=0",
        "data.batch_size=2",
        "data.train_transforms.crop.height=32",
        "model.net.backbone.num_stages=3",
        "model.net.backbone.base_channels=8",
        "model/optimizer=adamw",
        "model.optimizer.lr=0.01",
        "trainer.accelerator=cpu",
        "trainer.max_steps=20",
        "trainer.val_check_interval=10",
        "trainer.log_every_n_steps=5",
        "callbacks.progress=null",
        "callbacks.pictures.count=1",
        "name=tiny",
        f"output_dir={output}",
        # Crops are small here.
        *(["model.criterion.decode.sampler.min_kept=200"] if any("ohem" in word for word in more) else []),
        *more,
    ]


@pytest.fixture
def overrides(tiny_data: Path, tmp_path: Path) -> list[str]:
    return tiny_overrides(tiny_data, tmp_path / "run")
