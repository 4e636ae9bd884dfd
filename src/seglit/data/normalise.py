"""From stored to normalised images."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


@lru_cache(maxsize=64)
def by_channel(numbers: tuple[float, ...], device: torch.device) -> Float32[Tensor, "3 1 1"]:
    """The numbers on the device, sent there once, as to send them the host waits for the device."""
    # Inside a training step in float64, the default type is another.
    return torch.tensor(numbers, dtype=torch.float32, device=device).view(3, 1, 1)


def normalise(
    image: UInt8[Tensor, "*batch 3 height width"], mean: Sequence[float], std: Sequence[float]
) -> Float32[Tensor, "*batch 3 height width"]:
    """`(image - mean) / std` by channel, on the device of the image, contiguous.

    Args:
        image: Red, green, blue; 0 to 255.
        mean: Three numbers, in units of 0 to 255.
        std: Three positive numbers, in units of 0 to 255.
    """
    shift, scale = (by_channel(tuple(numbers), image.device) for numbers in (mean, std))
    values = image.to(torch.float32, memory_format=torch.contiguous_format)
    return values.sub_(shift).div_(scale)
