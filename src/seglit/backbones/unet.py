"""U-Net, whose decoder climbs back to the resolution of the image."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.blocks import NormFactory, conv_norm_relu, convolution
from seglit.features import FeatureSpec


class UNet(nn.Module):
    """U-Net (Ronneberger et al., MICCAI 2015) as in MMSegmentation: padded convolutions, bilinear upsampling.

    The default is MMSegmentation's `UNet-S5-D16`: five stages, hence strides 1, 2, 4, 8 and 16. Gives the
    outputs of the decoder's stages, highest resolution first, then the deepest output of the encoder.

    Any image size works. A side that is odd at some stage is pooled to half, rounded up, and the surplus row
    or column is cut off after upsampling, so that pixels stay aligned; MMSegmentation refuses such sizes.

    Args:
        base_channels: Channels at full resolution; each deeper stage doubles them.
        num_stages: Number of resolutions, at least 2.
        encoder_convs: Number of 3 x 3 convolutions in each stage of the encoder, at least 1.
        decoder_convs: Number of 3 x 3 convolutions in each stage of the decoder, at least 1.
        norm: Makes each normalisation from its number of channels.

    Raises:
        ValueError: If a number is less than is said above.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        base_channels: int = 64,
        num_stages: int = 5,
        encoder_convs: int = 2,
        decoder_convs: int = 2,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if num_stages < 2:
            raise ValueError(f"num_stages must be at least 2, or there is nothing to decode, got {num_stages}")
        for name, count in {"encoder_convs": encoder_convs, "decoder_convs": decoder_convs}.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        channels = [base_channels * 2**stage for stage in range(num_stages)]
        self.encoder = nn.ModuleList(
            conv_stack(before, after, encoder_convs, norm) for before, after in pairwise([3, *channels])
        )
        self.decoder = nn.ModuleList(
            UpBlock(deep, shallow, decoder_convs, norm) for shallow, deep in pairwise(channels)
        )
        self.feature_specs = tuple(FeatureSpec(width, 2**stage) for stage, width in enumerate(channels))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """One map per stage, highest resolution first, as `feature_specs` describes them."""
        encoded: list[Tensor] = []
        for stage in self.encoder:
            x = F.max_pool2d(encoded[-1], 2, ceil_mode=True) if encoded else image
            encoded.append(stage(x))
        decoded = [encoded.pop()]
        for block, skip in zip(reversed(self.decoder), reversed(encoded), strict=True):
            decoded.append(block(decoded[-1], skip))
        return tuple(reversed(decoded))


class UpBlock(nn.Module):
    """Twice the resolution, beside what the encoder had there, convolved."""

    def __init__(self, deep_channels: int, channels: int, num_convs: int, norm: NormFactory) -> None:
        super().__init__()
        self.upsample = Upsample(deep_channels, channels, norm)
        self.convs = conv_stack(2 * channels, channels, num_convs, norm)

    def forward(
        self, deep: Float[Tensor, "batch _ _ _"], skip: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The decoder's map at the resolution of `skip`, which is the encoder's."""
        convolved: Tensor = self.convs(torch.cat([skip, self.upsample(deep, skip.shape[-2:])], dim=1))
        return convolved


class Upsample(nn.Module):
    """Twice the resolution by bilinear interpolation, other channels by a 1 x 1 convolution.

    The convolution comes first, on a quarter of the pixels; MMSegmentation's comes after. Both are linear and
    act on different axes, so they commute, and the result differs by rounding alone.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: NormFactory) -> None:
        super().__init__()
        self.conv = convolution(in_channels, out_channels, 1)
        self.norm = norm(out_channels)

    def forward(self, x: Float[Tensor, "batch _ _ _"], size: torch.Size) -> Float[Tensor, "batch _ _ _"]:
        """`x` at twice its height and width, cut to `size`, which may be one less."""
        height, width = size
        x = F.interpolate(self.conv(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return F.relu(self.norm(x[..., :height, :width]), inplace=True)


def conv_stack(in_channels: int, out_channels: int, count: int, norm: NormFactory) -> nn.Sequential:
    """`count` blocks of a 3 x 3 convolution in a row."""
    widths = [in_channels] + [out_channels] * count
    return nn.Sequential(*(conv_norm_relu(before, after, 3, norm=norm) for before, after in pairwise(widths)))
