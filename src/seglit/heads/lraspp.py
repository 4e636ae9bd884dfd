"""The head of MobileNetV3's segmentor."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu, convolution
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head, resized

WINDOW = 49
STEPS = (16, 20)


class LRASPPHead(Head):
    """Lite reduced atrous spatial pyramid pooling (Howard et al., ICCV 2019).

    The deepest feature is scaled, channel by channel, by what a wide average of it says, then joined by finer ones.
    The average is over windows of 49 x 49 steps, or the whole map where that is smaller, which MMSegmentation refuses.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of all but the branches.
        branch_channels: To how many channels each finer feature is reduced before it joins.
        in_index: The finer features, one for each of `branch_channels`, finest first; then the deepest.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for all resizing.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if `in_index` and `branch_channels` do not fit.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int = 128,
        branch_channels: Sequence[int] = (32, 64),
        in_index: Sequence[int] = (0, 1, -1),
        dropout_ratio: float = 0.1,
        align_corners: bool = False,
        out_channels: int | None = None,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__(
            feature_specs,
            num_classes,
            channels=channels,
            in_index=in_index,
            dropout_ratio=dropout_ratio,
            align_corners=align_corners,
            out_channels=out_channels,
        )
        *finer, deepest = self.specs
        if len(finer) != len(branch_channels) or not finer:
            raise ValueError(
                f"in_index must name one feature more than there are branch_channels, and these at least one; "
                f"got in_index={list(self.in_index)} and branch_channels={list(branch_channels)}"
            )
        self.stride = finer[0].stride
        self.deep = conv_norm_relu(deepest.channels, channels, 1, norm=norm)
        self.gate = convolution(deepest.channels, channels, 1)
        self.mix = nn.Conv2d(channels, channels, 1)
        self.branches = nn.ModuleList(
            nn.Conv2d(spec.channels, width, 1, bias=False) for spec, width in zip(finer, branch_channels, strict=True)
        )
        self.ups = nn.ModuleList(conv_norm_relu(channels + width, channels, 1, norm=norm) for width in branch_channels)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The deepest feature, joined by the others one after the other, at the stride of the first."""
        *finer, deepest = self.chosen(features)
        window = [min(WINDOW, side) for side in deepest.shape[2:]]
        gate = self.gate(F.avg_pool2d(deepest, window, STEPS)).sigmoid()
        x: Tensor = self.mix(self.deep(deepest) * resized(gate, deepest, self.align_corners))
        for feature, branch, up in zip(reversed(finer), reversed(self.branches), reversed(self.ups), strict=True):
            x = up(torch.cat([resized(x, feature, self.align_corners), branch(feature)], dim=1))
        return x
