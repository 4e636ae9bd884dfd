"""HRNet, which keeps a map at high resolution from beginning to end."""

from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.resnet import BasicBlock, Bottleneck, make_stage
from seglit.blocks import NormFactory, conv_norm, conv_norm_relu
from seglit.features import FeatureSpec

STEM_CHANNELS = 64


class HRNet(nn.Module):
    """High-resolution net (Wang et al., TPAMI 2021): maps at strides 4, 8, 16 and 32 side by side, often exchanged.

    Gives the four maps; heads usually read all of them, resized to stride 4. HRNet-W18, -W18-small and -W48 of
    MMSegmentation are `width=18`, `width=18, num_modules=(1, 3, 2), num_blocks=2`, and `width=48`.

    Any image size works: a map at stride s has ceil(n / s) steps where the image has n pixels.

    Args:
        width: Channels at stride 4; each further map has twice as many.
        num_modules: For each of the stages of two, three and four maps, how often all its maps are exchanged.
        num_blocks: Number of residual blocks before each exchange, and before the first map of them all.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: If a number is less than 1, or if there are not three of `num_modules`.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        width: int = 18,
        num_modules: Sequence[int] = (1, 4, 3),
        num_blocks: int = 4,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        for name, number in {"width": width, "num_blocks": num_blocks}.items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if len(num_modules) != 3 or min(num_modules) < 1:
            raise ValueError(f"num_modules must be three positive numbers, got {list(num_modules)}")
        widths = [width * 2**index for index in range(4)]
        self.stem = nn.Sequential(
            conv_norm_relu(3, STEM_CHANNELS, 3, stride=2, norm=norm),
            conv_norm_relu(STEM_CHANNELS, STEM_CHANNELS, 3, stride=2, norm=norm),
        )
        self.layer1 = make_stage(
            Bottleneck,
            STEM_CHANNELS,
            STEM_CHANNELS,
            stride=1,
            dilations=num_blocks * (1,),
            pool_shortcut=False,
            norm=norm,
        )
        channels = STEM_CHANNELS * Bottleneck.expansion
        self.narrow = conv_norm_relu(channels, width, 3, norm=norm)
        # The second map comes of what the first comes of, each further map of the deepest.
        sources = [channels, *widths[1:3]]
        self.deepen = nn.ModuleList(
            conv_norm_relu(source, after, 3, stride=2, norm=norm)
            for source, after in zip(sources, widths[1:], strict=True)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(Exchange(widths[: index + 2], num_blocks, norm) for _ in range(count)))
            for index, count in enumerate(num_modules)
        )
        self.feature_specs = tuple(FeatureSpec(after, 4 * 2**index) for index, after in enumerate(widths))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The four maps, highest resolution first, as `feature_specs` describes them."""
        source = self.layer1(self.stem(image))
        maps = [self.narrow(source)]
        for deepen, stage in zip(self.deepen, self.stages, strict=True):
            maps = stage([*maps, deepen(source)])
            source = maps[-1]
        return tuple(maps)


class Exchange(nn.Module):
    """Each map convolved by itself, then each the sum of all."""

    def __init__(self, widths: Sequence[int], num_blocks: int, norm: NormFactory) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            make_stage(BasicBlock, width, width, stride=1, dilations=num_blocks * (1,), pool_shortcut=False, norm=norm)
            for width in widths
        )
        self.fusions = nn.ModuleList(Fusion(widths, to, norm) for to in range(len(widths)))

    def forward(self, maps: list[Float[Tensor, "batch _ _ _"]]) -> list[Float[Tensor, "batch _ _ _"]]:
        """As many maps as came, of the same sizes."""
        convolved = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [fusion(convolved) for fusion in self.fusions]


class Fusion(nn.Module):
    """The sum of all maps at the channels and the resolution of one of them."""

    def __init__(self, widths: Sequence[int], to: int, norm: NormFactory) -> None:
        super().__init__()
        self.target = to
        self.paths = nn.ModuleList(path(widths, source, to, norm) for source in range(len(widths)))

    def forward(self, maps: list[Float[Tensor, "batch _ _ _"]]) -> Float[Tensor, "batch _ _ _"]:
        """The sum, after ReLU."""
        like = maps[self.target]
        terms = [
            enlarged(path(x), 2 ** max(source - self.target, 0), like)
            for source, (path, x) in enumerate(zip(self.paths, maps, strict=True))
        ]
        return F.relu(reduce(torch.add, terms))


def path(widths: Sequence[int], source: int, to: int, norm: NormFactory) -> nn.Module:
    """What brings a map to the channels of another, and to its resolution where that is lower."""
    if source == to:
        return nn.Identity()
    if source > to:
        return conv_norm(widths[source], widths[to], 1, norm=norm)
    same = widths[source]
    halvings = [conv_norm_relu(same, same, 3, stride=2, norm=norm) for _ in range(to - source - 1)]
    return nn.Sequential(*halvings, conv_norm(same, widths[to], 3, stride=2, norm=norm))


def enlarged(
    x: Float[Tensor, "batch channels _ _"], factor: int, like: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch channels height width"]:
    """A map so many times as large, by bilinear interpolation, then at exactly the size of another.

    In two steps as in MMSegmentation, which tells only where sides are odd.
    """
    if factor > 1:
        x = F.interpolate(x, scale_factor=float(factor), mode="bilinear", align_corners=False)
    return x if x.shape == like.shape else F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
