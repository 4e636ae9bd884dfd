"""Single pixels at fault."""

from collections.abc import Callable

import torch
from torch import Tensor

Box = tuple[int, int, int, int, int]
"""Image of the batch; first row, end of the rows, first column, end of the columns."""


def first_place(spoilt: Tensor) -> tuple[int, ...]:
    """Where a tensor of truth is first true, in its own order."""
    found: list[int] = spoilt.nonzero()[0].tolist()
    return tuple(found)


def smallest_box(labels: Tensor, ignore_index: int, is_wrong: Callable[[Tensor], bool]) -> Box | None:
    """The smallest part of a batch that is wrong by itself, all other pixels void; halves are tried as far as they go.

    Args:
        labels: int64, `batch height width`.
        ignore_index: the label of void.
        is_wrong: whether labels, with others made void, show the fault.

    Returns:
        None where no image is wrong by itself.
    """

    def is_enough(box: Box) -> bool:
        image, top, bottom, left, right = box
        only = torch.full_like(labels, ignore_index)
        only[image, top:bottom, left:right] = labels[image, top:bottom, left:right]
        return is_wrong(only)

    height, width = labels.shape[1:]
    images: list[Box] = [(image, 0, height, 0, width) for image in range(len(labels))]
    box = next((whole for whole in images if is_enough(whole)), None)
    while box is not None:
        smaller = next((half for half in halves(box) if is_enough(half)), None)
        if smaller is None:
            return box
        box = smaller
    return None


def halves(box: Box) -> list[Box]:
    """The box cut across its longer side; nothing of one pixel."""
    image, top, bottom, left, right = box
    if bottom - top >= right - left:
        middle = (top + bottom) // 2
        return [(image, top, middle, left, right), (image, middle, bottom, left, right)] if bottom - top > 1 else []
    middle = (left + right) // 2
    return [(image, top, bottom, left, middle), (image, top, bottom, middle, right)]
