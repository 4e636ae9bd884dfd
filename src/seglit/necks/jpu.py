"""Joint pyramid upsampling."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm, conv_norm_relu
from seglit.features import FeatureSpec, feature_at
from seglit.heads.head import Features, resized


class JPU(nn.Module):
    """Joint pyramid upsampling (Wu et al., FastFCN, arXiv 1903.11816, 2019).

    Fuses the last maps of a backbone that is not dilated into one at the stride of the finest of them, which stands
    for that of a dilated backbone. The given maps are that one, then those that it is made of but for the deepest.

    Args:
        feature_specs: What the backbone gives, highest resolution first.
        channels: Channels that each map is brought to, and of each dilation's part of the result.
        in_index: Which maps to fuse, at least two, highest resolution first.
        dilations: Each d makes a part of the result with a convolution dilated by d.
        align_corners: Whether the centres of corner pixels stay in place when maps are resized.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: If `in_index` names no such maps, or if there are no dilations or one is less than 1.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        *,
        channels: int = 512,
        in_index: Sequence[int] = (-3, -2, -1),
        dilations: Sequence[int] = (1, 2, 4, 8),
        align_corners: bool = False,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        specs = [feature_at(feature_specs, index) for index in in_index]
        strides = [spec.stride for spec in specs]
        if len(specs) < 2 or strides != sorted(strides):
            raise ValueError(f"in_index must name two or more maps, highest resolution first, got {list(in_index)}")
        if not dilations or min(dilations) < 1:
            raise ValueError(f"dilations must be one or more positive numbers, got {list(dilations)}")
        self.in_index = tuple(in_index)
        self.align_corners = align_corners
        self.laterals = nn.ModuleList(conv_norm_relu(spec.channels, channels, 3, norm=norm) for spec in specs)
        fused = len(specs) * channels
        self.branches = nn.ModuleList(
            nn.Sequential(
                conv_norm(fused, fused, 3, dilation=dilation, groups=fused, norm=norm),
                conv_norm_relu(fused, channels, 1, norm=norm),
            )
            for dilation in dilations
        )
        self.feature_specs = (FeatureSpec(len(dilations) * channels, strides[0]), *specs[:-1])

    def forward(self, features: Features) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The fused map, then those before the deepest as they are."""
        chosen = [features[index] for index in self.in_index]
        maps = [lateral(feature) for lateral, feature in zip(self.laterals, chosen, strict=True)]
        fused = torch.cat([resized(x, maps[0], self.align_corners) for x in maps], dim=1)
        return torch.cat([branch(fused) for branch in self.branches], dim=1), *chosen[:-1]
