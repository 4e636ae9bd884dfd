"""BiSeNet."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm, conv_norm_relu
from seglit.features import FeatureSpec, feature_specs_of

STRIDES = (8, 16, 32)


class BiSeNetV1(nn.Module):
    """BiSeNet (Yu et al., ECCV 2018): any backbone for the context, and a short path beside it for detail.

    Gives three maps: 0, both fused at stride 8, for the decode head; 1 and 2, the context at strides 8 and 16. Any size
    of image works that the backbone takes.

    The context begins with an average over the image, so batch normalisation cannot train on a single one.

    Args:
        backbone: Gives the features of the context, the last three at strides 8, 16 and 32.
        spatial_channels: Of the four convolutions of the short path, at strides 2, 4, 8 and 8.
        context_channels: Of each map of the context.
        fused_channels: Of both fused.
        norm: Makes each normalisation from its number of channels, but for those of the backbone.

    Raises:
        ValueError: If there are not four channels, or the backbone's features have other strides.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        backbone: nn.Module,
        *,
        spatial_channels: Sequence[int] = (64, 64, 64, 128),
        context_channels: int = 128,
        fused_channels: int = 256,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if len(spatial_channels) != 4:
            raise ValueError(f"spatial_channels must be four numbers, got {list(spatial_channels)}")
        specs = feature_specs_of(backbone)
        if tuple(spec.stride for spec in specs[-3:]) != STRIDES:
            raise ValueError(
                f"backbone: the last features must have strides {STRIDES}, got {[spec.stride for spec in specs]}"
            )
        first, second, third, spatial = spatial_channels
        self.backbone = backbone
        self.context = ContextPath([spec.channels for spec in specs[-2:]], context_channels, norm)
        self.spatial = nn.Sequential(
            conv_norm_relu(3, first, 7, stride=2, norm=norm),
            conv_norm_relu(first, second, 3, stride=2, norm=norm),
            conv_norm_relu(second, third, 3, stride=2, norm=norm),
            conv_norm_relu(third, spatial, 1, norm=norm),
        )
        self.fusion = conv_norm_relu(spatial + context_channels, fused_channels, 1, norm=norm)
        self.attention = conv_norm_relu(fused_channels, fused_channels, 1, norm=norm)
        self.feature_specs = (
            FeatureSpec(fused_channels, 8),
            FeatureSpec(context_channels, 8),
            FeatureSpec(context_channels, 16),
        )

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """Both paths fused, and the context at strides 8 and 16, as `feature_specs` describes them."""
        fine, coarse = self.context(self.backbone(image)[-3:])
        fused = self.fusion(torch.cat([self.spatial(image), fine], dim=1))
        weight = torch.sigmoid(self.attention(F.adaptive_avg_pool2d(fused, 1)))
        return fused + fused * weight, fine, coarse


class ContextPath(nn.Module):
    """From a deep map to one four times as fine, each of the two deepest refined and added on the way.

    Args:
        in_channels: Of the two deepest maps, the deepest last.
        channels: Of the results.
        norm: Makes each normalisation from its number of channels.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.whole = conv_norm_relu(in_channels[-1], channels, 1, norm=norm)
        self.refinements = nn.ModuleList(AttentionRefinement(width, channels, norm) for width in reversed(in_channels))
        self.convs = nn.ModuleList(conv_norm_relu(channels, channels, 3, norm=norm) for _ in in_channels)

    def forward(
        self, maps: Sequence[Float[Tensor, "batch _ _ _"]]
    ) -> tuple[Float[Tensor, "batch channels _ _"], Float[Tensor, "batch channels _ _"]]:
        """The context at the size of the first of three maps, and at that of the second."""
        context: Tensor = self.whole(F.adaptive_avg_pool2d(maps[-1], 1))
        contexts = []
        for refine, conv, (deep, finer) in zip(self.refinements, self.convs, pairwise(maps[::-1]), strict=True):
            context = conv(F.interpolate(refine(deep) + context, finer.shape[-2:], mode="nearest"))
            contexts.append(context)
        coarse, fine = contexts
        return fine, coarse


class AttentionRefinement(nn.Module):
    """A convolution whose channels are weighed by what they say of the whole image."""

    def __init__(self, in_channels: int, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv = conv_norm_relu(in_channels, channels, 3, norm=norm)
        self.attention = conv_norm(channels, channels, 1, norm=norm)

    def forward(self, x: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """The convolved map, weighed."""
        x = self.conv(x)
        weighed: Tensor = x * torch.sigmoid(self.attention(F.adaptive_avg_pool2d(x, 1)))
        return weighed
