"""Slow, obvious versions of what `seglit.data` computes with tables."""

import cv2
import numpy as np


def label_of(raw, num_classes, ignore_index, label_map=None, default="error", reduce_zero_label=False):
    """The label of one raw value, or None where it means nothing."""
    if label_map is None:
        label = raw
    elif raw in label_map:
        label = label_map[raw]
    elif raw == ignore_index or default == "ignore":
        label = ignore_index
    elif default == "keep":
        label = raw
    else:
        return None
    if reduce_zero_label and label != ignore_index:
        label = ignore_index if label == 0 else label - 1
    return label if label == ignore_index or 0 <= label < num_classes else None


def photometric_distortion(image, early_contrast, brightness, contrast, saturation, hue):
    """Each change by itself on the pixels, each change of colour with a trip to HSV and back of its own."""

    def changed(pixels, factor, shift):
        return np.clip(pixels.astype(np.float64) * factor + shift, 0, 255).astype(np.uint8)

    def by_hsv(pixels, change):
        hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
        return cv2.cvtColor(change(hsv), cv2.COLOR_HSV2RGB)

    def saturated(hsv):
        hsv[..., 1] = changed(hsv[..., 1], saturation, 0)
        return hsv

    def turned(hsv):
        hsv[..., 0] = (hsv[..., 0].astype(int) + hue) % 180
        return hsv

    image = changed(image, 1, brightness)
    if early_contrast:
        image = changed(image, contrast, 0)
    if saturation != 1:
        image = by_hsv(image, saturated)
    if hue != 0:
        image = by_hsv(image, turned)
    if not early_contrast:
        image = changed(image, contrast, 0)
    return image
