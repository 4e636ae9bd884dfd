"""Arguments of the data set, and of the training, that its numbers speak against."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seglit.check.nodes import walk
from seglit.doctor.findings import Finding, Place, finding
from seglit.doctor.numbers import Numbers
from seglit.doctor.survey import Survey

UNIT = 1.0
"""A mean and a deviation up to there are of images from 0 to 1."""


def settings_findings(known: Survey, numbers: Numbers, model: Mapping[str, Any] | None = None) -> list[Finding]:
    """What is wrong with them. `model` is that section of the configuration, where there is one."""
    data = known.data
    units = max(data.mean) <= UNIT and max(data.std) <= UNIT and np.nan_to_num(numbers.mean).max() > UNIT
    found = finding(
        "normalisation-units",
        f"mean {list(data.mean)} and std {list(data.std)} are of images from 0 to 1, but images are from 0 to 255",
        f"data.mean={listed(data.mean, 255)} data.std={listed(data.std, 255)}",
        [Place(data.root)] if units else [],
    )
    for part in ("val", "test"):
        sizes = numbers.sizes.get(part, np.zeros((0, 2)))
        mixed = data.eval_batch_size > 1 and len(np.unique(sizes, axis=0)) > 1
        if mixed and not data.eval_augmentation.compose.transforms:
            found += finding(
                "batch-of-mixed-sizes",
                f"data.eval_batch_size={data.eval_batch_size}, but the images of {part} are of "
                f"{len(np.unique(sizes, axis=0))} sizes, which no batch can hold",
                "data.eval_batch_size=1",
                [Place(data.root, value=part)],
            )
    return found + weights_findings(known, numbers, model or {})


def listed(numbers: Sequence[float], factor: float) -> str:
    """Numbers times a factor, as Hydra reads them without quotes for the shell."""
    return "[" + ",".join(f"{factor * number:g}" for number in numbers) + "]"


def weights_findings(known: Survey, numbers: Numbers, model: Mapping[str, Any]) -> list[Finding]:
    """Class weights by hand that do not fit the classes that occur."""
    found: list[Finding] = []
    pixels = numbers.pixels.get("train", np.zeros(0, np.int64))
    if not pixels.any():
        return []
    for key, name, value in walk(model.get("criterion"), "model.criterion"):
        if name != "class_weight" or not isinstance(value, list) or len(value) != len(pixels):
            continue
        idle = [known.data.classes[label] for label, weight in enumerate(value) if weight and not pixels[label]]
        off = [known.data.classes[label] for label, weight in enumerate(value) if not weight and pixels[label]]
        found += finding(
            "weight-of-absent-class",
            f"{key} has weights for classes that no training mask shows",
            "check the order of the weights against data.classes",
            [Place(known.data.root, value=name) for name in idle],
            fault=False,
        )
        found += finding(
            "weight-of-zero",
            f"{key} is 0 for classes that the training masks show: they are never learnt",
            "check the order of the weights against data.classes, or class_weight=auto",
            [Place(known.data.root, value=name) for name in off],
        )
    return found
