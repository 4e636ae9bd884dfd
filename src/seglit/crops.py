"""Images that are read a crop at a time, as they come, resized or mirrored, and never made whole as floats."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from seglit.data.normalise import normalise
from seglit.upsampling import Axis

Span = tuple[int, int]
"""First and one past the last row or column."""


class Crops(ABC):
    """A batch of images of one size.

    Args:
        batch: how many they are.
        size: their height and width.
        device: where the crops are.
    """

    def __init__(self, batch: int, size: tuple[int, int], device: torch.device) -> None:
        self.batch = batch
        self.size = size
        self.device = device

    @abstractmethod
    def crop(self, rows: Span, columns: Span) -> Float[Tensor, "batch 3 _ _"]:
        """These rows and columns of all images, normalised."""


class TensorCrops(Crops):
    """Crops of a tensor of normalised images.

    Args:
        image: the tensor.
    """

    def __init__(self, image: Float[Tensor, "batch 3 height width"]) -> None:
        super().__init__(image.shape[0], (image.shape[2], image.shape[3]), image.device)
        self.image = image

    def crop(self, rows: Span, columns: Span) -> Float[Tensor, "batch 3 _ _"]:
        """These rows and columns."""
        return self.image[:, :, slice(*rows), slice(*columns)]


class PixelCrops(Crops):
    """Crops of one stored image, of which no more than the crop becomes floats.

    Args:
        pixels: red, green, blue; may be a memory-mapped file.
        mean: of `seglit.data.normalise.normalise`.
        std: of `seglit.data.normalise.normalise`.
        device: where the crops go.
    """

    def __init__(
        self,
        pixels: UInt8[np.ndarray, "height width 3"],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
    ) -> None:
        super().__init__(1, (pixels.shape[0], pixels.shape[1]), device)
        self.pixels = pixels
        self.mean = mean
        self.std = std

    def crop(self, rows: Span, columns: Span) -> Float[Tensor, "1 3 _ _"]:
        """These rows and columns, normalised."""
        # A copy, as a mapped file cannot be written to, which torch would warn about.
        part = np.array(self.pixels[slice(*rows), slice(*columns)])
        return normalise(torch.from_numpy(part).permute(2, 0, 1)[None].to(self.device), self.mean, self.std)


class ResizedCrops(Crops):
    """Crops of images as if these had been resized bilinearly, pixel centres half a pixel inside the border.

    Args:
        source: the images.
        size: their height and width after resizing.
    """

    def __init__(self, source: Crops, size: tuple[int, int]) -> None:
        super().__init__(source.batch, size, source.device)
        self.source = source
        self.height, self.width = (
            Axis(length, resized, align_corners=False) for length, resized in zip(source.size, size, strict=True)
        )

    def crop(self, rows: Span, columns: Span) -> Float[Tensor, "batch 3 _ _"]:
        """These rows and columns of the resized images."""
        part = self.source.crop(self.height.sources(*rows), self.width.sources(*columns))
        return interpolated(interpolated(part, self.height, rows, 2), self.width, columns, 3)


class MirroredCrops(Crops):
    """Crops of images as if these had been mirrored, left to right.

    Args:
        source: the images.
    """

    def __init__(self, source: Crops) -> None:
        super().__init__(source.batch, source.size, source.device)
        self.source = source

    def crop(self, rows: Span, columns: Span) -> Float[Tensor, "batch 3 _ _"]:
        """These rows and columns of the mirrored images."""
        width = self.size[1]
        return self.source.crop(rows, (width - columns[1], width - columns[0])).flip(-1)


def interpolated(
    part: Float[Tensor, "batch channels _ _"], axis: Axis, span: Span, dim: int
) -> Float[Tensor, "batch channels _ _"]:
    """The samples of `span` along one dimension, out of `part`, which holds their sources along it."""
    first, end = axis.sources(*span)
    lower, fraction = axis.places(*span)
    shape = [1] * part.ndim
    shape[dim] = len(lower)
    upper = (lower + 1).clamp(max=end - 1) - first
    weight = fraction.to(part.dtype).to(part.device).view(shape)
    below = part.index_select(dim, (lower - first).to(part.device))
    return below.lerp_(part.index_select(dim, upper.to(part.device)), weight)
