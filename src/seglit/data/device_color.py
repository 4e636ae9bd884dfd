"""Colour distortion of a batch on its device, with numbers that were drawn for each sample."""

import random

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from seglit.data.transforms import PhotoMetricDistortion

NAMES = ("early_contrast", "brightness", "contrast", "saturation", "hue")
"""What is drawn for a sample, in the order of its numbers."""
NEUTRAL = (0.0, 0.0, 1.0, 1.0, 0.0)


def drawn_colors(distortion: PhotoMetricDistortion, seed: int) -> tuple[float, ...]:
    """The numbers of a sample, in the order of `NAMES`; a function of the arguments alone."""
    distortion.set_random_state(np.random.default_rng(seed), random.Random(seed))
    if not distortion.should_apply():
        return NEUTRAL
    params = distortion.get_params()
    return tuple(float(params[name]) for name in NAMES)


def distorted(
    image: UInt8[Tensor, "batch 3 height width"], colors: Float[Tensor, "batch 5"]
) -> UInt8[Tensor, "batch 3 height width"]:
    """What `PhotoMetricDistortion` makes of each image, but that hue and saturation are not rounded in between.

    Never waits for the device.

    Args:
        image: Red, green, blue.
        colors: For each image, the numbers of `drawn_colors`.
    """
    early, brightness, contrast, saturation, hue = colors.float()[:, :, None, None, None].unbind(1)
    ones = torch.ones_like(contrast)
    values = _truncated(image.float() + brightness)
    values = _truncated(values * torch.where(early > 0, contrast, ones))
    values = _turned(values, saturation, hue).round_()
    return _truncated(values * torch.where(early > 0, ones, contrast)).to(torch.uint8)


def _truncated(values: Tensor) -> Tensor:
    return values.clamp_(0, 255).floor_()


def _turned(values: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """The values with saturation multiplied, and hue turned by steps of 2 degrees (Smith, SIGGRAPH 1978)."""
    red, green, blue = values[:, :1], values[:, 1:2], values[:, 2:]
    value = values.amax(1, keepdim=True)
    chroma = value - values.amin(1, keepdim=True)
    unit = torch.where(chroma > 0, chroma, 1.0)
    sextant = torch.where(value == green, (blue - red) / unit + 2, (red - green) / unit + 4)
    sextant = torch.where(value == red, (green - blue) / unit, sextant) + hue / 30
    chroma = torch.minimum(chroma * saturation, value)
    places = torch.arange(5, 0, -2, device=values.device, dtype=values.dtype).view(1, 3, 1, 1)
    away = (places + sextant).remainder_(6)
    return value - chroma * torch.minimum(away, 4 - away).clamp_(0, 1)
