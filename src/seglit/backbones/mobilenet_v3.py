"""MobileNetV3 with dilated last stages, as its authors use it for segmentation."""

from collections import OrderedDict
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.mobilenet_v2 import widened
from seglit.blocks import NormFactory, conv_norm, convolution
from seglit.features import FeatureSpec


class Block(NamedTuple):
    """The settings of one block."""

    kernel_size: int
    width: int
    channels: int
    attention: bool
    hard: bool
    stride: int = 1
    dilation: int = 1


BLOCKS = {
    "small": (
        Block(3, 16, 16, attention=True, hard=False, stride=2),
        Block(3, 72, 24, attention=False, hard=False, stride=2),
        Block(3, 88, 24, attention=False, hard=False),
        Block(5, 96, 40, attention=True, hard=True, dilation=2),
        Block(5, 240, 40, attention=True, hard=True, dilation=2),
        Block(5, 240, 40, attention=True, hard=True, dilation=2),
        Block(5, 120, 48, attention=True, hard=True, dilation=2),
        Block(5, 144, 48, attention=True, hard=True, dilation=2),
        Block(5, 288, 96, attention=True, hard=True, dilation=4),
        Block(5, 576, 96, attention=True, hard=True, dilation=4),
        Block(5, 576, 96, attention=True, hard=True, dilation=4),
    ),
    "large": (
        Block(3, 16, 16, attention=False, hard=False),
        Block(3, 64, 24, attention=False, hard=False, stride=2),
        Block(3, 72, 24, attention=False, hard=False),
        Block(5, 72, 40, attention=True, hard=False, stride=2),
        Block(5, 120, 40, attention=True, hard=False),
        Block(5, 120, 40, attention=True, hard=False),
        Block(3, 240, 80, attention=False, hard=True, dilation=2),
        Block(3, 200, 80, attention=False, hard=True, dilation=2),
        Block(3, 184, 80, attention=False, hard=True, dilation=2),
        Block(3, 184, 80, attention=False, hard=True, dilation=2),
        Block(3, 480, 112, attention=True, hard=True, dilation=2),
        Block(3, 672, 112, attention=True, hard=True, dilation=2),
        Block(5, 672, 160, attention=True, hard=True, dilation=4),
        Block(5, 960, 160, attention=True, hard=True, dilation=4),
        Block(5, 960, 160, attention=True, hard=True, dilation=4),
    ),
}
# The layers whose maps are given: the last at strides 2 and 4, and the last of all.
GIVEN = {"small": (0, 1, 12), "large": (1, 3, 16)}
STEM_CHANNELS = 16
LAST_WIDENING = 6


class MobileNetV3(nn.Module):
    """MobileNetV3 (Howard et al., ICCV 2019), dilated to an output stride of 8.

    Gives maps at strides 2, 4 and 8: 16, 16 and 576 channels of the small net, 16, 24 and 960 of the large. Any image
    size works: a map at stride s has ceil(n / s) steps where the image has n pixels.

    Args:
        arch: `small` or `large`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: If there is no such `arch`.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(self, *, arch: str = "large", norm: NormFactory = nn.BatchNorm2d) -> None:
        super().__init__()
        if arch not in BLOCKS:
            raise ValueError(f"arch must be one of {list(BLOCKS)}, got {arch!r}")
        channels, stride = STEM_CHANNELS, 2
        layers: list[nn.Module] = [activated(3, channels, 3, stride=2, hard=True, norm=norm)]
        specs = [FeatureSpec(channels, stride)]
        for block in BLOCKS[arch]:
            layers.append(InvertedResidual(channels, block, norm))
            channels, stride = block.channels, stride * block.stride
            specs.append(FeatureSpec(channels, stride))
        layers.append(activated(channels, channels * LAST_WIDENING, 1, hard=True, norm=norm))
        specs.append(FeatureSpec(channels * LAST_WIDENING, stride))
        self.layers = nn.ModuleList(layers)
        self.given = GIVEN[arch]
        self.feature_specs = tuple(specs[index] for index in self.given)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The maps at strides 2, 4 and 8, as `feature_specs` describes them."""
        maps = [image]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return tuple(maps[index + 1] for index in self.given)


class InvertedResidual(nn.Module):
    """Widened, convolved within each channel, weighted by channel, narrowed; plus the input where shapes agree."""

    def __init__(self, in_channels: int, block: Block, norm: NormFactory) -> None:
        super().__init__()
        width, hard = block.width, block.hard
        self.expand = None if width == in_channels else activated(in_channels, width, 1, hard=hard, norm=norm)
        self.depthwise = activated(
            width,
            width,
            block.kernel_size,
            stride=block.stride,
            dilation=block.dilation,
            groups=width,
            hard=hard,
            norm=norm,
        )
        self.attention = ChannelAttention(width) if block.attention else None
        self.project = conv_norm(width, block.channels, 1, norm=norm)
        self.has_shortcut = block.stride == 1 and in_channels == block.channels

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """The block's output, at its stride."""
        wide = self.depthwise(x if self.expand is None else self.expand(x))
        if self.attention is not None:
            wide = self.attention(wide)
        narrow: Tensor = self.project(wide)
        return x + narrow if self.has_shortcut else narrow


class ChannelAttention(nn.Module):
    """Each channel times a number from 0 to 1 that all averages tell (squeeze and excitation, Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = widened(channels // 4, 1.0)
        self.squeeze = convolution(channels, squeezed, 1, bias=True)
        self.excite = convolution(squeezed, channels, 1, bias=True)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The weighted map."""
        squeezed = F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.excite(squeezed))


class SamePadding(nn.Module):
    """Zeros around a map so that a side of n becomes ceil(n / stride), as TensorFlow does: an odd one comes last."""

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, x: Float[Tensor, "batch channels _ _"]) -> Float[Tensor, "batch channels _ _"]:
        """The padded map."""
        sides = []
        for side in reversed(x.shape[2:]):
            missing = max((-(-side // self.stride) - 1) * self.stride + self.kernel_size - side, 0)
            sides += [missing // 2, missing - missing // 2]
        return F.pad(x, sides)


def activated(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    hard: bool,
    norm: NormFactory,
) -> nn.Sequential:
    """Convolution, normalisation and hard swish or ReLU; a stride pads as TensorFlow does."""
    conv = convolution(in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups)
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, norm=norm(out_channels))
    if stride > 1:
        conv.padding = (0, 0)
        parts = OrderedDict(padding=SamePadding(kernel_size, stride), **parts)
    parts["activation"] = nn.Hardswish(inplace=True) if hard else nn.ReLU(inplace=True)
    return nn.Sequential(parts)
