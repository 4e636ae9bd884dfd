"""The head of semantic FPN."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head, resized


class FPNHead(Head):
    """Each feature climbs to the finest's resolution, a convolution before each doubling, and all are added.

    The semantic branch of panoptic feature pyramids (Kirillov et al., CVPR 2019), on the features of an `FPN`.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each convolution.
        in_index: See `Head`; the finest comes first, and the others' strides are its times powers of 2.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the features too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, if the first feature is not the finest, and if strides are no such powers.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int = 128,
        in_index: int | Sequence[int] = (0, 1, 2, 3),
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
        self.finest_first()
        ratios = [spec.stride // self.stride for spec in self.specs]
        if any(
            ratio * self.stride != spec.stride or ratio.bit_count() != 1
            for ratio, spec in zip(ratios, self.specs, strict=True)
        ):
            raise ValueError(
                f"in_index must choose strides that are powers of 2 times the first's, got "
                f"{[spec.stride for spec in self.specs]}"
            )
        self.doublings = [ratio.bit_length() - 1 for ratio in ratios]
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(
                    conv_norm_relu(channels if index else spec.channels, channels, 3, norm=norm)
                    for index in range(max(1, doublings))
                )
            )
            for spec, doublings in zip(self.specs, self.doublings, strict=True)
        )

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The sum of the features at the finest's resolution."""
        maps: list[Tensor] = []
        for feature, branch, doublings in zip(self.chosen(features), self.branches, self.doublings, strict=True):
            for conv in branch.children():
                feature = conv(feature)
                if doublings:
                    feature = F.interpolate(
                        feature, scale_factor=2.0, mode="bilinear", align_corners=self.align_corners
                    )
            maps.append(feature)
        total = maps[0]
        for other in maps[1:]:
            total = total + resized(other, total, self.align_corners)
        return total
