"""Small data sets on disk."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Before any test module imports albumentations, which would look for a newer version online.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes an array, or a Pillow image, to a path below the test's folder."""

    def write(path: str, pixels: object, **options: object) -> Path:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
        image.save(target, **options)
        return target

    return write


@pytest.fixture
def stripes(save: Save, tmp_path: Path) -> Path:
    """A data set of 7 training and 5 validation images, 24 x 20, three classes and void; each image differs."""
    for split, count in (("train", 7), ("val", 5)):
        for number in range(count):
            draw = np.random.default_rng([count, number])
            image = draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            labels = np.repeat(draw.integers(0, 3, (20, 6), dtype=np.uint8), 4, axis=1)
            labels[0] = 255
            save(f"images/{split}/{number:02}.png", image)
            save(f"masks/{split}/{number:02}.png", labels)
    return tmp_path
