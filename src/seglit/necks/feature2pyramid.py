"""A pyramid from the maps of a plain vision transformer, by transposed convolutions."""

from collections import OrderedDict
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from seglit.blocks import NormFactory
from seglit.features import FeatureSpec
from seglit.heads.head import Features
from seglit.necks.multi_level import rescaled_specs

RESCALES = ((4, 2, 1, 0.5), (2, 1, 0.5, 0.25))


class Feature2Pyramid(nn.Module):
    """The neck of BEiT and MAE (Bao et al., ICLR 2022): four equal maps become a pyramid of their own channels.

    Args:
        feature_specs: What the backbone gives, four maps.
        rescales: By how much each is enlarged: (4, 2, 1, 0.5), or (2, 1, 0.5, 0.25).
        norm: Makes the normalisation within the enlargement by 4 from its number of channels.

    Raises:
        ValueError: On other scales, or if they do not fit the features.
    """

    feature_specs: tuple[FeatureSpec, ...]

    def __init__(
        self,
        feature_specs: Sequence[FeatureSpec],
        *,
        rescales: Sequence[float] = (4, 2, 1, 0.5),
        norm: NormFactory = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if tuple(rescales) not in RESCALES or len(feature_specs) != len(rescales):
            raise ValueError(f"rescales must be {' or '.join(map(str, RESCALES))} of four features, got {rescales}")
        self.feature_specs = rescaled_specs("rescales", feature_specs, rescales)
        self.levels = nn.ModuleList(
            level(spec.channels, scale, norm) for spec, scale in zip(feature_specs, rescales, strict=True)
        )

    def forward(self, features: Features) -> tuple[Float[Tensor, "batch _ _ _"], ...]:
        """The pyramid, highest resolution first, as `feature_specs` describes it."""
        return tuple(part(feature) for part, feature in zip(self.levels, features, strict=True))


def level(channels: int, scale: float, norm: NormFactory) -> nn.Module:
    """What enlarges a map by 4, 2 or 1, or shrinks it by taking the greatest of its neighbours."""
    if scale < 1:
        return nn.MaxPool2d(round(1 / scale))
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if scale == 4:
        parts["first"] = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        parts["norm"] = norm(channels)
        parts["gelu"] = nn.GELU()
    if scale > 1:
        parts["last"] = nn.ConvTranspose2d(channels, channels, 2, stride=2)
    return nn.Sequential(parts)
