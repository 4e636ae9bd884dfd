"""The pixels of one head, of which a kernel makes each once."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from seglit.losses.kernel import Choice, Job, Kernel, MeanTerm, OverlapTerm, Slopes, Sums, Term
from seglit.losses.lean import Found, Key, LeanPixels, size_of
from seglit.losses.ohem import OHEMPixelSampler
from seglit.losses.pixel_sum import PixelSumLoss
from seglit.losses.pixels import can_look_at, table
from seglit.losses.ranks import Ranks
from seglit.upsampling import Upsampling


class FusedPixels(LeanPixels):
    """The pixels of one head, of which a kernel makes each once: of the losses that kernels know.

    Under a sampler the first visit counts the pixels below `thresh`, which are certain to be kept, and only if they are
    fewer than `min_kept` a second one makes those that come in.

    Args:
        logits: at any stride.
        labels: at full size.
        losses: the losses of the head.
        trained: the names of those that get a gradient.
        sampler: chooses the pixels that count; None for all that are valid.
        kernel: makes them.
        terms: what it is to compute, by loss.
        ignore_index: the label of void pixels.
        align_corners: how the head upsamples.
        ranks: who shares the batch.

    Raises:
        ValueError: on the CPU, if a label is no class and not void.
    """

    def __init__(
        self,
        logits: Float[Tensor, "batch channels low_height low_width"],
        labels: Int64[Tensor, "batch height width"],
        losses: Mapping[str, PixelSumLoss],
        trained: set[str],
        sampler: OHEMPixelSampler | None,
        kernel: Kernel,
        terms: Mapping[str, Term],
        *,
        ignore_index: int,
        align_corners: bool,
        ranks: Ranks,
    ) -> None:
        super().__init__(logits, losses, trained)
        self.kernel = kernel
        self.means = [name for name, term in terms.items() if isinstance(term, MeanTerm)]
        self.overlaps = [name for name, term in terms.items() if isinstance(term, OverlapTerm)]
        self.classes = classes(logits.shape[1], ignore_index, logits.device)
        self.job = Job(
            logits.detach().to(self.dtype).contiguous(),
            labels.contiguous(),
            Upsampling(size_of(logits), size_of(labels), align_corners),
            ignore_index,
            [term for term in terms.values() if isinstance(term, MeanTerm)],
            [term for term in terms.values() if isinstance(term, OverlapTerm)],
        )
        self._choice: Choice | None = None
        with torch.no_grad():
            slopes = None
            if self._comes_along:
                slopes = self._slopes({(name, "sum"): self.job.logits.new_ones(()) for name in trained})
                self._gradient = slopes.total
            sums = kernel(self.job, None, slopes) if sampler is None else self._sampled(sampler, ranks, slopes)
            self._statistics = self._statistics_of(sums, sampled=sampler is not None)

    def _sampled(self, sampler: OHEMPixelSampler, ranks: Ranks, slopes: Slopes | None) -> Sums:
        """The sums over the hard pixels; settles `limit`."""
        surprise = self.job.logits.new_empty(self.job.labels.shape)
        certain = surprise.new_full((), sampler.certain_limit(self.dtype))
        sums = self.kernel(self.job, Choice(surprise, False, certain), slopes)
        self.limit = sampler.limit(surprise, ranks)
        self._choice = Choice(surprise, True, self.limit)
        if can_look_at(surprise) and self.limit == certain:
            return sums
        if slopes is not None:
            slopes = replace(slopes, is_fresh=False)
        return sums + self.kernel(self.job, Choice(surprise, True, self.limit, certain), slopes)

    def _second_visit(self, coefficients: Mapping[Key, Tensor]) -> Tensor:
        """See `LeanPixels`."""
        slopes = self._slopes(coefficients)
        self.kernel(self.job, self._choice, slopes)
        return slopes.total

    def _slopes(self, coefficients: Mapping[Key, Tensor]) -> Slopes:
        """What the kernel is told of the coefficients of the statistics; a term without any has none."""
        total = self._room()
        images, channels = total.shape[:2]
        means = total.new_zeros(len(self.means))
        for place, name in enumerate(self.means):
            if (name, "sum") in coefficients:
                means[place] = coefficients[name, "sum"]
        overlaps = total.new_zeros(images, len(self.overlaps), 2, channels)
        for place, name in enumerate(self.overlaps):
            if (name, "sums") in coefficients:
                overlaps[:, place].index_copy_(2, self.classes, coefficients[name, "sums"][:, :2])
        return Slopes(means, overlaps, total, is_fresh=True)

    def _statistics_of(self, sums: Sums, *, sampled: bool) -> Found:
        """The statistics of the losses, as they would have them from the pixels."""
        found: Found = {("", "valid"): sums.valid.sum(), ("", "correct"): sums.correct.sum()}
        if sampled:
            found |= {("", "kept_by_class"): sums.counted, ("", "valid_by_class"): sums.valid}
        for place, name in enumerate(self.means):
            found[name, "sum"] = sums.means[:, place].sum()
            found[name, "divisor"] = self._divisor(self.losses[name], sums, sampled)
        for place, (name, weights) in enumerate(zip(self.overlaps, self.job.weights(self.job.overlaps), strict=True)):
            labelled = sums.counted * weights
            three = torch.cat([sums.overlaps[:, place], labelled[:, None]], dim=1)
            found |= {(name, "sums"): three.index_select(2, self.classes), (name, "weight"): labelled.sum(1)}
        return {key: value.to(self.dtype) for key, value in found.items()}

    def _divisor(self, loss: PixelSumLoss, sums: Sums, sampled: bool) -> Tensor:
        """See `Loss.divisor_of`."""
        match loss.divisor_name(sampled=sampled):
            case "class_weight":
                assert loss.class_weight is not None  # as the loss has checked
                return (sums.counted * table(loss.class_weight, sums.counted.dtype, sums.counted.device)).sum()
            case "all":
                return sums.valid.new_tensor(float(self.job.labels.numel()))
            case "kept":
                return sums.counted.sum()
            case _:
                return sums.valid.sum()


def kernel_terms(losses: Mapping[str, PixelSumLoss], channels: int) -> dict[str, Term] | None:
    """What a kernel is to compute for the losses, by their names; None if it does not know how, of one at least."""
    terms = {name: loss.known_term(channels) for name, loss in losses.items()}
    known = {name: term for name, term in terms.items() if term is not None}
    return known if len(known) == len(terms) else None


@lru_cache(maxsize=64)
def classes(channels: int, ignore_index: int, device: torch.device) -> Int64[Tensor, " classes"]:
    """The channels that are classes, on the device, sent there once."""
    numbers = torch.arange(channels)
    return numbers[numbers != ignore_index].to(device)
