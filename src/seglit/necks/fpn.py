"""The feature pyramid network."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.features import FeatureSpec
from seglit.heads.head import Features


class FPN(nn.Module):
    """Feature pyramid network (Lin et al., CVPR 2017): each map gains what the deeper ones know.

    The maps keep their strides. Deeper ones are enlarged by copying the nearest pixel, as in MMSegmentation.

    Args:
        feature_specs: What the backbone gives, highest resolution first.
        out_channels: Channels of each map.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(self, feature_specs: Sequence[FeatureSpec], *, out_channels: int = 256) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(plain_convolution(spec.channels, out_channels, 1) for spec in feature_specs)
        self.levels = nn.ModuleList(plain_convolution(out_channels, out_channels, 3) for _ in feature_specs)
        self.feature_specs = tuple(FeatureSpec(out_channels, spec.stride) for spec in feature_specs)

    def forward(self, features: Features) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The pyramid, highest resolution first, as `feature_specs` describes it."""
        maps = [conv(feature) for conv, feature in zip(self.laterals, features, strict=True)]
        for index in range(len(maps) - 1, 0, -1):
            finer = maps[index - 1]
            maps[index - 1] = finer + F.interpolate(maps[index], finer.shape[-2:], mode="nearest")
        return tuple(conv(x) for conv, x in zip(self.levels, maps, strict=True))


def plain_convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A convolution as necks begin: Xavier's uniform distribution (Glorot and Bengio, AISTATS 2010), the bias zero."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv
