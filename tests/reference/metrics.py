"""Confusion matrix and scores by counting one pixel after the other."""

import math

import numpy as np


def confusion(predictions: np.ndarray, labels: np.ndarray, num_classes: int, ignore_index: int) -> np.ndarray:
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    for prediction, label in zip(predictions.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if label != ignore_index:
            matrix[label, prediction] += 1
    return matrix


def quotient(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def mean(values: list[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return quotient(sum(defined), len(defined))


def scores(matrix: np.ndarray) -> dict[str, float | list[float]]:
    """Every score by its definition in true positives, false positives and false negatives."""
    classes, pixels = len(matrix), int(matrix.sum())
    iou, recall, dice, precision, weighted, right = [], [], [], [], 0.0, 0
    for c in range(classes):
        true_positive = int(matrix[c, c])
        false_negative = sum(int(matrix[c, other]) for other in range(classes) if other != c)
        false_positive = sum(int(matrix[other, c]) for other in range(classes) if other != c)
        iou.append(quotient(true_positive, true_positive + false_positive + false_negative))
        recall.append(quotient(true_positive, true_positive + false_negative))
        dice.append(quotient(2 * true_positive, 2 * true_positive + false_positive + false_negative))
        precision.append(quotient(true_positive, true_positive + false_positive))
        if true_positive + false_negative > 0:
            weighted += (true_positive + false_negative) * iou[c]
        right += true_positive
    return {
        "miou": mean(iou),
        "macc": mean(recall),
        "aacc": quotient(right, pixels),
        "mdice": mean(dice),
        "fwiou": quotient(weighted, pixels),
        "iou": iou,
        "recall": recall,
        "dice": dice,
        "precision": precision,
    }


def class_areas(
    predictions: np.ndarray, labels: np.ndarray, num_classes: int, ignore_index: int
) -> dict[str, np.ndarray]:
    """What MMSegmentation counts for each class, by its arithmetic: histograms of the pixels that are not ignored.

    One bin for each class. A label that is no class falls out of the histogram and one that is ignored is cut out
    before; the prediction of a pixel counts wherever its label is not ignored.
    """
    kept = labels != ignore_index
    predicted, labelled = predictions[kept], labels[kept]

    def histogram(values: np.ndarray) -> np.ndarray:
        return np.array([(values == c).sum() for c in range(num_classes)], dtype=np.int64)

    areas = {
        "intersect": histogram(predicted[predicted == labelled]),
        "pred": histogram(predicted),
        "label": histogram(labelled),
    }
    return areas | {"union": areas["pred"] + areas["label"] - areas["intersect"]}


def boundary_pixels(mask: np.ndarray, void: np.ndarray, distance: int) -> set[tuple[int, int]]:
    """The pixels of a mask with a valid pixel outside the mask, or the outside of the image, in the square around."""
    height, width = mask.shape
    found = set()
    for row in range(height):
        for column in range(width):
            if not mask[row, column] or void[row, column]:
                continue
            for i in range(row - distance, row + distance + 1):
                for j in range(column - distance, column + distance + 1):
                    outside = not (0 <= i < height and 0 <= j < width)
                    if outside or (not mask[i, j] and not void[i, j]):
                        found.add((row, column))
    return found


def boundary_areas(
    prediction: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int, share: float
) -> np.ndarray:
    """Pixels near the boundaries of each class: in both, in the label, in the prediction. One class at a time."""
    distance = max(1, round(share * math.sqrt(label.shape[0] ** 2 + label.shape[1] ** 2)))
    void = label == ignore_index
    areas = np.zeros((3, num_classes), dtype=np.int64)
    for c in range(num_classes):
        truth = boundary_pixels(label == c, void, distance)
        predicted = boundary_pixels(prediction == c, void, distance)
        areas[:, c] = len(truth & predicted), len(truth), len(predicted)
    return areas


def resampled_miou(matrices: list[np.ndarray], draws: list[list[int]]) -> list[float]:
    """The mean IoU of each data set that is made of the drawn images."""
    return [scores(sum(matrices[image] for image in drawn))["miou"] for drawn in draws]
