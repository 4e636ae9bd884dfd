"""The statistics of a head's losses and their gradient without ever having all logits at full resolution."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from seglit.losses.lean import Found, Key, LeanPixels, size_of
from seglit.losses.ohem import OHEMPixelSampler, ranking
from seglit.losses.pixel_sum import PixelSumLoss, Slopes
from seglit.losses.pixels import can_look_at
from seglit.losses.ranks import Ranks
from seglit.losses.tile import Tile
from seglit.precision import full_precision
from seglit.upsampling import Upsampling
from seglit.workers import workers

Item = TypeVar("Item")
TILE = {"cpu": 1 << 19}
LARGE_TILE = 1 << 25
"""How many logits a tile has: as many as a core's cache holds, and elsewhere as many as keep a device busy."""
Place = tuple[int, int, int]
"""Image, first row and end of a tile."""


class Piece(NamedTuple):
    """What came of a visit.

    Attributes:
        image: which one.
        found: statistics.
        first: the row of the logits at which the gradient begins.
        gradient: of some rows of the logits, or None.
    """

    image: int
    found: Found
    first: int = 0
    gradient: Tensor | None = None


class TiledPixels(LeanPixels):
    """The pixels of one head at full resolution, a tile of rows at a time: by operations of PyTorch, of any loss.

    Each tile is upsampled, its statistics are kept and it is forgotten.

    A sampler with `thresh` need not know its limit beforehand on a device whose numbers can be looked at: pixels below
    `thresh` are certain, and only if they are fewer than `min_kept` others come in.

    Args:
        logits: at any stride.
        labels: at full size.
        losses: the losses of the head; `is_pixel_sum`.
        trained: the names of those that get a gradient.
        sampler: chooses the pixels that count; None for all that are valid.
        use_sigmoid: how the sampler's probabilities are made.
        ignore_index: the label of void pixels.
        align_corners: how the head upsamples.
        ranks: who shares the batch.
    """

    def __init__(
        self,
        logits: Float[Tensor, "batch channels low_height low_width"],
        labels: Int64[Tensor, "batch height width"],
        losses: Mapping[str, PixelSumLoss],
        trained: set[str],
        sampler: OHEMPixelSampler | None,
        *,
        use_sigmoid: bool,
        ignore_index: int,
        align_corners: bool,
        ranks: Ranks,
    ) -> None:
        super().__init__(logits, losses, trained)
        self.labels = labels
        self.use_sigmoid = use_sigmoid
        self.ignore_index = ignore_index
        self.upsampling = Upsampling(size_of(logits), size_of(labels), align_corners)
        budget = TILE.get(logits.device.type, LARGE_TILE)
        self.height = max(1, budget // (logits.shape[1] * labels.shape[2]))
        self._surprise = logits.new_empty(0)
        with torch.no_grad(), full_precision(logits.device), workers(logits.device) as self._in_order:
            if self._comes_along:
                self._gradient = self._room().zero_()
            pieces = self._plain() if sampler is None else self._sampled(sampler, ranks)
            self._statistics = added(pieces, len(labels), self.dtype)

    def _second_visit(self, coefficients: Mapping[Key, Tensor]) -> Tensor:
        """See `LeanPixels`."""

        def visit(place: Place) -> Piece:
            image = place[0]
            kept = None if self.limit is None else self._surprise_of(place) >= self.limit
            if kept is not None and self._looked_at and not kept.any():
                return Piece(image, {})
            of_image = {key: value[image : image + 1] if value.ndim else value for key, value in coefficients.items()}
            return Piece(image, {}, *self._share(place, self._tile(place, kept), of_image))

        total = self._room().zero_()
        with full_precision(self.logits.device), workers(self.logits.device) as self._in_order:
            self._visited(visit, self._places(), total)
        return total

    @property
    def _looked_at(self) -> bool:
        """Whether looking at a number costs nothing."""
        return can_look_at(self.logits)

    def _places(self) -> list[Place]:
        """All tiles."""
        return [(image, *band) for image in range(len(self.labels)) for band in self.upsampling.bands(self.height)]

    def _tile(self, place: Place, kept: Bool[Tensor, "1 _ _"] | None = None) -> Tile:
        """The pixels of a tile, in an order of their own."""
        image, start, stop = place
        values = self.upsampling.values(self.logits.detach()[image], start, stop, self.dtype)[None]
        labels = self.upsampling.arranged(self.labels[image, start:stop])[None]
        return Tile(values, labels, self.ignore_index, kept)

    def _surprise_of(self, place: Place) -> Float[Tensor, "1 _ _"]:
        """The surprise in a tile, arranged."""
        image, start, stop = place
        width = self.labels.shape[2]
        return self._surprise[image, start * width : stop * width].view(1, -1, width // self.upsampling.columns.parts)

    def _plain(self) -> list[Piece]:
        """All tiles, of which every valid pixel counts."""
        return self._visited(lambda place: self._visit(place, self._tile(place)), self._places(), self._gradient)

    def _sampled(self, sampler: OHEMPixelSampler, ranks: Ranks) -> list[Piece]:
        """All tiles with their hard pixels, in one visit as far as that is possible; settles `limit`."""
        certain = sampler.certain_limit(self.dtype) if self._looked_at else math.inf
        self._surprise = self.logits.new_empty(len(self.labels), self.labels[0].numel(), dtype=self.dtype)

        def look(place: Place) -> Piece:
            tile = self._tile(place)
            surprise = ranking(tile.surprise(use_sigmoid=self.use_sigmoid), tile.valid)
            self._surprise_of(place).copy_(surprise)
            hard = surprise >= certain
            return self._visit(place, tile.keeping(hard)) if certain < math.inf else Piece(place[0], {})

        places = self._places()
        pieces = self._visited(look, places, self._gradient)
        self.limit = limit = sampler.limit(self._surprise, ranks)
        if self._looked_at and limit.item() == certain < math.inf:
            return pieces

        def complete(place_and_piece: tuple[Place, Piece]) -> Piece:
            place, piece = place_and_piece
            surprise = self._surprise_of(place)
            kept = surprise >= limit
            if certain == math.inf:
                return self._visit(place, self._tile(place, kept))
            rest = kept & (surprise < certain)
            return self._visit(place, self._tile(place, kept), rest) if rest.any() else piece

        return self._visited(complete, list(zip(places, pieces, strict=True)), self._gradient)

    def _visited(self, visit: Callable[[Item], Piece], items: Iterable[Item], total: Tensor | None) -> list[Piece]:
        """What came of the visits; their gradients, if there is a total, are added to it, in order."""

        def settled(piece: Piece) -> Piece:
            if total is not None and piece.gradient is not None:
                rows = slice(piece.first, piece.first + piece.gradient.shape[1])
                total[piece.image, :, rows] += piece.gradient
            return piece._replace(gradient=None)

        if self.upsampling.rows.is_same:
            # No two tiles come from the same row, so that each can add its own.
            return list(self._in_order(lambda item: settled(visit(item)), items))
        return [settled(piece) for piece in self._in_order(visit, items)]

    def _visit(self, place: Place, tile: Tile, new: Bool[Tensor, "1 _ _"] | None = None) -> Piece:
        """The statistics of a tile, and the gradient of its pixels, or of those that are `new`, if that comes along."""
        found: Found = {("", name): value for name, value in tile.counts().items()}
        for term, loss in self.losses.items():
            found |= {(term, name): value for name, value in loss.statistics(tile).items()}
        if self._gradient is None:
            return Piece(place[0], found)
        (term,) = self.trained
        part = tile if new is None else tile.keeping(new)
        return Piece(place[0], found, *self._share(place, part, {(term, "sum"): self._gradient.new_ones(())}))

    def _share(self, place: Place, tile: Tile, coefficients: Mapping[Key, Tensor]) -> tuple[int, Tensor]:
        """The rows of the logits that a tile comes from, from the first on, and its gradient in them."""
        slopes = Slopes()
        for term, loss in self.trained.items():
            # A term that nobody used has none.
            if own := {name: value for (of, name), value in coefficients.items() if of == term}:
                slopes = slopes + loss.gradient_parts(tile, own)
        return self.upsampling.transposed(tile.gradient(slopes)[0], *place[1:])


def added(pieces: Iterable[Piece], images: int, dtype: torch.dtype) -> Found:
    """The statistics of all pieces added up: numbers for the batch, others for each image."""
    parts: dict[Key, list[list[Tensor]]] = {}
    for piece in pieces:
        for key, value in piece.found.items():
            lists = parts.setdefault(key, [[] for _ in range(images)] if value.ndim else [[]])
            lists[piece.image if value.ndim else 0].append(value)
    # Thousands of sums of thousands of pixels need more digits than one of them.
    sums = {
        key: [torch.stack(values).sum(0, dtype=torch.float64).to(dtype) for values in lists]
        for key, lists in parts.items()
    }
    return {key: values[0] if values[0].ndim == 0 else torch.cat(values) for key, values in sums.items()}
