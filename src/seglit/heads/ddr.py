"""The head of DDRNet and PIDNet."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, norm_relu_conv
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head


class DDRHead(Head):
    """Normalisation and ReLU before and after one convolution, on features that have had neither.

    Of DDRNet (Hong et al., arXiv 2101.06085, 2021) and PIDNet (Xu et al., CVPR 2023).

    MMSegmentation's DDRHead and PIDHead hold one of these for each branch that is supervised; here each is a head of
    its own. As there, all weights, the classifier's too, begin as He's.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of the convolution; None for a quarter of those of the feature.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        in_index: int | Sequence[int] = -1,
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
        self.block = norm_relu_conv(self.in_channels, self.channels, 3, norm=norm)
        self.norm = norm(self.channels)
        nn.init.kaiming_normal_(self.classifier.weight, mode="fan_out", nonlinearity="relu")

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature after the convolution."""
        return F.relu(self.norm(self.block(self.feature(features))), inplace=True)
