"""Fast-SCNN."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm, conv_norm_relu, separable_conv
from seglit.features import FeatureSpec
from seglit.heads.head import resized
from seglit.heads.psp import pooled

POOL_SCALES = (1, 2, 3, 6)
BLOCKS_PER_STAGE = 3
EXPANSION = 6


class FastSCNN(nn.Module):
    """Fast-SCNN (Poudel et al., BMVC 2019): two branches that share what takes the image to stride 8.

    Gives three maps: 0, the shared one at stride 8; 1, both branches fused at stride 8, for the decode head; 2, the
    context at stride 32. Any image size works.

    The context has an average over the image, so batch normalisation cannot train on a single one.

    Args:
        shared_channels: Of the maps at strides 2, 4 and 8 that both branches share.
        stage_channels: Of the three stages of the context, at strides 16, 32 and 32; the last at least 4.
        channels: Of the context and of both branches fused.
        align_corners: Whether the centres of corner pixels stay in place when maps are resized.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: If there are not three channels each.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        shared_channels: Sequence[int] = (32, 48, 64),
        stage_channels: Sequence[int] = (64, 96, 128),
        channels: int = 128,
        align_corners: bool = False,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        for name, given in {"shared_channels": shared_channels, "stage_channels": stage_channels}.items():
            if len(given) != 3:
                raise ValueError(f"{name} must be three numbers, got {list(given)}")
        first, second, shared = shared_channels
        self.align_corners = align_corners
        self.shared = nn.Sequential(
            conv_norm_relu(3, first, 3, stride=2, norm=norm),
            separable_conv(first, second, 3, stride=2, depthwise_relu=False, norm=norm),
            separable_conv(second, shared, 3, stride=2, depthwise_relu=False, norm=norm),
        )
        stages = []
        before = shared
        for width, stride in zip(stage_channels, (2, 2, 1), strict=True):
            blocks = [Bottleneck(before, width, stride, norm)]
            blocks += [Bottleneck(width, width, 1, norm) for _ in range(BLOCKS_PER_STAGE - 1)]
            stages.append(nn.Sequential(*blocks))
            before = width
        self.stages = nn.Sequential(*stages)
        quarter = before // len(POOL_SCALES)
        self.pools = nn.ModuleList(conv_norm_relu(before, quarter, 1, norm=norm) for _ in POOL_SCALES)
        self.context = conv_norm_relu(before + quarter * len(POOL_SCALES), channels, 3, norm=norm)
        self.depthwise = conv_norm_relu(channels, channels, 3, groups=channels, norm=norm)
        self.pointwise = conv_norm(channels, channels, 1, norm=norm)
        self.detail = conv_norm(shared, channels, 1, norm=norm)
        self.feature_specs = (FeatureSpec(shared, 8), FeatureSpec(channels, 8), FeatureSpec(channels, 32))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """What both branches share, both fused, and the context, as `feature_specs` describes them."""
        shared = self.shared(image)
        deep = self.stages(shared)
        context = self.context(pooled(deep, POOL_SCALES, self.pools, self.align_corners))
        finer = self.pointwise(self.depthwise(resized(context, shared, self.align_corners)))
        return shared, F.relu(finer + self.detail(shared), inplace=True), context


class Bottleneck(nn.Module):
    """More channels, each convolved by itself, and fewer again (Sandler et al., CVPR 2018), beside a shortcut.

    There is no shortcut where the shape changes.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, norm: NormFactory) -> None:
        super().__init__()
        wide = in_channels * EXPANSION
        self.expand = conv_norm_relu(in_channels, wide, 1, norm=norm)
        self.depthwise = conv_norm_relu(wide, wide, 3, stride=stride, groups=wide, norm=norm)
        self.project = conv_norm(wide, channels, 1, norm=norm)
        self.has_shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """`x` transformed."""
        result: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + result if self.has_shortcut else result
