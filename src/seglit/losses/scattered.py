"""Single pixels of an image, wherever they are: where few count, all others need not be made."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from seglit.losses.tile import Tile
from seglit.upsampling import Upsampling

CHUNK = 1 << 19
"""How many logits are made at a time."""


@dataclass(frozen=True)
class Chunk:
    """Some pixels of one image.

    Attributes:
        tile: the pixels in one row, all kept.
        corners: where in the source, row by row, each comes from.
        shares: how much of each corner it is.
    """

    tile: Tile
    corners: Int64[Tensor, "pixels 4"]
    shares: Float[Tensor, "pixels 4"]

    def add_transposed(
        self, gradient: Float[Tensor, "1 channels 1 pixels"], total: Float[Tensor, "places channels"]
    ) -> None:
        """Add the gradient of the pixels to that of the source, whose rows are its places."""
        by_pixel = gradient[0, :, 0].T
        for corner in range(4):
            total.index_add_(0, self.corners[:, corner], by_pixel * self.shares[:, corner, None])


def chunks(
    source: Float[Tensor, "places channels"],
    labels: Int64[Tensor, "height width"],
    numbers: Int64[Tensor, " pixels"],
    upsampling: Upsampling,
    height: int,
    ignore_index: int,
) -> Iterator[Chunk]:
    """The pixels of an image that have these numbers.

    Args:
        source: the logits of the image, with one row for each place.
        labels: of the image, at full size.
        numbers: places in the arranged bands of this height, one after the other; none of them void.
        upsampling: from the source to the size of the labels.
        height: of a band.
        ignore_index: the label of void pixels.
    """
    for part in torch.split(numbers, max(1, CHUNK // source.shape[1])) if len(numbers) else ():
        row, column = upsampling.places(part, height)
        corners, shares = upsampling.corners(row, column, source.dtype)
        values = F.embedding_bag(corners, source, per_sample_weights=shares, mode="sum")
        logits = values.T[None, :, None]
        own = labels[row, column][None, None]
        yield Chunk(
            Tile(logits, own, ignore_index, torch.ones_like(own, dtype=torch.bool)),
            corners,
            shares,
        )
