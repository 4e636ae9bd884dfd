"""DDRNet."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from seglit.backbones.bilateral import PyramidPooling, Residual, layer, stem
from seglit.blocks import NormFactory, conv_norm, conv_norm_relu
from seglit.features import FeatureSpec
from seglit.heads.head import resized

BLOCKS = 2


class DDRNet(nn.Module):
    """DDRNet-23 (Hong et al., arXiv 2101.06085, 2021): a fine branch and a deep one that exchange.

    Gives two maps at stride 8: 0, the fine branch after the first exchange, for the auxiliary head; 1, both branches
    added at the end, for the decode head. Any image size works; where 8 does not divide a side, MMSegmentation, which
    rounds it down, fails.

    The deep branch ends in an average over the image, so batch normalisation cannot train on a single one.

    Args:
        channels: Of the stem: 32 for DDRNet-23-slim, 64 for DDRNet-23.
        ppm_channels: Of each average of the pyramid pooling.
        align_corners: Whether the centres of corner pixels stay in place when the deep branch is resized.
        norm: Makes each normalisation from its number of channels.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        *,
        channels: int = 32,
        ppm_channels: int = 128,
        align_corners: bool = False,
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        fine, middle, deep = 2 * channels, 4 * channels, 8 * channels
        self.align_corners = align_corners
        self.stem = stem(channels, BLOCKS, norm)
        self.context = nn.ModuleList(
            [
                layer(fine, middle, BLOCKS, stride=2, norm=norm),
                layer(middle, deep, BLOCKS, stride=2, norm=norm),
                Residual(deep, deep, bottleneck=True, stride=2, norm=norm),
            ]
        )
        self.spatial = nn.ModuleList(
            [
                layer(fine, fine, BLOCKS, norm=norm),
                layer(fine, fine, BLOCKS, norm=norm),
                Residual(fine, fine, bottleneck=True, norm=norm),
            ]
        )
        self.up = nn.ModuleList(conv_norm(width, fine, 1, norm=norm) for width in (middle, deep))
        self.down = nn.ModuleList(
            [
                nn.Sequential(conv_norm(fine, middle, 3, stride=2, norm=norm)),
                nn.Sequential(
                    conv_norm_relu(fine, middle, 3, stride=2, norm=norm),
                    conv_norm(middle, deep, 3, stride=2, norm=norm),
                ),
            ]
        )
        self.pyramid = PyramidPooling(2 * deep, ppm_channels, middle, parallel=False, norm=norm)
        self.feature_specs = (FeatureSpec(fine, 8), FeatureSpec(middle, 8))

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The fine branch after the first exchange, and both branches added, as `feature_specs` describes them."""
        spatial = context = self.stem(image)
        exchanged = []
        for of_context, of_spatial, up, down in zip(
            self.context[:2], self.spatial[:2], self.up, self.down, strict=True
        ):
            # What a branch gives the other has been through a ReLU, but what it goes on from has not.
            deep, fine = of_context(F.relu(context)), of_spatial(F.relu(spatial))
            context = deep + down(F.relu(fine))
            spatial = fine + resized(up(F.relu(deep)), fine, self.align_corners)
            exchanged.append(spatial)
        spatial = self.spatial[2](F.relu(spatial))
        context = self.pyramid(self.context[2](F.relu(context)))
        return exchanged[0], spatial + resized(context, spatial, self.align_corners)
