"""The head of SegFormer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head, resized


class SegformerHead(Head):
    """All features at as many channels and the finest's resolution, fused pixel by pixel (Xie et al., NeurIPS 2021).

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels to which each feature comes, and of their fusion.
        in_index: See `Head`; the finest comes first.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the features too.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and if the first feature is not the finest.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int = 256,
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
        self.convs = nn.ModuleList(conv_norm_relu(spec.channels, channels, 1, norm=norm) for spec in self.specs)
        self.fusion = conv_norm_relu(len(self.specs) * channels, channels, 1, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The features, fused."""
        chosen = self.chosen(features)
        maps = [
            resized(conv(feature), chosen[0], self.align_corners)
            for conv, feature in zip(self.convs, chosen, strict=True)
        ]
        fused: Tensor = self.fusion(torch.cat(maps, dim=1))
        return fused
