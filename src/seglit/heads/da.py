"""The dual attention head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.attention import attend
from seglit.heads.head import Features, Head


class DAHead(Head):
    """Dual attention (Fu et al., CVPR 2019): over the places of a map and, beside it, over its channels.

    Training gives the logits of either attention too, as further outputs `pam` and `cam`.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of each attended map; None for a quarter of those of the feature.
        pam_channels: Channels that places are compared in; None for an eighth of `channels`.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`.
    """

    further = ("pam", "cam")

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        pam_channels: int | None = None,
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
        inner = max(self.channels // 8, 1) if pam_channels is None else pam_channels
        attentions = {"pam": PositionAttention(self.channels, inner), "cam": ChannelAttention()}
        self.branches = nn.ModuleDict(
            {
                name: nn.Sequential(
                    conv_norm_relu(self.in_channels, self.channels, 3, norm=norm),
                    attention,
                    conv_norm_relu(self.channels, self.channels, 3, norm=norm),
                )
                for name, attention in attentions.items()
            }
        )
        self.classifiers = nn.ModuleDict({name: nn.Conv2d(self.channels, self.out_channels, 1) for name in attentions})

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The sum of both attended maps."""
        maps = self.attended(features)
        return maps["pam"] + maps["cam"]

    def attended(self, features: Features) -> dict[str, Float[Tensor, "batch _ height width"]]:
        """Both attended maps by name."""
        feature = self.feature(features)
        return {name: branch(feature) for name, branch in self.branches.items()}

    def outputs(self, features: Features) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """See `Head.outputs`."""
        maps = self.attended(features)
        further = {name: self.classifiers[name](self.dropout(x)) for name, x in maps.items()}
        return {"": self.classifier(self.dropout(maps["pam"] + maps["cam"])), **further}


class PositionAttention(nn.Module):
    """A map plus a weighted mean over all its places, which begins with weight zero."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map and what is added to it."""
        return x + self.gamma * attend(self.query(x), self.key(x), self.value(x), scale=1.0)


class ChannelAttention(nn.Module):
    """A map plus a weighted mean over all its channels, the least alike the most, which begins with weight zero."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The map and what is added to it."""
        rows = x.flatten(2)
        share = (-(rows @ rows.transpose(1, 2))).softmax(dim=2)
        return x + self.gamma * (share @ rows).view_as(x)
