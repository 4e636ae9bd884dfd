"""MobileNetV2, whose last stages may be dilated."""

from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm
from seglit.features import FeatureSpec

# Of each stage: how much its blocks widen, the channels that it gives, the number of its blocks.
STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
# Output stride: the strides of the seven stages, then their dilations.
LAYOUTS = {
    8: ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4)),
    16: ((1, 2, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 2, 2)),
    32: ((1, 2, 2, 2, 1, 2, 1), (1, 1, 1, 1, 1, 1, 1)),
}
GIVEN = (1, 2, 4, 6)
STEM_CHANNELS = 32


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al., CVPR 2018): blocks that are wide inside and narrow between.

    Gives the outputs of the second, third, fifth and seventh stage: 24, 32, 96 and 320 channels. With an output
    stride of 8 or 16 later stages keep their resolution; as in MMSegmentation only the first block of a stage is
    dilated then. Any image size works: a map at stride s has ceil(n / s) steps where the image has n pixels.

    Args:
        output_stride: Stride of the last stage: 8, 16 or 32.
        widen_factor: By how much all channels are multiplied, then rounded to multiples of 8; positive.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: On a value not named above.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self, *, output_stride: int = 8, widen_factor: float = 1.0, norm: NormFactory = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        if output_stride not in LAYOUTS:
            raise ValueError(f"output_stride must be one of {list(LAYOUTS)}, got {output_stride}")
        if widen_factor <= 0:
            raise ValueError(f"widen_factor must be positive, got {widen_factor}")
        channels, total_stride = widened(STEM_CHANNELS, widen_factor), 2
        self.stem = conv_norm_relu6(3, channels, 3, stride=2, norm=norm)
        stages, specs = [], []
        for (expansion, width, count), stride, dilation in zip(STAGES, *LAYOUTS[output_stride], strict=True):
            after, total_stride = widened(width, widen_factor), total_stride * stride
            first = InvertedResidual(channels, after, expansion, stride=stride, dilation=dilation, norm=norm)
            others = [
                InvertedResidual(after, after, expansion, stride=1, dilation=1, norm=norm) for _ in range(count - 1)
            ]
            stages.append(nn.Sequential(first, *others))
            specs.append(FeatureSpec(after, total_stride))
            channels = after
        self.layer1, self.layer2, self.layer3, self.layer4, self.layer5, self.layer6, self.layer7 = stages
        self.feature_specs = tuple(specs[index] for index in GIVEN)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The maps of four stages, highest resolution first, as `feature_specs` describes them."""
        second = self.layer2(self.layer1(self.stem(image)))
        third = self.layer3(second)
        fifth = self.layer5(self.layer4(third))
        return second, third, fifth, self.layer7(self.layer6(fifth))


class InvertedResidual(nn.Module):
    """Widened, convolved within each channel, narrowed without activation; plus the input where shapes agree."""

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, *, stride: int, dilation: int, norm: NormFactory
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expand = None if expansion == 1 else conv_norm_relu6(in_channels, width, 1, norm=norm)
        self.depthwise = conv_norm_relu6(width, width, 3, stride=stride, dilation=dilation, groups=width, norm=norm)
        self.project = conv_norm(width, out_channels, 1, norm=norm)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """The block's output, at its stride."""
        wide = x if self.expand is None else self.expand(x)
        narrow: Tensor = self.project(self.depthwise(wide))
        return x + narrow if self.has_shortcut else narrow


def conv_norm_relu6(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    norm: NormFactory,
) -> nn.Sequential:
    """As `seglit.blocks.conv_norm_relu`, with values limited to 6."""
    block = conv_norm(
        in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, norm=norm
    )
    block.add_module("relu", nn.ReLU6(inplace=True))
    return block


def widened(channels: int, factor: float) -> int:
    """The nearest multiple of 8, at least 8, and never less than nine tenths of the exact number."""
    exact = channels * factor
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8
