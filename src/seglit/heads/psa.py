"""The point-wise spatial attention head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import Features, Head

TYPES = {"collect": ("collect",), "distribute": ("distribute",), "bi-direction": ("collect", "distribute")}


class PSAHead(Head):
    """Point-wise spatial attention (Zhao et al., ECCV 2018): each pixel predicts the weight of each place around it.

    In `collect` a pixel weighs what it takes from the others, in `distribute` what it gives them. The original's
    mask is compiled code for the CPU and CUDA; here it is one gather, for any device. Its `compact` masks, which fit
    one image size only, are left out.

    Args:
        feature_specs: See `Head`, as for the other arguments not listed here.
        num_classes: See `Head`.
        channels: Channels of the attended map; None for a quarter of those of the feature.
        mask_size: Height and width of the region that a pixel predicts weights for, centred on it; places outside
            have weight zero before the softmax.
        psa_type: `collect`, `distribute`, or `bi-direction` for both.
        shrink_factor: By how much the map is shrunk for attention, at least 1.
        normalization_factor: What attended values are divided by; None for the number of places of the mask.
        psa_softmax: Whether a softmax over the places makes the weights.
        in_index: See `Head`.
        dropout_ratio: See `Head`.
        align_corners: See `Head`; of the attended map only without shrinking, else corners are aligned where both
            sides leave a rest, as in the original.
        out_channels: See `Head`.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: As in `Head`, and on a value not named above.
    """

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        num_classes: int,
        *,
        channels: int | None = None,
        mask_size: Sequence[int] = (97, 97),
        psa_type: str = "bi-direction",
        shrink_factor: int = 2,
        normalization_factor: float | None = 1.0,
        psa_softmax: bool = True,
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
        if psa_type not in TYPES:
            raise ValueError(f"psa_type must be one of {list(TYPES)}, got {psa_type!r}")
        if len(mask_size) != 2 or min(mask_size) < 1:
            raise ValueError(f"mask_size must be two positive numbers, got {list(mask_size)}")
        if shrink_factor < 1:
            raise ValueError(f"shrink_factor must be at least 1, got {shrink_factor}")
        if normalization_factor is not None and normalization_factor <= 0:
            raise ValueError(f"normalization_factor must be positive, got {normalization_factor}")
        self.shrink_factor = shrink_factor
        places = mask_size[0] * mask_size[1]
        divisor = places if normalization_factor is None else normalization_factor
        self.branches = nn.ModuleList(
            PointwiseAttention(
                self.in_channels,
                self.channels,
                (mask_size[0], mask_size[1]),
                distribute=kind == "distribute",
                softmax=psa_softmax,
                divisor=divisor,
                norm=norm,
            )
            for kind in TYPES[psa_type]
        )
        self.projection = conv_norm_relu(len(self.branches) * self.channels, self.in_channels, 1, norm=norm)
        self.bottleneck = conv_norm_relu(2 * self.in_channels, self.channels, 3, norm=norm)

    def embed(self, features: Features) -> Float[Tensor, "batch _ height width"]:
        """The feature beside its attended self, fused by a convolution."""
        feature = self.feature(features)
        size, align_corners = self.shrunk(feature.shape[2], feature.shape[3])
        attended = torch.cat([branch(feature, size, align_corners) for branch in self.branches], dim=1)
        # The original pads this convolution of 1 x 1, so its norm sees a border of zeros.
        attended = self.projection(F.pad(attended, (1, 1, 1, 1)))
        attended = F.interpolate(attended, feature.shape[2:], mode="bilinear", align_corners=align_corners)
        fused: Tensor = self.bottleneck(torch.cat([feature, attended], dim=1))
        return fused

    def shrunk(self, height: int, width: int) -> tuple[tuple[int, int], bool]:
        """The size for attention, and whether corners are aligned on the way there and back."""
        factor = self.shrink_factor
        if factor == 1:
            return (height, width), self.align_corners
        if height % factor and width % factor:
            return ((height - 1) // factor + 1, (width - 1) // factor + 1), True
        return (max(height // factor, 1), max(width // factor, 1)), False


class PointwiseAttention(nn.Module):
    """A reduced and shrunk map, each place of which became a weighted sum over all places."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        mask_size: tuple[int, int],
        *,
        distribute: bool,
        softmax: bool,
        divisor: float,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.reduction = conv_norm_relu(in_channels, channels, 1, norm=norm)
        self.weighing = nn.Sequential(
            conv_norm_relu(channels, channels, 1, norm=norm),
            nn.Conv2d(channels, mask_size[0] * mask_size[1], 1, bias=False),
        )
        self.mask_size = mask_size
        self.distribute = distribute
        self.softmax = softmax
        self.divisor = divisor

    def forward(
        self, feature: Float[Tensor, "batch _ _ _"], size: tuple[int, int], align_corners: bool
    ) -> Float[Tensor, "batch _ height width"]:
        """The sums at the given size."""
        x = self.reduction(feature)
        if x.shape[2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
        weights = spread(self.weighing(x), self.mask_size)
        if self.distribute:
            weights = weights.transpose(1, 2)
        if self.softmax:
            weights = weights.softmax(dim=1)
        sums: Tensor = x.flatten(2) @ weights / self.divisor
        return sums.view_as(x)


def spread(
    masks: Float[Tensor, "batch places height width"], mask_size: tuple[int, int]
) -> Float[Tensor, "batch pixels pixels"]:
    """Each pixel's mask, centred on it and laid on the map: `[:, j, i]` is what pixel i says of pixel j.

    What sticks out is cut off, and zero is where the mask does not reach.
    """
    height, width = masks.shape[2:]
    rows, row_inside = offsets(height, mask_size[0], masks.device)
    columns, column_inside = offsets(width, mask_size[1], masks.device)
    places = rows[:, None, :, None] * mask_size[1] + columns[None, :, None, :]
    inside = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    pixels = height * width
    index = places.reshape(1, pixels, pixels).expand(len(masks), -1, -1)
    return torch.where(inside.reshape(pixels, pixels), masks.flatten(2).gather(1, index), 0.0)


def offsets(length: int, mask: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Along one axis: the place in the mask of i that j falls on, as `[j, i]`, and whether there is one."""
    steps = torch.arange(length, device=device)
    place = steps[:, None] - steps[None, :] + (mask - 1) // 2
    return place.clamp(0, mask - 1), (place >= 0) & (place < mask)
