"""What every head has: a feature to read, dropout and a linear classifier."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from seglit.features import FeatureSpec, feature_at


class Head(nn.Module, ABC):
    """From features to logits. A subclass makes its layers and fills in `embed`.

    The classifier begins, as MMSegmentation's, with weights from N(0, 0.01^2) and no bias.

    Attributes:
        num_classes: Number of classes.
        out_channels: Channels of the logits: `num_classes`, or 1 where a sigmoid tells class 1 from class 0.
        align_corners: How the logits are to be resized to the image, by whoever does so.
        stride: Image pixels per step of the logits.
        in_channels: Channels of the feature that the head reads.
        channels: Channels of what `embed` returns.

    Args:
        feature_specs: What the backbone gives, highest resolution first.
        num_classes: Number of classes, at least 2.
        channels: Channels of what `embed` returns; None for a quarter of those of the feature.
        in_index: Which feature to read: 0 is the highest resolution, -1 the deepest.
        dropout_ratio: Probability with which training zeroes a whole channel before the classifier.
        align_corners: Whether the centres of corner pixels stay in place when maps are resized.
        out_channels: None for one per class, or 1 for a binary head.

    Raises:
        ValueError: If `in_index` names no feature, or if classes and channels of the logits do not fit.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None,
        in_index: int,
        dropout_ratio: float,
        align_corners: bool,
        out_channels: int | None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(
                f"num_classes counts the background too and must be at least 2, got {num_classes}; "
                f"for one foreground class take num_classes=2, with out_channels=1 for a sigmoid"
            )
        if out_channels not in (None, num_classes) and (out_channels, num_classes) != (1, 2):
            raise ValueError(
                f"out_channels must be num_classes, or 1 where num_classes is 2; "
                f"got out_channels={out_channels} with num_classes={num_classes}"
            )
        feature = feature_at(feature_specs, in_index)
        self.num_classes = num_classes
        self.out_channels = num_classes if out_channels is None else out_channels
        self.align_corners = align_corners
        self.stride = feature.stride
        self.in_channels = feature.channels
        self.channels = max(feature.channels // 4, 1) if channels is None else channels
        self._in_index = in_index
        self.dropout = nn.Dropout2d(dropout_ratio)
        self.classifier = nn.Conv2d(self.channels, self.out_channels, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.get_parameter("bias"))

    @abstractmethod
    def embed(self, feature: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """What the classifier sees of the chosen feature."""

    def forward(self, features: Sequence[Float[Tensor, "batch _ _ _"]]) -> Float[Tensor, "batch _ _ _"]:
        """Logits at the stride of the chosen feature."""
        logits: Tensor = self.classifier(self.dropout(self.embed(features[self._in_index])))
        return logits
