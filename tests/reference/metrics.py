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
