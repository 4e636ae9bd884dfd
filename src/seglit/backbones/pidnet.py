"""PIDNet."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.bilateral import PyramidPooling, Residual, layer, stem
from seglit.blocks import NormFactory, conv_norm, norm_relu_conv
from seglit.features import FeatureSpec
from seglit.heads.head import resized


class PIDNet(nn.Module):
    """PIDNet (Xu et al., CVPR 2023): branches for detail, context and boundaries, named after a PID controller's.

    Gives three maps at stride 8: 0, the proportional branch, that of detail, after its first look at the context; 1,
    the derivative one, that learns boundaries; 2, all three fused, for the decode head. Any image size works; where 8
    does not divide a side, MMSegmentation, which rounds it down, fails.

    The context ends in an average over the image, so batch normalisation cannot train on a single one.

    Args:
        channels: Of the stem: 32 for PIDNet-S, 64 for M and L.
        ppm_channels: Of each average of the pyramid pooling: 96 for S and M, 112 for L.
        num_stem_blocks: Blocks in each layer of the stem and of the proportional branch: 2 for S and M; 3 for L, which
            also has the heavier derivative branch, pyramid pooling and fusion.
        num_branch_blocks: Blocks in each layer of the integral branch, at least 2: 3 for S and M, 4 for L.
        align_corners: Whether the centres of corner pixels stay in place when maps are resized.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: If there are fewer blocks.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        channels: int = 64,
        ppm_channels: int = 96,
        num_stem_blocks: int = 2,
        num_branch_blocks: int = 3,
        align_corners: bool = False,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if num_stem_blocks < 2:
            raise ValueError(f"num_stem_blocks must be at least 2, got {num_stem_blocks}")
        if num_branch_blocks < 2:
            raise ValueError(f"num_branch_blocks must be at least 2, got {num_branch_blocks}")
        light = num_stem_blocks == 2
        fine, middle, deep = 2 * channels, 4 * channels, 8 * channels
        narrow = channels if light else fine
        self.align_corners = align_corners
        self.stem = stem(channels, num_stem_blocks, norm)
        self.integral = nn.ModuleList(
            [
                layer(fine, middle, num_branch_blocks, stride=2, norm=norm),
                layer(middle, deep, num_branch_blocks, stride=2, norm=norm),
                nn.Sequential(
                    Residual(deep, deep, bottleneck=True, stride=2, norm=norm),
                    Residual(2 * deep, deep, bottleneck=True, norm=norm),
                ),
            ]
        )
        self.proportional = nn.ModuleList(
            [
                layer(fine, fine, num_stem_blocks, norm=norm),
                layer(fine, fine, num_stem_blocks, norm=norm),
                Residual(fine, fine, bottleneck=True, norm=norm),
            ]
        )
        self.derivative = nn.ModuleList(
            [
                Residual(fine, narrow, norm=norm),
                Residual(narrow, narrow, bottleneck=light, norm=norm),
                Residual(fine, fine, bottleneck=True, norm=norm),
            ]
        )
        self.compressions = nn.ModuleList(conv_norm(width, fine, 1, norm=norm) for width in (middle, deep))
        self.attentions = nn.ModuleList(PixelAttention(fine, channels, norm) for _ in range(2))
        self.differences = nn.ModuleList([conv_norm(middle, narrow, 3, norm=norm), conv_norm(deep, fine, 3, norm=norm)])
        self.pyramid = PyramidPooling(2 * deep, ppm_channels, middle, parallel=light, norm=norm)
        self.fusion = (LightFusion if light else Fusion)(middle, norm)
        self.feature_specs = (FeatureSpec(fine, 8), FeatureSpec(fine, 8), FeatureSpec(middle, 8))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """Detail, boundaries, and all fused, as `feature_specs` describes them."""
        # What the stem gives is not negative, so that the ReLU before the first layers changes nothing.
        integral = proportional = derivative = self.stem(image)
        details = []
        for level in range(2):
            integral = F.relu(self.integral[level](integral))
            proportional = self.proportional[level](F.relu(proportional))
            derivative = self.derivative[level](F.relu(derivative))
            proportional = self.attentions[level](proportional, self.compressions[level](integral))
            derivative = derivative + resized(self.differences[level](integral), derivative, self.align_corners)
            details.append(proportional)
        boundaries = derivative
        integral = self.pyramid(self.integral[2](integral))
        proportional = self.proportional[2](F.relu(proportional))
        derivative = self.derivative[2](F.relu(derivative))
        fused = self.fusion(proportional, resized(integral, proportional, self.align_corners), derivative)
        return details[0], boundaries, fused


class PixelAttention(nn.Module):
    """Detail, replaced by context at each pixel as far as the two agree there."""

    def __init__(self, in_channels: int, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.context = conv_norm(in_channels, channels, 1, norm=norm)
        self.detail = conv_norm(in_channels, channels, 1, norm=norm)

    def forward(
        self, detail: Float[Tensor, "batch channels height width"], context: Float[Tensor, "batch channels _ _"]
    ) -> Float[Tensor, "batch channels height width"]:
        """A mean of both, weighed at each pixel."""
        key = resized(self.context(context), detail, False)
        share = torch.sigmoid((self.detail(detail) * key).sum(1, keepdim=True))
        return share * resized(context, detail, False) + (1 - share) * detail


class Fusion(nn.Module):
    """Detail where there are boundaries and context elsewhere, convolved."""

    def __init__(self, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.last = norm_relu_conv(channels, channels, 3, norm=norm)

    def forward(
        self,
        detail: Float[Tensor, "batch channels height width"],
        context: Float[Tensor, "batch channels height width"],
        boundary: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """All three as one."""
        edge = torch.sigmoid(boundary)
        fused: Tensor = self.last(edge * detail + (1 - edge) * context)
        return fused


class LightFusion(nn.Module):
    """Detail, to which context is added off the boundaries, and the reverse, each mixed and added."""

    def __init__(self, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.detail = conv_norm(channels, channels, 1, norm=norm)
        self.context = conv_norm(channels, channels, 1, norm=norm)

    def forward(
        self,
        detail: Float[Tensor, "batch channels height width"],
        context: Float[Tensor, "batch channels height width"],
        boundary: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """All three as one."""
        edge = torch.sigmoid(boundary)
        fused: Tensor = self.detail(detail + (1 - edge) * context) + self.context(context + edge * detail)
        return fused
