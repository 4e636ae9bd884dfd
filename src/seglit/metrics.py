"""Every score of a segmentation from one confusion matrix of whole pixel counts, and such counts of each image."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64, Integer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from seglit.counting import (
    image_matrices,
    pixel_counts,
    puts_off,
    refuse_other_shapes,
    refuse_strangers,
    unchecked_matrices,
)

WAITING = 2**22
"""Counts that wait on a device before those of its images that are zero are dropped: 32 MiB."""


class PixelCounts(Metric):
    """Counts the pixels of batches without making a device wait: what would do so is put off until `settle`.

    On the CPU nothing is put off.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, num_classes: int, ignore_index: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.bounds: Tensor | None = None

    def counted(self, predictions: Tensor, labels: Tensor) -> Int64[Tensor, "batch classes classes"]:
        """The matrix of each image, whose strangers, on a device, `settle` refuses."""
        refuse_other_shapes(predictions, labels)
        if not puts_off(labels.device):
            return image_matrices(predictions, labels, self.num_classes, self.ignore_index)
        matrices, bounds = unchecked_matrices(predictions, labels, self.num_classes, self.ignore_index)
        self.bounds = bounds if self.bounds is None else wider(self.bounds.to(bounds.device), bounds)
        return matrices

    def settle(self) -> None:
        """Do what was put off.

        Raises:
            ValueError: See `image_matrices`; then there is no result until `reset`.
        """
        if self.bounds is not None:
            refuse_strangers(self.bounds, self.num_classes, self.ignore_index)
            self.bounds = None

    def reset(self) -> None:
        """Forget all counts."""
        super().reset()
        self.bounds = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The result of one batch, which is counted too."""
        self.settle()  # as the states are reset and restored meanwhile
        return super().forward(*args, **kwargs)


class ConfusionMatrix(PixelCounts):
    """Pixels counted by true class (row) and predicted class (column).

    The counts are int64, so they stay exact over any data set, add up over devices, and give the same scores however
    the images were batched. Pixels whose label is `ignore_index` are in no count, whether or not that number is also
    a class: a class of that number can then only be predicted.

    Args:
        num_classes: Number of classes; two for a binary head.
        ignore_index: Label of the pixels to leave out; any number.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__(num_classes, ignore_index)
        if num_classes < 2:
            raise ValueError(f"num_classes must be 2 or more, got {num_classes}")
        self.add_state("matrix", default=torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, predictions: Integer[Tensor, "batch height width"], labels: Integer[Tensor, "batch height width"]
    ) -> None:
        """Count the pixels of a batch.

        Raises:
            ValueError: See `image_matrices`; on a device `compute` raises what needs a look at the values.
        """
        if not puts_off(labels.device):
            refuse_other_shapes(predictions, labels)
            self.matrix += pixel_counts(predictions.flatten(), labels.flatten(), self.num_classes, self.ignore_index)
        else:
            self.matrix += self.counted(predictions, labels).sum(0)

    def compute(self) -> Int64[Tensor, "classes classes"]:
        """The counts so far, of all devices: rows are the truth, columns the prediction."""
        self.settle()
        return self.matrix


class ImageCounts(NamedTuple):
    """Pixel counts of each image by itself, kept only of the pairs of classes that occur in it.

    Attributes:
        images: The number of images. One without a counted pixel has no row.
        rows: Image, true class, predicted class and pixels, in the order of the first three, on the CPU.
    """

    images: int
    rows: Int64[Tensor, "pairs 4"]

    def matrix(self, num_classes: int) -> Int64[Tensor, "classes classes"]:
        """The confusion matrix of all images together."""
        _, truth, prediction, pixels = self.rows.unbind(1)
        matrix = torch.zeros(num_classes * num_classes, dtype=torch.int64)
        return matrix.index_add_(0, truth * num_classes + prediction, pixels).view(num_classes, num_classes)

    def areas(self, num_classes: int) -> Int64[Tensor, "images 3 classes"]:
        """Of each image and class: the pixels in both label and prediction, in the label, and in the prediction."""
        image, truth, prediction, pixels = self.rows.unbind(1)
        areas = torch.zeros(self.images, 3, num_classes, dtype=torch.int64)
        right = truth == prediction
        areas[:, 0].index_put_((image[right], truth[right]), pixels[right], accumulate=True)
        areas[:, 1].index_put_((image, truth), pixels, accumulate=True)
        areas[:, 2].index_put_((image, prediction), pixels, accumulate=True)
        return areas


class ConfusionByImage(PixelCounts):
    """Pixels counted by image, true class and predicted class, which tells how a score varies over images.

    Takes 32 bytes for each pair of classes that occurs in an image, so at most 32 times the square of its number of
    classes: with 10 classes in an image under 3.2 kB, whatever its size. `ConfusionMatrix` does not grow at all.

    Args:
        num_classes: As for `ConfusionMatrix`.
        ignore_index: As there.
    """

    images: Tensor
    rows: list[Tensor] | Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__(num_classes, ignore_index)
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.add_state("images", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(
        self,
        predictions: Integer[Tensor, "batch height width"],
        labels: Integer[Tensor, "batch height width"],
        numbers: Int64[Tensor, " batch"],
    ) -> None:
        """Count the pixels of each image of a batch.

        Args:
            predictions: A class for each pixel.
            labels: A class or `ignore_index` for each pixel.
            numbers: The place of each image in the data set, from 0, so that the result does not depend on which
                device saw which image.

        Raises:
            ValueError: See `image_matrices`.
        """
        matrices = self.counted(predictions, labels)
        self.images += len(numbers)
        self.waiting.append((numbers, matrices))
        # Where there is something is known on a device only after a wait for it.
        if not puts_off(matrices.device) or sum(counts.numel() for _, counts in self.waiting) > WAITING:
            self.settle()

    def settle(self) -> None:
        """Keep of the images that wait the pairs of classes that occur.

        Raises:
            ValueError: See `image_matrices`; then there is no result until `reset`.
        """
        super().settle()
        for numbers, matrices in self.waiting:
            # By NumPy for the reason that `byte_counts` gives.
            places, counts = numbers.cpu().numpy(), matrices.cpu().numpy()
            image, truth, prediction = counts.nonzero()
            rows = np.stack([places[image], truth, prediction, counts[image, truth, prediction]], axis=1)
            assert isinstance(self.rows, list)  # joined only while devices are
            self.rows.append(torch.from_numpy(rows).to(matrices.device))
        self.waiting = []

    def reset(self) -> None:
        """Forget all counts."""
        super().reset()
        self.waiting = []

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Join the counts of all devices."""
        self.settle()  # as it joins the states alone
        super().sync(*args, **kwargs)

    def compute(self) -> ImageCounts:
        """The counts so far, of all devices, in the order of the images."""
        self.settle()
        rows = dim_zero_cat(self.rows).cpu() if len(self.rows) else torch.zeros(0, 4, dtype=torch.int64)
        # The rows of an image are in order already.
        return ImageCounts(int(self.images), rows[rows[:, 0].argsort(stable=True)])


def wider(one: Int64[Tensor, "2 2"], other: Int64[Tensor, "2 2"]) -> Int64[Tensor, "2 2"]:
    """The bounds of both: the least values in the first row, the greatest in the second."""
    return torch.stack([torch.minimum(one[0], other[0]), torch.maximum(one[1], other[1])])


@dataclass(frozen=True)
class Scores:
    """Scores of a confusion matrix, all from 0 to 1; NaN where a score divides by no pixels.

    So the rule for absent classes is: the per-class scores of a class that neither a label nor a prediction has are
    NaN, a mean leaves out the classes whose score is NaN, and a mean over nothing is NaN; without a single counted
    pixel every score is. A class that is predicted but in no label has IoU, Dice and precision 0, which count in the
    means, and no recall.

    Attributes:
        miou: Mean of `iou` over the classes that occur among labels or predictions.
        macc: Mean of `recall` over the classes that occur among labels.
        aacc: Share of pixels predicted rightly.
        mdice: Mean of `dice` over the classes that occur among labels or predictions.
        fwiou: Mean of `iou` weighted by each class's share of the labels.
        iou: Per class, the pixels in both label and prediction, of those in either.
        recall: Per class, the rightly predicted share of its labels; also called class accuracy.
        dice: Per class, twice the pixels in both, of the sum of either's; also called F1.
        precision: Per class, the rightly predicted share of its predictions.
    """

    miou: float
    macc: float
    aacc: float
    mdice: float
    fwiou: float
    iou: Float64[Tensor, " classes"]
    recall: Float64[Tensor, " classes"]
    dice: Float64[Tensor, " classes"]
    precision: Float64[Tensor, " classes"]


def scores(matrix: Int64[Tensor, "classes classes"]) -> Scores:
    """Scores of pixel counts whose rows are the truth and whose columns are the prediction.

    The per-class tensors are on the CPU. float64 holds counts up to 2**53 exactly.
    """
    counts = matrix.cpu().double()
    right, labelled, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    iou = right / (labelled + predicted - right)
    recall = right / labelled
    dice = 2 * right / (labelled + predicted)
    return Scores(
        miou=iou.nanmean().item(),
        macc=recall.nanmean().item(),
        aacc=(right.sum() / labelled.sum()).item(),
        mdice=dice.nanmean().item(),
        # A class without labels has weight zero, and its IoU may be NaN.
        fwiou=((labelled * iou).nansum() / labelled.sum()).item(),
        iou=iou,
        recall=recall,
        dice=dice,
        precision=right / predicted,
    )
