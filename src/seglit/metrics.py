"""Every score of a segmentation from one confusion matrix of whole pixel counts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64, Integer
from torch import Tensor
from torchmetrics import Metric


class ConfusionMatrix(Metric):
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

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    matrix: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be 2 or more, got {num_classes}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("matrix", default=torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, predictions: Integer[Tensor, "batch height width"], labels: Integer[Tensor, "batch height width"]
    ) -> None:
        """Count the pixels of a batch.

        Raises:
            ValueError: If the two differ in shape, if a label is neither a class nor `ignore_index`, or if a
                prediction, under an ignored pixel too, is no class.
        """
        if predictions.shape != labels.shape:
            raise ValueError(
                f"predictions and labels must have one shape, got {tuple(predictions.shape)} and {tuple(labels.shape)}"
            )
        if labels.numel() == 0:
            return
        classes = self.num_classes
        predictions, labels = predictions.long(), labels.long()
        # Ignored pixels go to a row below the matrix: one pass, where selecting by a mask would copy both maps.
        ignored = labels == self.ignore_index
        self._check("label", labels.masked_fill(ignored, 0), f" or the ignore_index {self.ignore_index}")
        self._check("prediction", predictions, "")
        cells = labels.masked_fill(ignored, classes).mul_(classes).add_(predictions)
        counts = torch.bincount(cells.flatten(), minlength=(classes + 1) * classes)
        self.matrix += counts[: classes * classes].view(classes, classes)

    def compute(self) -> Int64[Tensor, "classes classes"]:
        """The counts so far, of all devices: rows are the truth, columns the prediction."""
        # A copy, as the next update adds to the state in place.
        return self.matrix.clone()

    def _check(self, name: str, values: Int64[Tensor, "batch height width"], otherwise: str) -> None:
        low, high = (int(bound) for bound in torch.stack(torch.aminmax(values)).tolist())
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"found the {name} {low if low < 0 else high}, "
                f"which is no class from 0 to {self.num_classes - 1}{otherwise}"
            )


@dataclass(frozen=True)
class Scores:
    """Scores of a confusion matrix, all from 0 to 1; NaN where a score divides by no pixels.

    So the per-class scores of an absent class are NaN, a mean leaves those classes out, and a mean over nothing is
    NaN: without a single counted pixel every score is.

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
