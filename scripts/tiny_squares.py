"""A tiny data set for benchmarks of training, and the callback that ends a process after its first step."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image


def write_squares(root: Path, *, size: int = 64, counts: tuple[int, int, int] = (8, 2, 2)) -> None:
    """Squares of two colours on a dark ground, 3 classes: `images/<split>` and `masks/<split>`."""
    random = np.random.default_rng(0)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for index in range(count):
            image = random.integers(0, 60, (size, size, 3), dtype=np.uint8)
            mask = np.zeros((size, size), np.uint8)
            for label, colour in ((1, (220, 60, 60)), (2, (60, 60, 220))):
                top, left = random.integers(0, size // 2, 2)
                place = np.s_[top : top + size // 3, left : left + size // 3]
                image[place], mask[place] = colour, label
            for folder, pixels in (("images", image), ("masks", mask)):
                path = root / folder / split / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)


class StopAfterStep(Callback):
    """Ends the process at once when the first step is done."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End it."""
        os._exit(0)
