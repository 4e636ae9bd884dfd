"""ResNets whose last stages may be dilated, as dense prediction wants them."""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from seglit.backbones.split_attention import SplitAttentionBottleneck
from seglit.blocks import NormFactory, conv_norm_relu, convolution
from seglit.features import FeatureSpec

BLOCK_COUNTS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# Output stride: the strides of the four stages, then their dilations.
LAYOUTS = {
    8: ((1, 2, 1, 1), (1, 1, 2, 4)),
    16: ((1, 2, 2, 1), (1, 1, 1, 2)),
    32: ((1, 2, 2, 2), (1, 1, 1, 1)),
}
VARIANTS = ("v1b", "v1c", "v1d", "resnest")
STEM_STRIDE = 4


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut; stride and dilation are in the first."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        dilation: int,
        downsample: nn.Module | None,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, width, 3, stride=stride, dilation=dilation)
        self.norm1 = norm(width)
        self.conv2 = convolution(width, width, 3)
        self.norm2 = norm(width)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.Module:
        """The normalisation before the shortcut is added."""
        return self.norm2

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """The shortcut of `x` plus its residual."""
        residual = F.relu(self.norm1(self.conv1(x)), inplace=True)
        residual = self.norm2(self.conv2(residual))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(residual + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions around a shortcut; stride and dilation are in the 3 x 3."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        dilation: int,
        downsample: nn.Module | None,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, width, 1)
        self.norm1 = norm(width)
        self.conv2 = convolution(width, width, 3, stride=stride, dilation=dilation)
        self.norm2 = norm(width)
        self.conv3 = convolution(width, width * self.expansion, 1)
        self.norm3 = norm(width * self.expansion)
        self.downsample = downsample

    @property
    def last_norm(self) -> nn.Module:
        """The normalisation before the shortcut is added."""
        return self.norm3

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """The shortcut of `x` plus its residual."""
        residual = F.relu(self.norm1(self.conv1(x)), inplace=True)
        residual = F.relu(self.norm2(self.conv2(residual)), inplace=True)
        residual = self.norm3(self.conv3(residual))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(residual + shortcut, inplace=True)


BlockType = type[BasicBlock] | type[Bottleneck] | type[SplitAttentionBottleneck]


class ResNet(nn.Module):
    """ResNet (He et al., CVPR 2016) with MMSegmentation's stems and dilations, whose numbers it reproduces.

    Gives the outputs of the four stages. With an output stride of 8 or 16 the later stages keep their
    resolution and dilate their convolutions instead (Yu et al., CVPR 2017), which costs time and gives finer
    logits. Any image size works: a map at stride s has ceil(n / s) steps where the image has n pixels.

    Args:
        depth: 18, 34, 50, 101 or 152 layers.
        variant: What is done to the plain net (He et al., CVPR 2019, "Bag of Tricks"): `v1b` nothing, the
            stem is 7 x 7 as in torchvision; `v1c` the stem is three 3 x 3 convolutions; `v1d` this, and the
            strided shortcuts pool first; `resnest` this, and split attention in each block (Zhang et al., CVPR
            Workshops 2022), for 50 layers or more.
        output_stride: Stride of the last stage: 8, 16 or 32.
        base_channels: Width of the first stage; each later one doubles it.
        stem_channels: Channels of the stem's output, even unless the variant is `v1b`.
        dilations: Dilation of each stage; None for what makes up for the strides that `output_stride` leaves out.
        contract_dilation: Whether a dilated stage's first block dilates by half as much as the others.
        multi_grid: Dilation of each block of the last stage in place of those (Chen et al., 2017, "Rethinking
            Atrous Convolution").
        frozen_stages: -1 trains all; 0 freezes the stem; k freezes the stem and the first k stages: neither
            their parameters nor their running statistics move.
        norm_eval: Whether batch normalisation uses its running statistics, and leaves them, in training too.
        zero_init_residual: Whether each block begins as its shortcut, its last norm's weight being zero.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: On a value not named above, or if `norm_eval` has no batch normalisation to act on.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        depth: int,
        *,
        variant: str = "v1c",
        output_stride: int = 8,
        base_channels: int = 64,
        stem_channels: int = 64,
        dilations: Sequence[int] | None = None,
        contract_dilation: bool = True,
        multi_grid: Sequence[int] | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        zero_init_residual: bool = True,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if depth not in BLOCK_COUNTS:
            raise ValueError(f"depth must be one of {list(BLOCK_COUNTS)}, got {depth}")
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {list(VARIANTS)}, got {variant!r}")
        if output_stride not in LAYOUTS:
            raise ValueError(f"output_stride must be one of {list(LAYOUTS)}, got {output_stride}")
        if not -1 <= frozen_stages <= 4:
            raise ValueError(f"frozen_stages must lie between -1 (none) and 4 (all), got {frozen_stages}")
        strides, matching = LAYOUTS[output_stride]
        dilations = matching if dilations is None else dilations
        if len(dilations) != 4 or min(dilations) < 1:
            raise ValueError(f"dilations must be a positive number for each of the 4 stages, got {list(dilations)}")
        last = BLOCK_COUNTS[depth][-1]
        if multi_grid is not None and (len(multi_grid) != last or min(multi_grid) < 1):
            raise ValueError(
                f"multi_grid must be a positive number for each of the {last} blocks of the last stage, "
                f"got {list(multi_grid)}"
            )
        if variant == "resnest" and depth < 50:
            raise ValueError(f"variant='resnest' needs a depth of 50 or more, got {depth}")
        plain = BasicBlock if depth < 50 else Bottleneck
        block: BlockType = SplitAttentionBottleneck if variant == "resnest" else plain

        self.stem = make_stem(stem_channels, variant, norm)
        stages, specs = [], []
        in_channels, total_stride = stem_channels, STEM_STRIDE
        for index, (count, stride, dilation) in enumerate(zip(BLOCK_COUNTS[depth], strides, dilations, strict=True)):
            width = base_channels * 2**index
            first_dilation = max(1, dilation // 2) if contract_dilation else dilation
            grid = [first_dilation] + [dilation] * (count - 1)
            stage = make_stage(
                block,
                in_channels,
                width,
                stride=stride,
                dilations=multi_grid if multi_grid is not None and index == 3 else grid,
                pool_shortcut=variant in ("v1d", "resnest"),
                norm=norm,
            )
            in_channels, total_stride = width * block.expansion, total_stride * stride
            stages.append(stage)
            specs.append(FeatureSpec(in_channels, total_stride))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.feature_specs = tuple(specs)

        if zero_init_residual:
            for part in self.modules():
                if isinstance(part, BasicBlock | Bottleneck | SplitAttentionBottleneck):
                    nn.init.zeros_(part.last_norm.get_parameter("weight"))
        if norm_eval and not any(isinstance(part, _BatchNorm) for part in self.modules()):
            raise ValueError("norm_eval=True has no effect, as the given norm is no batch normalisation")
        self.norm_eval = norm_eval
        self.frozen_stages = frozen_stages
        for frozen in self._frozen():
            frozen.requires_grad_(False)
        self.train()

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The outputs of the four stages, highest resolution first, as `feature_specs` describes them."""
        x = F.max_pool2d(self.stem(image), kernel_size=3, stride=2, padding=1)
        features = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return tuple(features)

    def train(self, mode: bool = True) -> "ResNet":
        """As in torch, but what is frozen, and with `norm_eval` batch normalisation, stays in eval mode."""
        super().train(mode)
        for frozen in self._frozen():
            frozen.eval()
        if self.norm_eval:
            for part in self.modules():
                if isinstance(part, _BatchNorm):
                    part.eval()
        return self

    def _frozen(self) -> list[nn.Sequential]:
        parts = [self.stem, self.layer1, self.layer2, self.layer3, self.layer4]
        return parts[: self.frozen_stages + 1]


def make_stem(channels: int, variant: str, norm: NormFactory) -> nn.Sequential:
    """From the image to stride 2.

    Raises:
        ValueError: If the variant cannot have that many channels.
    """
    if variant == "v1b":
        return nn.Sequential(conv_norm_relu(3, channels, 7, stride=2, norm=norm))
    if channels % 2:
        raise ValueError(f"stem_channels must be even, as two of the three convolutions have half, got {channels}")
    half = channels // 2
    return nn.Sequential(
        conv_norm_relu(3, half, 3, stride=2, norm=norm),
        conv_norm_relu(half, half, 3, norm=norm),
        conv_norm_relu(half, channels, 3, norm=norm),
    )


def make_stage(
    block: BlockType,
    in_channels: int,
    width: int,
    *,
    stride: int,
    dilations: Sequence[int],
    pool_shortcut: bool,
    norm: NormFactory,
) -> nn.Sequential:
    """A block for each of `dilations`, the first with the stride and a projection where shapes change."""
    out_channels = width * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        pooled = pool_shortcut and stride != 1
        if pooled:
            parts["pool"] = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
        parts["conv"] = convolution(in_channels, out_channels, 1, stride=1 if pooled else stride)
        parts["norm"] = norm(out_channels)
        downsample = nn.Sequential(parts)
    first = block(in_channels, width, stride=stride, dilation=dilations[0], downsample=downsample, norm=norm)
    others = [
        block(out_channels, width, stride=1, dilation=dilation, downsample=None, norm=norm)
        for dilation in dilations[1:]
    ]
    return nn.Sequential(first, *others)
