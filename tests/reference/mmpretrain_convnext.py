"""MMPretrain's ConvNeXt by its names, written from the paper (Liu et al., CVPR 2022), one operation after the other.

MMSegmentation's ConvNeXts are MMPretrain's. `outputs(weights, image)` takes the weights as a checkpoint has them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def shapes(depths: tuple[int, ...], channels: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter."""
    found: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    layer("downsample_layers.0.0", channels[0], 3, 4, 4)
    layer("downsample_layers.0.1", channels[0])
    for stage, (depth, width) in enumerate(zip(depths, channels, strict=True)):
        if stage:
            layer(f"downsample_layers.{stage}.0", channels[stage - 1])
            layer(f"downsample_layers.{stage}.1", width, channels[stage - 1], 2, 2)
        for block in range(depth):
            name = f"stages.{stage}.{block}"
            found[f"{name}.gamma"] = (width,)
            layer(f"{name}.depthwise_conv", width, 1, 7, 7)
            layer(f"{name}.norm", width)
            layer(f"{name}.pointwise_conv1", 4 * width, width)
            layer(f"{name}.pointwise_conv2", width, 4 * width)
        layer(f"norm{stage}", width)
    return found


def outputs(weights: dict[str, Tensor], image: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
    """The normalised map of each stage."""

    def of(name: str) -> tuple[Tensor, Tensor]:
        return weights[f"{name}.weight"], weights[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        """Over the channels of each pixel."""
        weight, bias = of(name)
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).square().mean(1, keepdim=True)
        return (x - mean) / (variance + 1e-6).sqrt() * weight[:, None, None] + bias[:, None, None]

    def pointwise(x: Tensor, name: str) -> Tensor:
        weight, bias = of(name)
        return torch.einsum("oi,bihw->bohw", weight, x) + bias[:, None, None]

    x, maps = image, []
    for stage, depth in enumerate(depths):
        if stage == 0:
            x = norm(F.conv2d(x, *of("downsample_layers.0.0"), stride=4), "downsample_layers.0.1")
        else:
            x = norm(x, f"downsample_layers.{stage}.0")
            x = F.conv2d(x, *of(f"downsample_layers.{stage}.1"), stride=2)
        for block in range(depth):
            name = f"stages.{stage}.{block}"
            y = F.conv2d(x, *of(f"{name}.depthwise_conv"), padding=3, groups=x.shape[1])
            y = pointwise(norm(y, f"{name}.norm"), f"{name}.pointwise_conv1")
            y = pointwise(0.5 * y * (1 + torch.erf(y / 2**0.5)), f"{name}.pointwise_conv2")
            x = x + weights[f"{name}.gamma"][:, None, None] * y
        maps.append(norm(x, f"norm{stage}"))
    return maps
