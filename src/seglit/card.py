"""The card of an evaluation: what was measured, how, and of which weights."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from seglit import __version__
from seglit.build import Parts
from seglit.callbacks.score_tables import metrics_of
from seglit.data.datamodule import SegmentationDataModule
from seglit.data.pairs import Pair
from seglit.files import write_text, write_whole
from seglit.metrics import ImageCounts
from seglit.module import SegmentationModule

CARD = "evaluation.json"
IMAGES = "evaluation_images.npz"
FORMAT = 1
"""Raise it when cards change, so that older ones are not misread."""
ABSENT_CLASSES = "a class that neither a label nor a prediction has is left out of the mean"


def write_card(folder: Path, parts: Parts, stage: str, averaged: bool) -> None:
    """Write `evaluation.json` of the newest evaluation of a stage, and beside it the pixel counts of each image.

    Args:
        folder: where they go.
        parts: of the run; the module still has the weights that it was evaluated with.
        stage: `val` or `test`.
        averaged: whether the weights are a moving average.
    """
    module, datamodule = parts.module, parts.datamodule
    evaluation = module.evaluations[stage]
    pairs = datamodule.samples(stage).pairs[: evaluation.images.images]
    write_images(folder / IMAGES, [pair.name for pair in pairs], evaluation.images)
    content = {
        "card": FORMAT,
        "protocol": protocol(module, datamodule, stage, pairs),
        "data": datamodule.root.absolute().name,
        "scores": metrics_of(evaluation, datamodule.classes, stage),
        "boundary_iou": None if module.boundary is None else module.boundary.share,
        "weights": {"sha256": weights_digest(module.net.state_dict()), "averaged": averaged},
        "run": {
            "precision": str(parts.trainer.precision),
            "seglit": __version__,
            "torch": torch.__version__,
            "lightning": lightning.__version__,
        },
        "images": {"file": IMAGES, "sha256": hashlib.sha256((folder / IMAGES).read_bytes()).hexdigest()},
    }
    write_text(folder / CARD, json.dumps(content, indent=2) + "\n")


def protocol(
    module: SegmentationModule, datamodule: SegmentationDataModule, stage: str, pairs: list[Pair]
) -> dict[str, Any]:
    """What must be equal for two scores to be comparable."""
    inference = module.inference
    return {
        "split": datamodule.splits[stage],
        "images": len(pairs),
        "image_list": pairs_digest(pairs),
        "label_reading": hashlib.sha256(datamodule.read_mask.identity).hexdigest(),
        "resize": [repr(transform) for transform in datamodule.eval_augmentation.compose.transforms],
        "inference": f"{type(inference).__module__}.{type(inference).__qualname__}",
        "window": None if inference.window is None else list(inference.window),
        "stride": None if inference.stride is None else list(inference.stride),
        "flip": inference.flip,
        "scales": list(inference.scales),
        "ignore_index": module.confusion.ignore_index,
        "classes": list(datamodule.classes),
        "absent_classes": ABSENT_CLASSES,
    }


def pairs_digest(pairs: Iterable[Pair]) -> str:
    """SHA-256 of the names of the images, in their order, and of the sizes in bytes of image and mask files."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair.name}\0{pair.image.stat().st_size}\0{pair.mask.stat().st_size}\0".encode())
    return digest.hexdigest()


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, types, shapes and values of weights, whatever their order, device and memory layout."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name}\0{value.dtype}\0{list(value.shape)}\0".encode())
        # Not every type of torch's is one of NumPy's; bytes are.
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def averages_weights(callbacks: Iterable[type]) -> bool:
    """Whether a run with these callbacks tests and keeps a moving average of its weights."""
    return any(issubclass(callback, WeightAveraging) for callback in callbacks)


def write_images(path: Path, names: list[str], counts: ImageCounts) -> None:
    """Write the names of the images and the rows of their pixel counts, compressed."""

    def save(temporary: Path) -> None:
        # By a file and not by its name, to which NumPy would add an ending.
        with temporary.open("wb") as file:
            np.savez_compressed(file, names=np.array(names, dtype=np.str_), rows=counts.rows.numpy())

    write_whole(path, save)


def read_images(path: Path) -> tuple[list[str], ImageCounts]:
    """What `write_images` wrote."""
    with np.load(path, allow_pickle=False) as content:
        names = [str(name) for name in content["names"]]
        return names, ImageCounts(len(names), torch.from_numpy(content["rows"]))
