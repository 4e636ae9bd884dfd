"""Sliding windows and views one pixel and one view at a time."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def starts(length: int, window: int, stride: int) -> list[int]:
    """March on by the stride; the first window that would reach the end or beyond ends with the image."""
    found, start = [], 0
    while start + window < length:
        found.append(start)
        start += stride
    return [*found, length - window]


def slide(net: nn.Module, image: Tensor, window: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """For each pixel the mean of what the windows above it say."""
    height, width = image.shape[-2:]
    window = (min(window[0], height), min(window[1], width))
    said: dict[tuple[int, int], list[np.ndarray]] = {(y, x): [] for y in range(height) for x in range(width)}
    for top in starts(height, window[0], stride[0]):
        for left in starts(width, window[1], stride[1]):
            crop = image[:, :, top : top + window[0], left : left + window[1]]
            logits = upsampled(net(crop)["decode"], window, net.decode_head.align_corners).numpy()
            for y in range(window[0]):
                for x in range(window[1]):
                    said[top + y, left + x].append(logits[:, :, y, x])
    rows = [np.stack([np.mean(said[y, x], axis=0) for x in range(width)], axis=-1) for y in range(height)]
    return torch.from_numpy(np.stack(rows, axis=-2))


def view(net: nn.Module, image: Tensor, scale: float, flipped: bool, size: tuple[int, int]) -> Tensor:
    """Whole-image probabilities of one view."""
    height, width = image.shape[-2:]
    picture = upsampled(image, (round(height * scale), round(width * scale)), align_corners=False)
    if flipped:
        picture = torch.flip(picture, dims=[3])
    logits = upsampled(net(picture)["decode"], size, net.decode_head.align_corners)
    scores = torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)
    return torch.flip(scores, dims=[3]) if flipped else scores


def upsampled(maps: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)
