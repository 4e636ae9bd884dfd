"""Pixels counted by true and by predicted class."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Integer
from torch import Tensor

from seglit.compiled import compiled
from seglit.workers import workers

BYTES = 256
Pixels = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]
"""A map in a row."""
PART = 2**19
"""Pixels that are counted at a time on the CPU."""
SOURCE = Path(__file__).with_suffix(".cpp")
NAMES = {torch.uint8: "bytes", torch.int64: "longs"}
"""What `counting.cpp` calls the types that it reads."""


def puts_off(device: torch.device) -> bool:
    """Whether asking for a value would make the program wait for the device."""
    return device.type != "cpu"


def image_matrices(
    predictions: Integer[Tensor, "batch height width"],
    labels: Integer[Tensor, "batch height width"],
    num_classes: int,
    ignore_index: int,
) -> Int64[Tensor, "batch classes classes"]:
    """The confusion matrix of each image: rows are the truth, columns the prediction.

    Raises:
        ValueError: If the two differ in shape, if a label is neither a class nor `ignore_index`, or if a prediction,
            under an ignored pixel too, is no class.
    """
    refuse_other_shapes(predictions, labels)
    if not puts_off(labels.device):
        matrices = torch.from_numpy(np.zeros((len(labels), num_classes, num_classes), dtype=np.int64))
        for matrix, of_image, truth in zip(matrices, predictions, labels, strict=True):
            matrix += pixel_counts(of_image.flatten(), truth.flatten(), num_classes, ignore_index)
        return matrices
    matrices, bounds = unchecked_matrices(predictions, labels, num_classes, ignore_index)
    refuse_strangers(bounds, num_classes, ignore_index)
    return matrices


def pixel_counts(
    predictions: Integer[Tensor, " pixels"],
    labels: Integer[Tensor, " pixels"],
    num_classes: int,
    ignore_index: int,
) -> Int64[Tensor, "classes classes"]:
    """The confusion matrix of pixels on the CPU, in memory that does not grow with their number.

    Raises:
        ValueError: See `image_matrices`.
    """
    parts = list(zip(torch.split(predictions, PART), torch.split(labels, PART), strict=True))

    def count(part: tuple[Tensor, Tensor]) -> Int64[Tensor, "256 256"] | None:
        return pairs_of_bytes(*part) if num_classes <= BYTES else None

    with workers(labels.device) as in_order:
        pairs = list(in_order(count, parts))
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    known = [counts for counts in pairs if counts is not None]
    if known:
        matrix += matrix_of_pairs(torch.stack(known).sum(0), num_classes, ignore_index)
    for part, counts in zip(parts, pairs, strict=True):
        if counts is None:
            values, truth = (each.view(1, 1, -1) for each in part)
            matrices, bounds = unchecked_matrices(values, truth, num_classes, ignore_index)
            refuse_strangers(bounds, num_classes, ignore_index)
            matrix += matrices[0]
    return matrix


def pairs_of_bytes(
    predictions: Integer[Tensor, " pixels"], labels: Integer[Tensor, " pixels"]
) -> Int64[Tensor, "256 256"] | None:
    """How often each pair of a label and a prediction occurs; None if one is not from 0 to 255.

    By C++, or by NumPy, as a dozen short operations of torch wait for all threads a dozen times: on a machine whose
    cores are busy loading images that takes a hundred times as long.
    """
    kinds = tuple(NAMES.get(values.dtype) for values in (labels, predictions))
    native = compiled(SOURCE)
    if native is not None and None not in kinds:
        labels, predictions = labels.contiguous(), predictions.contiguous()
        pairs = torch.zeros(BYTES, BYTES, dtype=torch.int64)
        count = native["count_{}_{}".format(*kinds)]
        count.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
        fit = count(labels.data_ptr(), predictions.data_ptr(), len(labels), pairs.data_ptr())
        return pairs if fit else None
    maps = labels.numpy(), predictions.numpy()
    if not all(is_bytes(values) for values in maps):
        return None
    cells = np.left_shift(maps[0], 8, dtype=np.uint16, casting="unsafe")
    np.bitwise_or(cells, maps[1], out=cells, dtype=np.uint16, casting="unsafe")
    counts = np.bincount(cells, minlength=BYTES * BYTES).astype(np.int64, copy=False)
    return torch.from_numpy(counts.reshape(BYTES, BYTES))


def is_bytes(values: Pixels) -> bool:
    """Whether all values are from 0 to 255."""
    return values.dtype == np.uint8 or int(np.bitwise_or.reduce(values)) >> 8 == 0


def matrix_of_pairs(
    pairs: Int64[Tensor, "256 256"], num_classes: int, ignore_index: int
) -> Int64[Tensor, "classes classes"]:
    """The confusion matrix of pixels from how often each label and prediction occur together.

    Void and strangers were counted like any class, each in a row or column of its own, and are looked for here.

    Raises:
        ValueError: See `image_matrices`.
    """
    counts = pairs.numpy()
    matrix = counts[:num_classes, :num_classes]
    void = counts[ignore_index, :num_classes] if num_classes <= ignore_index < BYTES else counts[0, :0]
    if matrix.sum() + void.sum() != counts.sum():
        found_predictions, found_labels = counts.sum(0), counts.sum(1)
        if 0 <= ignore_index < BYTES:
            found_labels[ignore_index] = 0
        highest = [int(np.flatnonzero(found).max(initial=0)) for found in (found_labels, found_predictions)]
        refuse_strangers(torch.tensor([[0, 0], highest]), num_classes, ignore_index)
    if 0 <= ignore_index < num_classes:
        matrix[ignore_index] = 0
    return torch.from_numpy(matrix)


def unchecked_matrices(
    predictions: Integer[Tensor, "batch height width"],
    labels: Integer[Tensor, "batch height width"],
    num_classes: int,
    ignore_index: int,
) -> tuple[Int64[Tensor, "batch classes classes"], Int64[Tensor, "2 2"]]:
    """The confusion matrix of each image, without waiting for the device, and the bounds for `refuse_strangers`.

    Those are the least, then the greatest, of the labels without the ignored one and of the predictions. Strangers
    are counted somewhere.
    """
    images = len(labels)
    if labels.numel() == 0:
        return labels.new_zeros(images, num_classes, num_classes, dtype=torch.int64), labels.new_zeros(2, 2).long()
    predictions, labels = predictions.long(), labels.long()
    # Ignored pixels go to a row below the matrix: one pass, where selecting by a mask would copy both maps.
    ignored = labels == ignore_index
    known, predicted = torch.aminmax(labels.masked_fill(ignored, 0)), torch.aminmax(predictions)
    bounds = torch.stack([known.min, predicted.min, known.max, predicted.max]).view(2, 2)
    size = (num_classes + 1) * num_classes
    cells = labels.masked_fill(ignored, num_classes).clamp_(0, num_classes).mul_(num_classes)
    cells += predictions.clamp(0, num_classes - 1)
    cells += torch.arange(0, images * size, size, device=cells.device).view(-1, 1, 1)
    if cells.device.type == "cpu":
        counts = torch.bincount(cells.flatten(), minlength=images * size)
    else:  # there bincount waits for the greatest cell
        counts = cells.new_zeros(images * size).scatter_add_(0, cells.flatten(), torch.ones_like(cells).flatten())
    return counts.view(images, num_classes + 1, num_classes)[:, :num_classes], bounds


def refuse_other_shapes(predictions: Tensor, labels: Tensor) -> None:
    """Refuse maps that do not lie upon each other.

    Raises:
        ValueError: Names both shapes.
    """
    if predictions.shape != labels.shape:
        raise ValueError(
            f"predictions and labels must have one shape, got {tuple(predictions.shape)} and {tuple(labels.shape)}"
        )


def refuse_strangers(bounds: Int64[Tensor, "2 2"], num_classes: int, ignore_index: int) -> None:
    """Refuse maps that hold something else than classes, by the least and greatest value of each.

    Raises:
        ValueError: Names the greatest or least such value, and what there may be.
    """
    otherwise = {"label": f" or the ignore_index {ignore_index}", "prediction": ""}
    for (name, more), low, high in zip(otherwise.items(), *bounds.tolist(), strict=True):
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"found the {name} {low if low < 0 else high}, which is no class from 0 to {num_classes - 1}{more}"
            )
