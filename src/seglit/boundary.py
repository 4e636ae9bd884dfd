"""Boundary IoU: how well masks agree along their edges, where the IoU of large masks hardly looks."""

import math

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, Integer
from torch import Tensor
from torchmetrics import Metric


class BoundaryCounts(Metric):
    """Pixels near the boundaries of each class: in both label and prediction, in the label, and in the prediction.

    Boundary IoU (Cheng et al., CVPR 2021, equation 3) of a class is `|G_d & P_d| / |G_d | P_d|`: `G_d` are the pixels
    of its labels within distance d of the labels' own boundary, `P_d` those of its predictions within d of the
    predictions' own. A pixel is within d if the square of 2 d + 1 pixels around it holds a pixel of another class or
    reaches beyond the image, as in the authors' program; d is `share` of the image's diagonal in whole pixels, half
    to even, and at least 1.

    A pixel whose label is `ignore_index` is in neither set, and none of both maps' boundaries is there: it makes no
    other pixel near. The counts add up over images and devices, and the quotient is that of all images.

    Args:
        num_classes: Number of classes.
        ignore_index: Label of the pixels to leave out; any number.
        share: d as a share of the diagonal, above 0 and below 1; the paper's is 0.02.

    Raises:
        ValueError: If `share` is out of its range.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    areas: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255, share: float = 0.02) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"boundary_iou: must be a share of the image's diagonal, between 0 and 1, got {share}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.share = share
        self.add_state("areas", default=torch.zeros(3, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self, predictions: Integer[Tensor, "batch height width"], labels: Integer[Tensor, "batch height width"]
    ) -> None:
        """Count the pixels of a batch, on the CPU. The values must be classes, as `ConfusionMatrix` sees to it."""
        for prediction, label in zip(predictions.cpu().numpy(), labels.cpu().numpy(), strict=True):
            counts = boundary_areas(prediction, label, self.num_classes, self.ignore_index, self.share)
            self.areas += torch.from_numpy(counts).to(self.areas.device)

    def compute(self) -> Float64[Tensor, " classes"]:
        """Boundary IoU of each class, from 0 to 1, on the CPU; NaN for a class without a pixel near a boundary."""
        both, labelled, predicted = self.areas.cpu().double().unbind(0)
        return both / (labelled + predicted - both)


def boundary_areas(
    prediction: Integer[np.ndarray, "height width"],
    label: Integer[np.ndarray, "height width"],
    num_classes: int,
    ignore_index: int,
    share: float,
) -> Int64[np.ndarray, "3 classes"]:
    """The counts of one image; see `BoundaryCounts`."""
    void = label == ignore_index
    distance = max(1, round(share * math.hypot(*label.shape)))
    near_label = near_boundary(label, void, num_classes, distance)
    near_prediction = near_boundary(prediction, void, num_classes, distance)
    both = near_label & near_prediction & (label == prediction)
    chosen = (label[both], label[near_label], prediction[near_prediction])
    return np.stack([np.bincount(classes, minlength=num_classes) for classes in chosen])


def near_boundary(
    classes: Integer[np.ndarray, "height width"],
    void: Bool[np.ndarray, "height width"],
    num_classes: int,
    distance: int,
) -> Bool[np.ndarray, "height width"]:
    """Which pixels have a pixel of another class, or the outside of the image, within `distance` in both directions.

    Void pixels are not among them, nor are they of another class.
    """
    # The least and the greatest class around a pixel tell of another, for all classes at once. Void takes the value
    # that changes neither.
    whole = np.uint8 if num_classes <= 256 else np.uint16
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * distance + 1, 2 * distance + 1))
    least = cv2.erode(np.where(void, num_classes - 1, classes).astype(whole), square)
    greatest = cv2.dilate(np.where(void, 0, classes).astype(whole), square)
    near: np.ndarray = least != greatest
    for edge in (near, near.T):
        edge[:distance] = True
        edge[-distance:] = True
    near &= ~void
    return near
