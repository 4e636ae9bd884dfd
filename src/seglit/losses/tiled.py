"""The statistics of a head's losses and their gradient without ever having all logits at full resolution."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from seglit.losses.ohem import OHEMPixelSampler
from seglit.losses.pixel_mean import PixelMeanLoss
from seglit.losses.pixel_sum import PixelSumLoss, Slopes
from seglit.losses.pixels import can_look_at
from seglit.losses.ranks import Ranks
from seglit.losses.tile import Softmax, Tile
from seglit.upsampling import Upsampling

TILE = {"cpu": 1 << 18}
LARGE_TILE = 1 << 25
"""How many logits a tile has: as many as a core's cache holds, and elsewhere as many as keep a device busy."""
Place = tuple[int, int, int]
"""Image, first row and end of a tile."""
Key = tuple[str, str]
"""A term, or none for what is watched, and the name of a statistic."""


class TiledPixels:
    """The pixels of one head at full resolution, a tile of rows at a time.

    Each tile is upsampled, its statistics are kept and it is forgotten. Where the trained loss is a single weighted sum
    over pixels, whose gradient is known up to one factor, the gradient comes with the same visit; otherwise each tile
    is visited again once the formulas have told how much each sum matters.

    A sampler with `thresh` need not know its limit beforehand on a device whose numbers can be looked at: pixels below
    `thresh` are always kept, and only if they are fewer than `min_kept` tiles are visited again, for the rest.

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

    Attributes:
        limit: the least surprise of a pixel that the sampler keeps; None without a sampler.
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
        for loss in losses.values():
            loss.refuse_unmeasured()
        self.logits = logits
        self.labels = labels
        self.losses = losses
        self.trained = {name: loss for name, loss in losses.items() if name in trained}
        self.use_sigmoid = use_sigmoid
        self.ignore_index = ignore_index
        self.dtype = torch.promote_types(logits.dtype, torch.float32)
        self.upsampling = Upsampling(_size(logits), _size(labels), align_corners)
        self.limit: Tensor | None = None
        self._gradient: Tensor | None = None
        self._surprise: list[Tensor] = []
        self._found: list[dict[Key, Tensor]] = []
        (alone,) = self.trained.values() if len(self.trained) == 1 else (None,)
        needs_gradient = logits.requires_grad and torch.is_grad_enabled()
        with torch.no_grad():
            if needs_gradient and isinstance(alone, PixelMeanLoss):
                self._gradient = torch.zeros_like(logits, dtype=self.dtype, memory_format=torch.contiguous_format)
            self._found = [{} for _ in self.places()]
            if sampler is None:
                for number, place in enumerate(self.places()):
                    self._visit(number, place, self.tile(place))
            else:
                self._visit_sampled(sampler, ranks)

    def places(self) -> Iterator[Place]:
        """All tiles."""
        budget = TILE.get(self.logits.device.type, LARGE_TILE)
        height = max(1, budget // (self.logits.shape[1] * self.labels.shape[2]))
        for image in range(len(self.labels)):
            for start, stop in self.upsampling.bands(height):
                yield image, start, stop

    def tile(self, place: Place, kept: Bool[Tensor, "1 _ _"] | None = None) -> Tile:
        """The pixels of a tile, in an order of their own."""
        image, start, stop = place
        source = self.logits.detach()[image]
        values = self.upsampling.values(source, start, stop, self.dtype)[None]
        labels = self.upsampling.arranged(self.labels[image, start:stop])[None]
        return Tile(values, labels, self.ignore_index, kept, None, Softmax(values))

    def totals(self) -> dict[Key, Tensor]:
        """The totals of all losses, by term and name, with a graph to the logits; see `Loss.totals`."""
        statistics = self._statistics()
        keys = [key for key in statistics if key[0] in self.trained]
        if self.logits.requires_grad and torch.is_grad_enabled():
            values = [statistics[key] for key in keys]
            connected = _Connected.apply(self.logits, self, keys, *values)  # type: ignore[no-untyped-call]
            statistics |= dict(zip(keys, connected, strict=True))
        totals = {key: value.sum(0) if value.ndim else value for key, value in statistics.items() if not key[0]}
        for term, loss in self.losses.items():
            own = {name: value for (of, name), value in statistics.items() if of == term}
            totals |= {(term, name): value for name, value in loss.totals_of(own).items()}
        return totals

    def gradient(self, logits: Tensor, coefficients: Mapping[Key, Tensor]) -> Tensor:
        """The gradient in the logits of the statistics, each times its coefficients, and summed."""
        if self._gradient is not None:
            (name,) = self.trained
            return self._gradient * coefficients[name, "sum"]
        result = torch.zeros_like(logits, dtype=self.dtype, memory_format=torch.contiguous_format)
        for number, place in enumerate(self.places()):
            kept = None if self.limit is None else self._surprise[number] >= self.limit
            if kept is None or not can_look_at(logits) or bool(kept.any()):
                of_image = {
                    key: value[place[0] : place[0] + 1] if value.ndim else value for key, value in coefficients.items()
                }
                self._add_gradient(place, self.tile(place, kept), of_image, result)
        return result

    def _visit_sampled(self, sampler: OHEMPixelSampler, ranks: Ranks) -> None:
        """Visit the tiles with their hard pixels, in one go as far as that is possible."""
        looked_at = can_look_at(self.logits)
        certain = sampler.certain_limit(self.dtype) if looked_at else math.inf
        for number, place in enumerate(self.places()):
            tile = self.tile(place)
            # Void has less than the least surprise, so that it is never kept.
            surprise = tile.surprise(use_sigmoid=self.use_sigmoid).masked_fill(~tile.valid, -1.0)
            self._surprise.append(surprise)
            if certain < math.inf:
                self._visit(number, place, replace(tile, kept=surprise >= certain))
        everywhere = torch.cat([surprise.flatten() for surprise in self._surprise]).view(len(self.labels), 1, -1)
        self.limit = sampler.limit(everywhere, everywhere >= 0, ranks)
        if not looked_at or self.limit.item() < certain:
            for number, place in enumerate(self.places()):
                kept = self._surprise[number] >= self.limit
                rest = kept & (self._surprise[number] < certain)
                if certain == math.inf:
                    self._visit(number, place, self.tile(place, kept))
                elif rest.any():
                    self._visit(number, place, self.tile(place, kept), rest)
        if self._gradient is not None:
            # Nobody will visit the tiles again.
            self._surprise = []

    def _visit(self, number: int, place: Place, tile: Tile, new: Tensor | None = None) -> None:
        """Keep what a tile has to say, and add the gradient of its pixels, or of those that are new.

        Args:
            number: of the tile.
            place: where it is.
            tile: its pixels.
            new: those whose gradient has not been added by an earlier visit; None: all.
        """
        found: dict[Key, Tensor] = {("", name): value for name, value in tile.counts().items()}
        for term, loss in self.losses.items():
            found |= {(term, name): value for name, value in loss.statistics(tile).items()}
        self._found[number] = found
        if self._gradient is not None:
            (term,) = self.trained
            one = torch.ones((), dtype=self.dtype, device=self.logits.device)
            part = tile if new is None else replace(tile, kept=new)
            self._add_gradient(place, part, {(term, "sum"): one}, self._gradient)

    def _add_gradient(self, place: Place, tile: Tile, coefficients: Mapping[Key, Tensor], total: Tensor) -> None:
        slopes = Slopes()
        for term, loss in self.trained.items():
            # A term that nobody used has none.
            if own := {name: value for (of, name), value in coefficients.items() if of == term}:
                slopes = slopes + loss.slopes(tile, own)
        image, start, stop = place
        self.upsampling.add_transposed(tile.gradient(slopes)[0], start, stop, total[image])

    def _statistics(self) -> dict[Key, Tensor]:
        """Those of all tiles added up: numbers for the batch, others for each image."""
        images: dict[Key, list[list[Tensor]]] = {
            key: [[] for _ in self.labels] if value.ndim else [[]] for key, value in self._found[0].items()
        }
        for (image, _, _), found in zip(self.places(), self._found, strict=True):
            for key, value in found.items():
                images[key][image if value.ndim else 0].append(value)
        # Thousands of sums of thousands of pixels need more digits than one of them.
        added = {
            key: [torch.stack(parts).sum(0, dtype=torch.float64).to(self.dtype) for parts in lists]
            for key, lists in images.items()
        }
        return {key: sums[0] if sums[0].ndim == 0 else torch.cat(sums) for key, sums in added.items()}


class _Connected(torch.autograd.Function):
    """Statistics that are known already, as functions of the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, pixels: TiledPixels, keys: list[Key], *statistics: Tensor) -> Any:
        ctx.save_for_backward(logits)
        ctx.pixels = pixels
        ctx.keys = keys
        ctx.set_materialize_grads(False)
        return tuple(value.clone() for value in statistics)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "criterion: the tiled loss has no second derivative (create_graph=True); give tiled=False for the plain one"
            )
        (logits,) = ctx.saved_tensors
        given = {key: value for key, value in zip(ctx.keys, gradients, strict=True) if value is not None}
        nothing = [None] * (2 + len(gradients))
        if not given:
            return (None, *nothing)
        return (ctx.pixels.gradient(logits, given).to(logits.dtype), *nothing)


def _size(maps: Tensor) -> tuple[int, int]:
    height, width = maps.shape[-2:]
    return height, width
