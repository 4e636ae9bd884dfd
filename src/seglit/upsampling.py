"""Bilinear resizing of some rows at a time, and its transpose."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

BLOCK = 128
"""Columns of a result that are made by one product of matrices, where there is no better way."""


@dataclass(frozen=True)
class Axis:
    """Where the samples of one side of a resized map come from: two neighbours each, as in `F.interpolate`.

    Attributes:
        length_in: samples of the source.
        length_out: samples of the result.
        align_corners: whether the outermost samples keep their places, as in `F.interpolate`.
    """

    length_in: int
    length_out: int
    align_corners: bool

    @property
    def is_same(self) -> bool:
        """Whether the result is the source."""
        return self.length_in == self.length_out

    def places(self, start: int, stop: int) -> tuple[Int64[Tensor, " _"], Float[Tensor, " _"]]:
        """The lower neighbour of each sample from `start` to `stop`, and how far it is on the way to the upper one."""
        samples = torch.arange(start, stop, dtype=torch.float64)
        if self.align_corners:
            places = samples * ((self.length_in - 1) / max(self.length_out - 1, 1))
        else:
            places = ((samples + 0.5) * (self.length_in / self.length_out) - 0.5).clamp(min=0)
        lower = places.long().clamp(max=self.length_in - 1)
        return lower, places - lower

    def neighbours(self, device: torch.device) -> tuple[Int64[Tensor, " samples"], Float[Tensor, " samples"]]:
        """The same of every sample, on a device."""
        return _places(self, device)

    def sources(self, start: int, stop: int) -> tuple[int, int]:
        """The first and the end of the samples of the source that those from `start` to `stop` come from."""
        return _sources(self, start, stop)

    def matrix(
        self, start: int, stop: int, dtype: torch.dtype, device: torch.device
    ) -> Float[Tensor, "samples sources"]:
        """What makes the samples from `start` to `stop` out of their `sources`."""
        return _matrix(self, start, stop, dtype, device)


@lru_cache(maxsize=64)
def _places(axis: Axis, device: torch.device) -> tuple[Tensor, Tensor]:
    lower, fraction = axis.places(0, axis.length_out)
    return lower.to(device), fraction.to(device)


@lru_cache(maxsize=1024)
def _sources(axis: Axis, start: int, stop: int) -> tuple[int, int]:
    lower, _ = axis.places(start, stop)
    return int(lower[0]), min(int(lower[-1]) + 2, axis.length_in)


@lru_cache(maxsize=1024)
def _matrix(axis: Axis, start: int, stop: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    lower, fraction = axis.places(start, stop)
    first, end = axis.sources(start, stop)
    rows = torch.arange(stop - start)
    matrix = torch.zeros(stop - start, end - first, dtype=torch.float64)
    matrix[rows, lower - first] += 1 - fraction
    # Where there is no upper neighbour, the lower one is all there is.
    matrix[rows, (lower + 1).clamp(max=axis.length_in - 1) - first] += fraction
    return matrix.to(dtype).to(device)


class Upsampling:
    """Bilinear resizing of maps of one size to another, some rows of the result at a time.

    The pixels of the rows come in an order of their own, in which they are quick to make; `arranged` puts others, such
    as labels, in the same.

    Args:
        size_in: height and width of the source.
        size_out: of the result.
        align_corners: as in `F.interpolate`, whose results these are.
    """

    def __init__(self, size_in: tuple[int, int], size_out: tuple[int, int], align_corners: bool) -> None:
        self.rows = Axis(size_in[0], size_out[0], align_corners)
        columns = self.column_axis = Axis(size_in[1], size_out[1], align_corners)
        self.width = size_out[1]
        whole = columns.length_out % columns.length_in == 0
        self.columns: SameColumns | PhaseColumns | MatrixColumns
        if columns.is_same:
            self.columns = SameColumns()
        elif whole and not align_corners:
            self.columns = PhaseColumns(columns.length_out // columns.length_in)
        else:
            self.columns = MatrixColumns(columns)

    def bands(self, height: int) -> Iterator[tuple[int, int]]:
        """Start and stop of bands of at most `height` rows of the result."""
        for start in range(0, self.rows.length_out, height):
            yield start, min(start + height, self.rows.length_out)

    def values(
        self, source: Float[Tensor, "channels _ _"], start: int, stop: int, dtype: torch.dtype
    ) -> Float[Tensor, "channels _ _"]:
        """The rows of the result from `start` to `stop`, arranged; not to be written into, as it may be the source."""
        if self.rows.is_same:
            return self.columns.spread(source[:, start:stop].to(dtype))
        first, end = self.rows.sources(start, stop)
        matrix = self.rows.matrix(start, stop, dtype, source.device)
        return self.columns.spread(torch.matmul(matrix, source[:, first:end].to(dtype)))

    def transposed(
        self, gradient: Float[Tensor, "channels _ _"], start: int, stop: int
    ) -> tuple[int, Float[Tensor, "channels _ _"]]:
        """The gradient of the source that belongs to one of arranged rows: its first row, and from there on."""
        folded = self.columns.folded(gradient)
        if self.rows.is_same:
            return start, folded
        first, _ = self.rows.sources(start, stop)
        matrix = self.rows.matrix(start, stop, gradient.dtype, gradient.device)
        return first, torch.matmul(matrix.T, folded)

    def arranged(self, rows: Shaped[Tensor, "rows columns"]) -> Shaped[Tensor, "_ _"]:
        """Whole rows at the size of the result, their pixels in the order of `values`."""
        return self.columns.arranged(rows)


class InOrder:
    """Columns that are made from left to right: the pixels of rows are in the order that they have."""

    parts = 1

    def arranged(self, rows: Shaped[Tensor, "rows columns"]) -> Shaped[Tensor, "rows columns"]:
        """Rows in the order of `spread`."""
        return rows


class SameColumns(InOrder):
    """No resizing from left to right."""

    def spread(self, rows: Tensor) -> Tensor:
        """The rows resized; this is what they are."""
        return rows

    def folded(self, gradient: Tensor) -> Tensor:
        """The transpose of `spread`."""
        return gradient


class PhaseColumns:
    """Resizing by a whole number: pixels at equal places between their neighbours, a phase, are made together.

    Then all is arithmetic on neighbouring runs of memory. The order is phase, row, place.

    Args:
        scale: pixels for each one of the source.
    """

    def __init__(self, scale: int) -> None:
        self.scale = scale
        self.parts = scale

    def spread(self, rows: Float[Tensor, "channels rows columns"]) -> Float[Tensor, "channels _ columns"]:
        """The rows resized."""
        channels, _, width = rows.shape
        padded = torch.cat([rows[..., :1], rows, rows[..., -1:]], dim=-1)
        neighbours = padded.unfold(-1, width, 1).permute(0, 2, 1, 3).reshape(channels, 3, -1)
        return torch.matmul(_phases(self.scale, rows.dtype, rows.device), neighbours).view(channels, -1, width)

    def folded(self, gradient: Float[Tensor, "channels _ columns"]) -> Float[Tensor, "channels rows columns"]:
        """The transpose of `spread`."""
        channels, _, width = gradient.shape
        phases = gradient.reshape(channels, self.scale, -1)
        shares = torch.matmul(_phases(self.scale, gradient.dtype, gradient.device).T, phases)
        lower, own, upper = shares.view(channels, 3, -1, width).unbind(1)
        own[..., :-1] += lower[..., 1:]
        own[..., 0] += lower[..., 0]
        own[..., 1:] += upper[..., :-1]
        own[..., -1] += upper[..., -1]
        return own

    def arranged(self, rows: Shaped[Tensor, "rows columns"]) -> Shaped[Tensor, "_ _"]:
        """Rows in the order of `spread`."""
        height, _ = rows.shape
        return rows.reshape(height, -1, self.scale).permute(2, 0, 1).flatten(0, 1)


@lru_cache(maxsize=64)
def _phases(scale: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "scale 3"]:
    """What each phase takes of the pixel before, of its own and of the one after."""
    offsets = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    return torch.stack([(-offsets).clamp(min=0), 1 - offsets.abs(), offsets.clamp(min=0)], dim=1).to(dtype).to(device)


class MatrixColumns(InOrder):
    """Resizing to any width: blocks of columns by products with small matrices.

    Args:
        axis: from left to right.
    """

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        starts = range(0, axis.length_out, BLOCK)
        self.blocks = [(start, min(start + BLOCK, axis.length_out)) for start in starts]

    def spread(self, rows: Float[Tensor, "channels rows _"]) -> Float[Tensor, "channels rows _"]:
        """The rows resized."""
        flat = rows.flatten(0, 1)
        result = rows.new_empty(len(flat), self.axis.length_out)
        for start, stop in self.blocks:
            first, end = self.axis.sources(start, stop)
            matrix = self.axis.matrix(start, stop, rows.dtype, rows.device)
            torch.mm(flat[:, first:end], matrix.T, out=result[:, start:stop])
        return result.view(*rows.shape[:2], -1)

    def folded(self, gradient: Float[Tensor, "channels rows _"]) -> Float[Tensor, "channels rows _"]:
        """The transpose of `spread`."""
        flat = gradient.flatten(0, 1)
        result = gradient.new_zeros(len(flat), self.axis.length_in)
        for start, stop in self.blocks:
            first, end = self.axis.sources(start, stop)
            matrix = self.axis.matrix(start, stop, gradient.dtype, gradient.device)
            result[:, first:end].addmm_(flat[:, start:stop], matrix)
        return result.view(*gradient.shape[:2], -1)
