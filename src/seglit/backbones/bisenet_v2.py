"""BiSeNet V2."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm, conv_norm_relu, convolution
from seglit.features import FeatureSpec
from seglit.heads.head import resized

STAGE_BLOCKS = (2, 2, 4)


class BiSeNetV2(nn.Module):
    """BiSeNet V2 (Yu et al., IJCV 2021): a wide branch for detail, a deep one for meaning, each guiding the other.

    Gives five maps: 1, both branches fused at stride 8, for the decode head; 0, 2, 3 and 4, the stages of the deep
    branch at strides 4, 8, 16 and 32, for auxiliary heads. Any image size works.

    The deep branch ends in an average over the image, so batch normalisation cannot train on a single one. As in
    MMSegmentation there are a ReLU after its depthwise convolutions and normalisation in its last block, which the
    paper does not have.

    Args:
        detail_channels: Of the wide branch, at strides 2, 4 and 8.
        semantic_channels: Of the deep branch, at strides 4, 8, 16 and 32; the first even.
        expansion: How many times more channels the deep branch's blocks have within.
        align_corners: Whether the centres of corner pixels stay in place when maps are resized.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: If numbers of channels are too many or few, or the branches end in different ones.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        detail_channels: Sequence[int] = (64, 64, 128),
        semantic_channels: Sequence[int] = (16, 32, 64, 128),
        expansion: int = 6,
        align_corners: bool = False,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if len(detail_channels) != 3:
            raise ValueError(f"detail_channels must be three numbers, got {list(detail_channels)}")
        if len(semantic_channels) != 4 or semantic_channels[0] % 2:
            raise ValueError(
                f"semantic_channels must be four numbers, the first of them even, got {list(semantic_channels)}"
            )
        if detail_channels[-1] != semantic_channels[-1]:
            raise ValueError(
                f"detail_channels and semantic_channels must end in the same number to be fused, "
                f"got {list(detail_channels)} and {list(semantic_channels)}"
            )
        fused = detail_channels[-1]
        self.detail = nn.Sequential(
            *(
                nn.Sequential(
                    conv_norm_relu(before, after, 3, stride=2, norm=norm),
                    *(conv_norm_relu(after, after, 3, norm=norm) for _ in range(repeats)),
                )
                for (before, after), repeats in zip(pairwise([3, *detail_channels]), (1, 2, 2), strict=True)
            )
        )
        self.stem = Stem(semantic_channels[0], norm)
        self.stages = nn.ModuleList(
            nn.Sequential(
                GatherExpand(before, after, expansion, halve=True, norm=norm),
                *(GatherExpand(after, after, expansion, halve=False, norm=norm) for _ in range(blocks - 1)),
            )
            for (before, after), blocks in zip(pairwise(semantic_channels), STAGE_BLOCKS, strict=True)
        )
        self.context = ContextEmbedding(semantic_channels[-1], norm)
        self.fusion = GuidedFusion(fused, align_corners=align_corners, norm=norm)
        first, *deeper = [FeatureSpec(width, 4 * 2**stage) for stage, width in enumerate(semantic_channels)]
        self.feature_specs = (first, FeatureSpec(fused, 8), *deeper)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The deep branch's stages with the fused map in the second place, as `feature_specs` describes them."""
        x = first = self.stem(image)
        deeper = []
        for stage in self.stages:
            x = stage(x)
            deeper.append(x)
        return first, self.fusion(self.detail(image), self.context(x)), *deeper


class Stem(nn.Module):
    """To stride 4 by a convolution and by pooling, side by side."""

    def __init__(self, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.first = conv_norm_relu(3, channels, 3, stride=2, norm=norm)
        self.convs = nn.Sequential(
            conv_norm_relu(channels, channels // 2, 1, norm=norm),
            conv_norm_relu(channels // 2, channels, 3, stride=2, norm=norm),
        )
        self.last = conv_norm_relu(2 * channels, channels, 3, norm=norm)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch _ _ _"]:
        """The map at stride 4."""
        x = self.first(image)
        pooled = F.max_pool2d(x, 3, stride=2, padding=1)
        stemmed: Tensor = self.last(torch.cat([self.convs(x), pooled], dim=1))
        return stemmed


class GatherExpand(nn.Module):
    """A convolution, many channels that are each convolved by themselves, and fewer again, beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, expansion: int, *, halve: bool, norm: NormFactory) -> None:
        super().__init__()
        wide = in_channels * expansion
        if halve:
            expand = [
                conv_norm(in_channels, wide, 3, stride=2, groups=in_channels, norm=norm),
                conv_norm_relu(wide, wide, 3, groups=wide, norm=norm),
            ]
        else:
            expand = [conv_norm_relu(in_channels, wide, 3, groups=in_channels, norm=norm)]
        self.gather = conv_norm_relu(in_channels, in_channels, 3, norm=norm)
        self.expand = nn.Sequential(*expand)
        self.project = conv_norm(wide, channels, 1, norm=norm)
        self.shortcut = (
            nn.Sequential(
                conv_norm(in_channels, in_channels, 3, stride=2, groups=in_channels, norm=norm),
                conv_norm(in_channels, channels, 1, norm=norm),
            )
            if halve
            else nn.Identity()
        )

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """`x` at the same or half the size."""
        return F.relu(self.project(self.expand(self.gather(x))) + self.shortcut(x), inplace=True)


class ContextEmbedding(nn.Module):
    """A map to each pixel of which the average of all is added."""

    def __init__(self, channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.whole = conv_norm_relu(channels, channels, 1, norm=norm)
        self.last = conv_norm_relu(channels, channels, 3, norm=norm)

    def forward(self, x: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """The map in the light of the whole."""
        embedded: Tensor = self.last(x + self.whole(self.norm(F.adaptive_avg_pool2d(x, 1))))
        return embedded


class GuidedFusion(nn.Module):
    """Each branch weighed by the other, at the resolution of each, and added."""

    def __init__(self, channels: int, *, align_corners: bool, norm: NormFactory) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.detail = self._separable(channels, norm)
        self.detail_down = conv_norm(channels, channels, 3, stride=2, norm=norm)
        self.semantic = self._separable(channels, norm)
        self.semantic_up = conv_norm(channels, channels, 3, norm=norm)
        self.last = conv_norm_relu(channels, channels, 3, norm=norm)

    @staticmethod
    def _separable(channels: int, norm: NormFactory) -> nn.Sequential:
        """Without anything after the pointwise convolution, which therefore has a bias."""
        pointwise = convolution(channels, channels, 1, bias=True)
        return nn.Sequential(conv_norm(channels, channels, 3, groups=channels, norm=norm), pointwise)

    def forward(
        self, detail: Float[Tensor, "batch channels height width"], semantic: Float[Tensor, "batch channels _ _"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Both, at the resolution of `detail`."""
        fine = self.detail(detail) * torch.sigmoid(resized(self.semantic_up(semantic), detail, self.align_corners))
        pooled = F.avg_pool2d(self.detail_down(detail), 3, stride=2, padding=1)
        coarse = pooled * torch.sigmoid(self.semantic(semantic))
        fused: Tensor = self.last(fine + resized(coarse, fine, self.align_corners))
        return fused
