"""The head of object-contextual representations."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.attention import two_convolutions
from seglit.heads.head import Features, Head, resized


class OCRHead(Head):
    """Object-contextual representations (Yuan et al., ECCV 2020): each pixel attends to the classes of the image.

    An auxiliary head called `coarse` says where each class lies; averages of the pixels, weighted by a softmax of
    its logits over all pixels, describe the classes, and attention tells each pixel of those it resembles. So a
    segmentor with this head needs that one, in evaluation too.

    The coarse head learns from its own logits and from what becomes of them here. MMSegmentation runs it twice in a
    training step, so its running statistics move twice and its dropout is drawn twice there; and it leaves the
    classifiers of a cascade with torch's own first weights.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of pixels and of descriptions; None for a quarter of those of the feature.
        attention_channels: Channels of queries, keys and values; None for half of `channels`.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; holds for the coarse logits too, where they have another size.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`.
    """

    refines: ClassVar[str | None] = "coarse"

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        attention_channels: int | None = None,
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
        width = max(self.channels // 2, 1) if attention_channels is None else attention_channels
        self.pixels = conv_norm_relu(self.in_channels, self.channels, 3, norm=norm)
        self.query = two_convolutions(self.channels, width, norm)
        self.key = two_convolutions(self.channels, width, norm)
        self.value = conv_norm_relu(self.channels, width, 1, norm=norm)
        self.context = conv_norm_relu(width, self.channels, 1, norm=norm)
        self.fusion = conv_norm_relu(2 * self.channels, self.channels, 1, norm=norm)

    # A head that refines has one argument more, which the segmentor knows to give it.
    def embed(  # type: ignore[override]
        self, features: Features, coarse: Float[Tensor, "batch _ _ _"]
    ) -> Float[Tensor, "batch _ height width"]:
        """The pixels beside what they gathered from the descriptions of the classes, fused."""
        pixels = self.pixels(self.feature(features))
        classes = described(pixels, resized(coarse, pixels, self.align_corners))
        query, key, value = self.query(pixels), self.key(classes), self.value(classes)
        scores = torch.einsum("bdhw,bdkz->bhwk", query, key) * key.shape[1] ** -0.5
        context = self.context(torch.einsum("bhwk,bdkz->bdhw", scores.softmax(dim=-1), value))
        fused: Tensor = self.fusion(torch.cat([context, pixels], dim=1))
        return fused

    def forward(  # type: ignore[override]
        self, features: Features, coarse: Float[Tensor, "batch _ _ _"]
    ) -> Float[Tensor, "batch _ _ _"]:
        """Logits at `stride`.

        Args:
            features: All that the backbone gives.
            coarse: The logits of the head called `coarse`, of any size.
        """
        logits: Tensor = self.classifier(self.dropout(self.embed(features, coarse)))
        return logits


def described(
    pixels: Float[Tensor, "batch channels height width"], logits: Float[Tensor, "batch classes height width"]
) -> Float[Tensor, "batch channels classes 1"]:
    """For each class the average of all pixels, weighted by a softmax over them; a map of one column."""
    shares = logits.flatten(2).softmax(dim=2)
    return torch.einsum("bkn,bcn->bck", shares, pixels.flatten(2)).unsqueeze(3)
