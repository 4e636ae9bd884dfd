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
from seglit.losses.ranks import Ranks
from seglit.losses.scattered import chunks
from seglit.losses.tile import Softmax, Tile
from seglit.precision import full_precision
from seglit.upsampling import Upsampling

TILE = {"cpu": 1 << 18}
LARGE_TILE = 1 << 25
"""How many logits a tile has: as many as a core's cache holds, and elsewhere as many as keep a device busy."""
DENSE = 0.25
"""Where a smaller share of a tile counts, its pixels are better made one by one."""
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
        budget = TILE.get(logits.device.type, LARGE_TILE)
        self.band_height = max(1, budget // (logits.shape[1] * labels.shape[2]))
        self.limit: Tensor | None = None
        self._gradient: Tensor | None = None
        self._surprise = logits.new_empty(0)
        self._found: list[dict[Key, Tensor]] = []
        (alone,) = self.trained.values() if len(self.trained) == 1 else (None,)
        needs_gradient = logits.requires_grad and torch.is_grad_enabled()
        with torch.no_grad(), full_precision(logits.device):
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
        for image in range(len(self.labels)):
            for start, stop in self.upsampling.bands(self.band_height):
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
            connected = _Connected.apply(self.logits, self, keys, *values)
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
        for place in self.places():
            kept = None if self.limit is None else self._surprise_of(place) >= self.limit
            if kept is None or logits.device.type != "cpu" or bool(kept.any()):
                of_image = {
                    key: value[place[0] : place[0] + 1] if value.ndim else value for key, value in coefficients.items()
                }
                self._add_gradient(place, self.tile(place, kept), of_image, result)
        return result

    def _visit_sampled(self, sampler: OHEMPixelSampler, ranks: Ranks) -> None:
        """Visit the tiles with their hard pixels, in one go as far as that is possible."""
        looked_at = self.logits.device.type == "cpu"
        certain = sampler.certain_limit(self.dtype) if looked_at else math.inf
        by_pixel = looked_at and self._gradient is not None and len(self.losses) == 1
        # Tiles of whose certain pixels nothing has been said yet.
        left = set(range(len(self._found)))
        self._surprise = self.logits.new_empty(len(self.labels), self.labels[0].numel(), dtype=self.dtype)
        for number, place in enumerate(self.places()):
            tile = self.tile(place)
            # Void has less than the least surprise, so that it is never kept.
            surprise = tile.surprise(use_sigmoid=self.use_sigmoid).masked_fill(~tile.valid, -1.0)
            self._surprise_of(place).copy_(surprise)
            hard = surprise >= certain
            if certain < math.inf and not (by_pixel and hard.sum() < DENSE * hard.numel()):
                self._visit(number, place, replace(tile, kept=hard))
                left.discard(number)
            elif by_pixel:
                self._found[number] = self._without_pixels(replace(tile, kept=torch.zeros_like(tile.valid)))
        self.limit = sampler.limit(self._surprise[:, None], self._surprise[:, None] >= 0, ranks)
        if by_pixel:
            self._visit_pixels(certain, left)
        elif not looked_at or self.limit.item() < certain:
            for number, place in enumerate(self.places()):
                surprise = self._surprise_of(place)
                rest = (surprise >= self.limit) & (surprise < certain)
                if number in left:
                    self._visit(number, place, self.tile(place, surprise >= self.limit))
                elif rest.any():
                    self._visit(number, place, self.tile(place, surprise >= self.limit), rest)
        if self._gradient is not None:
            # Nobody will visit the tiles again.
            self._surprise = self.labels.new_empty(0)

    def _surprise_of(self, place: Place) -> Tensor:
        """The surprise in a tile, arranged."""
        image, start, stop = place
        width = self.labels.shape[2]
        return self._surprise[image, start * width : stop * width].view(1, -1, width // self.upsampling.columns.parts)

    def _without_pixels(self, tile: Tile) -> dict[Key, Tensor]:
        """What a tile has to say before any pixel of it is chosen."""
        (term, loss), *_ = self.losses.items()
        found: dict[Key, Tensor] = {("", name): value for name, value in tile.counts().items()}
        return found | {(term, "sum"): tile.logits.new_zeros(()), (term, "divisor"): loss.divisor_of(tile)}

    def _visit_pixels(self, certain: float, left: set[int]) -> None:
        """Visit the pixels that are kept, each by itself, but for the certain ones of tiles that are not left."""
        assert self._gradient is not None  # as it is nothing to visit single pixels for
        rest = self._surprise >= self.limit
        for number, (image, start, stop) in enumerate(self.places()):
            if number not in left:
                inside = slice(start * self.labels.shape[2], stop * self.labels.shape[2])
                rest[image, inside] &= self._surprise[image, inside] < certain
        (term, loss), *_ = self.losses.items()
        grows = loss.divisor_name(sampled=True) in ("kept", "class_weight")
        one = {"sum": torch.ones((), dtype=self.dtype)}
        for image, chosen in enumerate(rest):
            source = self.logits.detach()[image].flatten(1).T.to(self.dtype).contiguous()
            total = torch.zeros_like(source)
            numbers = chosen.nonzero()[:, 0]
            for chunk in chunks(
                source, self.labels[image], numbers, self.upsampling, self.band_height, self.ignore_index
            ):
                statistics = loss.statistics(chunk.tile)
                found = {(term, "sum"): statistics["sum"]}
                if grows:
                    found[term, "divisor"] = statistics["divisor"]
                found["", "kept_by_class"] = chunk.tile.counts()["kept_by_class"]
                self._found.append(found)
                chunk.add_transposed(chunk.tile.gradient(loss.slopes(chunk.tile, one)), total)
            self._gradient[image] += total.T.view_as(self._gradient[image])

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
        images: dict[Key, list[list[Tensor]]] = {}
        tiles = [image for image, _, _ in self.places()]
        for number, found in enumerate(self._found):
            for key, value in found.items():
                lists = images.setdefault(key, [[] for _ in self.labels] if value.ndim else [[]])
                # What comes after the tiles are numbers of single pixels, which are asked for the batch alone.
                lists[tiles[number] if value.ndim and number < len(tiles) else 0].append(value)
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
                "criterion: the tiled loss has no second derivative (create_graph=True); give tiled=False for one with it"
            )
        (logits,) = ctx.saved_tensors
        given = {key: value for key, value in zip(ctx.keys, gradients, strict=True) if value is not None}
        nothing = [None] * (2 + len(gradients))
        if not given:
            return (None, *nothing)
        with full_precision(logits.device):
            return (ctx.pixels.gradient(logits, given).to(logits.dtype), *nothing)


def _size(maps: Tensor) -> tuple[int, int]:
    height, width = maps.shape[-2:]
    return height, width
