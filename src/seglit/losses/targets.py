"""What a head learns instead of the classes: boundaries, made from the labels where they are."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

VOID = 255
"""The label of void pixels in what a target makes."""
DETAIL_STRIDES = (1, 2, 4)
DETAIL_SHARES = (0.6, 0.3, 0.1)


class Target(nn.Module, ABC):
    """Labels of two classes, 1 at boundaries and 0 elsewhere, made from those of all classes.

    What is unknown, void pixels and all beyond the frame of the image, makes no boundary, and void pixels stay void.
    """

    num_classes = 2

    @abstractmethod
    def boundaries(
        self, labels: Int64[Tensor, "batch height width"], known: Bool[Tensor, "batch height width"]
    ) -> Bool[Tensor, "batch height width"]:
        """Where there are boundaries, whatever is said of void pixels.

        Args:
            labels: class indices.
            known: where they are meant, and no void ones.
        """

    def forward(
        self, labels: Int64[Tensor, "batch height width"], ignore_index: int
    ) -> Int64[Tensor, "batch height width"]:
        """1, 0, and `VOID` where the label is `ignore_index`."""
        known = labels != ignore_index
        return torch.where(known, self.boundaries(labels, known).long(), VOID)


class BoundaryTarget(Target):
    """Boundaries of a width, as PIDNet learns them (Xu et al., CVPR 2023): wherever two neighbours differ.

    Of two pixels that differ one is marked, and the marks are widened to squares: MMSegmentation's `GenerateEdge`.

    Args:
        width: of the squares, in pixels; at least 1.
    """

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width: must be at least 1, got {width}")
        self.width = width

    def boundaries(
        self, labels: Int64[Tensor, "batch height width"], known: Bool[Tensor, "batch height width"]
    ) -> Bool[Tensor, "batch height width"]:
        """See `Target.boundaries`."""
        marks = torch.zeros_like(known)
        for own, other in PAIRS:
            differs = (labels[own] != labels[other]) & known[own] & known[other]
            marks[own] |= differs
        # An even width reaches one pixel further up and left than down and right, as OpenCV's does.
        before, after = self.width // 2, (self.width - 1) // 2
        padded = F.pad(marks[:, None].float(), (before, after, before, after))
        return F.max_pool2d(padded, self.width, stride=1)[:, 0] > 0


ALL, FIRST, LAST = slice(None), slice(None, -1), slice(1, None)
PAIRS = (
    ((ALL, LAST, ALL), (ALL, FIRST, ALL)),
    ((ALL, ALL, FIRST), (ALL, ALL, LAST)),
    ((ALL, FIRST, FIRST), (ALL, LAST, LAST)),
    ((ALL, FIRST, LAST), (ALL, LAST, FIRST)),
)
"""Of each pair of neighbours, the one that is marked and the other: above, right, and both diagonals below."""


class DetailTarget(Target):
    """Boundaries at three scales, as STDC learns them (Fan et al., CVPR 2021, section 3.3).

    The Laplacian of the class numbers, eight times a pixel's less those of its neighbours, is positive on that side of
    a boundary where the numbers are greater. Wherever it exceeds `threshold` at all pixels, at every second or at every
    fourth, each spread over the pixels it stands for, 0.6, 0.3 or 0.1 count, and a boundary is where these add up to
    more than `threshold` again.

    Args:
        threshold: from 0 on, below 1. At 0.1, the default, what only every fourth pixel shows is not enough.
    """

    def __init__(self, threshold: float = 0.1) -> None:
        super().__init__()
        if not 0.0 <= threshold < 1.0:
            raise ValueError(f"threshold: from 0 on and below 1, got {threshold}")
        self.threshold = threshold

    def boundaries(
        self, labels: Int64[Tensor, "batch height width"], known: Bool[Tensor, "batch height width"]
    ) -> Bool[Tensor, "batch height width"]:
        """See `Target.boundaries`."""
        numbers = torch.where(known, labels, 0).float()
        # A neighbour that is unknown has the number of the pixel itself.
        return self.at_all_scales(numbers * around(known.float()) - around(numbers))

    def at_all_scales(self, laplacian: Float[Tensor, "batch height width"]) -> Bool[Tensor, "batch height width"]:
        """Boundaries from the Laplacian at every pixel."""
        laplacian = laplacian[:, None]
        total = torch.zeros_like(laplacian)
        for stride, share in zip(DETAIL_STRIDES, DETAIL_SHARES, strict=True):
            found = (laplacian[..., ::stride, ::stride] > self.threshold).float()
            total = total + share * F.interpolate(found, laplacian.shape[-2:], mode="nearest")
        return total[:, 0] > self.threshold


def around(values: Float[Tensor, "batch height width"]) -> Float[Tensor, "batch height width"]:
    """The sum of each pixel and its eight neighbours, nothing lying beyond the frame; exact for small integers."""
    return F.avg_pool2d(values[:, None], 3, stride=1, padding=1, divisor_override=1)[:, 0]
