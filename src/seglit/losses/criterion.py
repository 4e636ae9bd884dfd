"""Criteria: from the logits of each head to named loss terms."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seglit.losses import fused, mmseg, proof
from seglit.losses.kernel import Kernel, Term
from seglit.losses.lean import LeanPixels
from seglit.losses.loss import Loss
from seglit.losses.ohem import OHEMPixelSampler, ranking
from seglit.losses.pixel_sum import PixelSumLoss
from seglit.losses.pixels import Pixels
from seglit.losses.ranks import ALONE, Ranks
from seglit.losses.targets import VOID, Target
from seglit.losses.tiled import TiledPixels

Compat = Literal["mmseg-0.25", "mmseg-1.2"]
Path = Literal["kernel", "tiles", "full size"]
"""How the losses of a head are computed, to the same numbers."""
Key = TypeVar("Key", bound=Hashable)
Totals = dict[tuple[str, str], Tensor]
"""Sums over a batch, by the name of a term, or none for what is watched, and that of the sum."""
AllTotals = dict[tuple[str, str, str], Tensor]
"""The same of all heads, by head first."""
TRAINED = "loss_"
"""Terms whose name begins so are summed into the loss; any other is logged only."""
WATCHED = ("acc_seg", "kept_share", "kept_share_by_class", "kept_thresh")
"""What a head returns beside its terms."""


class HeadCriterion(nn.Module):
    """The losses of one head, each named, with one sampler and one ignored label for all of them.

    Args:
        losses: name -> loss. Terms whose name begins with `loss_` are summed into the loss; others are logged only and
            get no gradient.
        sampler: chooses the pixels that count; it sees -log of the true class's probability, by the sigmoid where every
            loss of the head uses sigmoids, else by the softmax.
        ignore_index: the label of void pixels, which add nothing to any loss and get no gradient.
        weight: factor of all terms of this head.
        compat: None for the definitions; `"mmseg-0.25"` or `"mmseg-1.2"` for the arithmetic of that release of
            MMSegmentation, differences from the definitions included (`docs/differences.md`).
        target: makes of the labels what this head learns instead, as `BoundaryTarget`; None for the labels themselves.
    """

    def __init__(
        self,
        losses: Mapping[str, Loss],
        sampler: OHEMPixelSampler | None = None,
        ignore_index: int = 255,
        weight: float = 1.0,
        compat: Compat | None = None,
        target: Target | None = None,
    ) -> None:
        super().__init__()
        for name, loss in losses.items():
            if target is not None and isinstance(loss, Loss) and loss.class_weight_rule is not None:
                raise ValueError(
                    f"losses.{name}.class_weight: {loss.class_weight_origin!r} is measured from the labels, but with "
                    "target this head learns others; give the weights"
                )
            if name in WATCHED:
                raise ValueError(f"losses.{name}: is the name of what is logged beside the losses; choose another")
            if "loss" in name.lower() and not name.startswith(TRAINED):
                raise ValueError(
                    f"losses.{name}: would not be trained, as its name does not begin with '{TRAINED}'; call it so, or "
                    "give it a name without 'loss' to have it logged only"
                )
            if not isinstance(loss, Loss):
                raise ValueError(
                    f"losses.{name}: {type(loss).__name__} is no seglit.losses.Loss, so that void, class weights and "
                    "sampler could not reach it; subclass Loss"
                )
        if not any(name.startswith(TRAINED) for name in losses):
            raise ValueError(
                f"losses: no name begins with '{TRAINED}', so nothing would be trained; got {sorted(losses)}"
            )
        if weight < 0:
            raise ValueError(f"weight: must not be negative, got {weight}")
        if not any(weight * loss.loss_weight > 0 for name, loss in losses.items() if name.startswith(TRAINED)):
            raise ValueError(
                f"losses: every term that begins with '{TRAINED}' has weight 0, so nothing would be trained; give "
                "weight and a loss_weight above 0, or take the head out of net and criterion"
            )
        self.losses = nn.ModuleDict(losses)
        self.sampler = sampler
        self.ignore_index = ignore_index
        self.weight = weight
        self.compat = compat
        self.target = target
        if compat is not None:
            for name, loss in losses.items():
                try:
                    mmseg.check(loss, compat, sampler)
                except ValueError as error:
                    raise ValueError(f"losses.{name}: {error}") from error

    @property
    def use_sigmoid(self) -> bool:
        """Whether every loss of the head takes the sigmoid of each channel for a probability."""
        return all(loss.use_sigmoid for loss in self.named_losses().values())

    def learned(self, labels: Int64[Tensor, "batch height width"]) -> Int64[Tensor, "batch height width"]:
        """What this head learns: the labels, or what `target` makes of them."""
        if self.target is None:
            return labels
        with torch.no_grad():
            if self.compat is not None:
                return mmseg.target_labels(self.target, labels, self.ignore_index)
            made: Tensor = self.target(labels, self.ignore_index)
            return made

    @property
    def void(self) -> int:
        """The label of void pixels in what is learned."""
        return self.ignore_index if self.target is None else VOID

    def named_losses(self) -> dict[str, Loss]:
        """The losses by name."""
        return {name: loss for name, loss in self.losses.items() if isinstance(loss, Loss)}

    def forward(
        self,
        logits: Float[Tensor, "batch channels low_height low_width"],
        labels: Int64[Tensor, "batch height width"],
        align_corners: bool = False,
        ranks: Ranks = ALONE,
        tiled: bool = True,
        kernels: bool = True,
    ) -> dict[str, Float[Tensor, "..."]]:
        """The terms of this head, and what is watched beside them.

        That is `acc_seg`, the percentage of valid pixels that are right, and with a sampler `kept_share`, the share of
        valid pixels that it kept, `kept_share_by_class`, the same of each class (NaN where it has no pixel), and
        `kept_thresh`, the probability that their true classes do not exceed.

        Computed in float32, or in float64 for logits of that type, whatever the precision around it.

        Args:
            logits: at any stride; upsampled bilinearly to the size of the labels.
            labels: class indices, and `ignore_index` where nobody knows.
            align_corners: how the head that made the logits upsamples.
            ranks: who shares the batch; the terms are those of the whole of it, on each rank.
            tiled: see `SegmentationCriterion`.
            kernels: see `SegmentationCriterion`.
        """
        with torch.autocast(logits.device.type, enabled=False):
            pixels = self.pixels(logits, labels, align_corners, ranks, tiled, kernels)
            return self.terms(pixels, summed(self.totals(pixels), ranks))

    @property
    def tiles(self) -> bool:
        """Whether the losses can be computed a tile at a time: each is a formula of sums over pixels."""
        return self.compat is None and all(loss.is_pixel_sum for loss in self.named_losses().values())

    def path(self, channels: int, device: torch.device, tiled: bool = True, kernels: bool = True) -> Path:
        """How the losses are computed from logits of so many channels on a device."""
        if not (tiled and self.tiles):
            return "full size"
        return "kernel" if kernels and self._kernel(channels, device) is not None else "tiles"

    def _kernel(self, channels: int, device: torch.device) -> tuple[Kernel, dict[str, Term]] | None:
        """The kernel for a device and what it is to compute, if it knows all losses."""
        terms = fused.kernel_terms(self._pixel_sums(), channels)
        kernel = None if terms is None else proof.kernel_for(device)
        return None if terms is None or kernel is None else (kernel, terms)

    def _pixel_sums(self) -> dict[str, PixelSumLoss]:
        return {name: loss for name, loss in self.losses.items() if isinstance(loss, PixelSumLoss)}

    def pixels(
        self,
        logits: Tensor,
        labels: Tensor,
        align_corners: bool = False,
        ranks: Ranks = ALONE,
        tiled: bool = False,
        kernels: bool = True,
    ) -> Pixels | LeanPixels:
        """The pixels at the size of the labels, in float32 at least, and the sampler's choice among them.

        All at once, or `tiled` where the losses allow it.
        """
        labels = self.learned(labels)
        if tiled and self.tiles:
            return self._lean(logits, labels, align_corners, ranks, kernels)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if logits.shape[-2:] != labels.shape[-2:]:
            logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=align_corners)
        pixels = Pixels(logits, labels, self.void)
        if self.sampler is None or self.compat is not None:
            return pixels
        with torch.no_grad():
            ranked = ranking(pixels.surprise(use_sigmoid=self.use_sigmoid), pixels.valid)
            limit = self.sampler.limit(ranked, ranks)
            return replace(pixels, kept=ranked >= limit, limit=limit)

    def _lean(self, logits: Tensor, labels: Tensor, align_corners: bool, ranks: Ranks, kernels: bool) -> LeanPixels:
        losses = self._pixel_sums()
        trained = {name for name in losses if name.startswith(TRAINED)}
        known = self._kernel(logits.shape[1], logits.device) if kernels else None
        arguments = logits, labels, losses, trained, self.sampler
        if known is not None:
            return fused.FusedPixels(
                *arguments, *known, ignore_index=self.void, align_corners=align_corners, ranks=ranks
            )
        return TiledPixels(
            *arguments,
            use_sigmoid=self.use_sigmoid,
            ignore_index=self.void,
            align_corners=align_corners,
            ranks=ranks,
        )

    def totals(self, pixels: Pixels | LeanPixels) -> Totals:
        """What `terms` needs to know of the batch, by term and name; sums over its images."""
        if isinstance(pixels, LeanPixels):
            return pixels.totals()
        if self.compat is not None:
            return {}
        totals: Totals = {}
        for name, loss in self.named_losses().items():
            with torch.set_grad_enabled(torch.is_grad_enabled() and name.startswith(TRAINED)):
                totals |= {(name, key): value for key, value in loss.counted_totals(pixels).items()}
        return totals | {("", key): value.sum(0) if value.ndim else value for key, value in pixels.counts().items()}

    def terms(self, pixels: Pixels | LeanPixels, totals: Totals) -> dict[str, Float[Tensor, "..."]]:
        """The terms, and what is watched, from the totals of this batch or of a greater one that it is a part of."""
        if self.compat is not None:
            assert isinstance(pixels, Pixels)  # nothing is tiled there
            terms = mmseg.terms(self.named_losses(), self.sampler, pixels, self.compat)
            return {name: self.weight * term for name, term in terms.items()} | {"acc_seg": mmseg.accuracy(pixels)}
        terms = {}
        for name, loss in self.named_losses().items():
            of_loss = {key: value for (term, key), value in totals.items() if term == name}
            terms[name] = self.weight * loss.loss_weight * loss.finish(of_loss)
        valid = totals["", "valid"].clamp(min=1)
        watched = {"acc_seg": 100.0 * totals["", "correct"] / valid}
        if pixels.limit is not None:
            kept = totals["", "kept_by_class"]
            watched |= {"kept_share": kept.sum() / valid, "kept_thresh": torch.exp(-pixels.limit)}
            watched |= {"kept_share_by_class": kept / totals["", "valid_by_class"]}
        return terms | watched

    def check(self, num_classes: int, channels: int) -> None:
        """Refuse losses that do not fit the head's classes and channels.

        Raises:
            ValueError: names the loss, the argument and the mend.
        """
        if self.target is not None:
            num_classes = self.target.num_classes
            if channels not in (1, num_classes):
                raise ValueError(
                    f"target: {type(self.target).__name__} makes {num_classes} classes, but the head has {channels} "
                    "channels; give the head num_classes=2, and out_channels=1 for one"
                )
        elif channels != num_classes and (channels, num_classes) != (1, 2):
            raise ValueError(
                f"target: is left out, but the head has {channels} channels for {num_classes} classes; give what "
                "it learns, or num_classes to the head"
            )
        for name, loss in self.named_losses().items():
            try:
                if self.compat is not None:
                    mmseg.check_channels(loss, self.compat, self.sampler, channels)
                loss.check(num_classes, channels, sampled=self.sampler is not None)
            except ValueError as error:
                raise ValueError(f"losses.{name}.{error}") from error

    def describe(self) -> list[dict[str, Any]]:
        """One row for each loss: what the receipt says of it."""
        sampler = None
        if self.sampler is not None:
            sampler = {"thresh": self.sampler.thresh, "min_kept": self.sampler.min_kept}
            if not self.sampler.per_image:
                sampler["per_image"] = False
        rows = []
        for name, loss in self.named_losses().items():
            divisor = loss.divisor_name(sampled=sampler is not None)
            if self.compat is not None:
                divisor = mmseg.divisor_name(loss, self.compat, self.sampler)
            weight = loss.loss_weight * self.weight
            rows.append(
                {
                    "name": name,
                    "loss": type(loss).__name__,
                    "use_sigmoid": loss.use_sigmoid,
                    "weight": weight,
                    "divisor": divisor,
                    # By the pixels that a sampler keeps, void ones are left out anyway.
                    "avg_non_ignore": bool(getattr(loss, "avg_non_ignore", False)) and divisor != "kept",
                    "trained": name.startswith(TRAINED) and weight > 0,
                    "class_weight": loss.class_weight_origin,
                    "class_weight_values": None if loss.class_weight is None else list(loss.class_weight),
                    "sampler": sampler,
                    "ignore_index": self.ignore_index,
                    "compat": self.compat,
                    "target": None if self.target is None else type(self.target).__name__,
                }
            )
        return rows


def summed(totals: dict[Key, Tensor], ranks: Ranks) -> dict[Key, Tensor]:
    """The totals of all ranks; the gradient is that of this rank's part of them."""
    if ranks.size == 1:
        return totals
    sums = ranks.summed(list(totals.values()))
    return {key: own + (total - own.detach()) for (key, own), total in zip(totals.items(), sums, strict=True)}


def total_loss(terms: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """The sum of the terms, by `head.name`, that are trained."""
    return torch.stack([term for name, term in terms.items() if name.split(".", 1)[1].startswith(TRAINED)]).sum()


class SegmentationCriterion(nn.Module):
    """One criterion for each head of the net.

    Args:
        decode: that of the decode head.
        aux: that of the auxiliary head which is called so; None if there is none.
        tiled: compute the losses of a head a tile at a time where they allow it, which takes a fraction of the memory
            and, where logits are upsampled, less time (`docs/performance.md`); false has all logits at full resolution.
            The numbers are the same.
        **more: those of further auxiliary heads, by their names.

    Raises:
        ValueError: if one is no `HeadCriterion`.
    """

    def __init__(
        self,
        decode: HeadCriterion,
        aux: HeadCriterion | None = None,
        tiled: bool = True,
        kernels: bool = True,
        **more: HeadCriterion,
    ) -> None:
        super().__init__()
        heads = {"decode": decode} | ({} if aux is None else {"aux": aux}) | more
        for name, head in heads.items():
            if not isinstance(head, HeadCriterion):
                raise ValueError(f"criterion.{name}: must be a HeadCriterion, got {type(head).__name__}")
        self.heads = nn.ModuleDict(heads)
        self.tiled = tiled
        self.kernels = kernels

    def head_criteria(self) -> dict[str, HeadCriterion]:
        """The criteria by head."""
        return {name: head for name, head in self.heads.items() if isinstance(head, HeadCriterion)}

    def forward(
        self,
        outputs: Mapping[str, Tensor],
        labels: Int64[Tensor, "batch height width"],
        align_corners: Mapping[str, bool] | None = None,
        ranks: Ranks = ALONE,
    ) -> dict[str, Float[Tensor, "..."]]:
        """`loss`, the sum of all trained terms, then each term as `head.name`.

        With `ranks`, the terms are those of the batch that all ranks share, and the gradients, added over the ranks,
        are its gradients.

        Args:
            outputs: logits of each head, at its own stride.
            labels: class indices at full size.
            align_corners: how each head upsamples; False for a head that is not named.
            ranks: who shares the batch.

        Raises:
            ValueError: where the heads of `outputs` are not those of this criterion.
        """
        with torch.autocast(labels.device.type, enabled=False):
            pixels = self.pixels(outputs, labels, align_corners, ranks)
            # One exchange for all heads and losses.
            return self.terms(pixels, summed(self.totals(pixels), ranks))

    def pixels(
        self,
        outputs: Mapping[str, Tensor],
        labels: Int64[Tensor, "batch height width"],
        align_corners: Mapping[str, bool] | None = None,
        ranks: Ranks = ALONE,
    ) -> dict[str, Pixels | LeanPixels]:
        """The pixels of each head; see `HeadCriterion.pixels`."""
        if set(outputs) != set(self.heads):
            raise ValueError(f"criterion: heads {sorted(self.heads)} but outputs of {sorted(outputs)}")
        aligned = align_corners or {}
        return {
            name: head.pixels(outputs[name], labels, aligned.get(name, False), ranks, self.tiled, self.kernels)
            for name, head in self.head_criteria().items()
        }

    def totals(self, pixels: Mapping[str, Pixels | LeanPixels]) -> AllTotals:
        """The totals of each head; see `HeadCriterion.totals`."""
        return {
            (name, *key): value
            for name, head in self.head_criteria().items()
            for key, value in head.totals(pixels[name]).items()
        }

    def terms(self, pixels: Mapping[str, Pixels | LeanPixels], totals: AllTotals) -> dict[str, Float[Tensor, "..."]]:
        """`loss`, then the terms of each head; see `HeadCriterion.terms`."""
        terms = {
            f"{name}.{term}": value
            for name, head in self.head_criteria().items()
            for term, value in head.terms(
                pixels[name], {key[1:]: value for key, value in totals.items() if key[0] == name}
            ).items()
        }
        return {"loss": total_loss(terms)} | terms

    def check_shared(self) -> None:
        """Refuse losses whose batch cannot be shared out to ranks.

        Raises:
            ValueError: names the loss and the mend.
        """
        for name, head in self.head_criteria().items():
            for term, loss in head.named_losses().items():
                if not loss.adds_up:
                    raise ValueError(
                        f"criterion.{name}.losses.{term}: {type(loss).__name__} sorts the pixels of the whole batch, "
                        "which several ranks share; give per_image=true, or normalize=local for the mean over ranks"
                    )

    @property
    def has_compat(self) -> bool:
        """Whether a head computes as MMSegmentation does."""
        return any(head.compat is not None for head in self.head_criteria().values())

    @property
    def divisors_are_known(self) -> bool:
        """Whether labels alone tell what every sum is divided by: no sampler, and every loss a mean."""
        return all(
            head.sampler is None and all(loss.is_mean for loss in head.named_losses().values())
            for head in self.head_criteria().values()
        )

    def divisors(
        self, labels: Int64[Tensor, "batch height width"], channels: Mapping[str, int], dtype: torch.dtype
    ) -> AllTotals:
        """Those of the totals that labels alone tell, where `divisors_are_known`.

        Args:
            labels: at full size.
            channels: channels of the logits of each head.
            dtype: of the totals.
        """
        divisors: AllTotals = {}
        for name, head in self.head_criteria().items():
            # Logits that take no memory, as nobody looks at them.
            logits = labels.new_zeros((), dtype=dtype).expand(len(labels), channels[name], *labels.shape[1:])
            pixels = Pixels(logits, head.learned(labels), head.void)
            for term, loss in head.named_losses().items():
                divisors[name, term, "divisor"] = loss.divisor_of(pixels)
            divisors[name, "", "valid"] = pixels.valid.sum().to(dtype)
        return divisors

    def check(self, num_classes: int, channels: Mapping[str, int]) -> None:
        """Refuse criteria that do not fit the net.

        Args:
            num_classes: number of classes.
            channels: channels of the logits of each head.

        Raises:
            ValueError: names the head, the argument and the mend.
        """
        if set(channels) != set(self.heads):
            raise ValueError(
                f"criterion: has heads {sorted(self.heads)}, but the net has {sorted(channels)}; "
                "give each head of the net its criterion, and no other"
            )
        for name, head in self.head_criteria().items():
            try:
                head.check(num_classes, channels[name])
            except ValueError as error:
                raise ValueError(f"criterion.{name}.{error}") from error

    def needs_label_counts(self) -> bool:
        """Whether a class weight waits to be measured from the training labels."""
        return any(
            loss.class_weight_rule is not None
            for head in self.head_criteria().values()
            for loss in head.named_losses().values()
        )

    def measure_class_weight(self, pixels: Int64[Tensor, " classes"], image_pixels: Int64[Tensor, " classes"]) -> None:
        """Settle every `class_weight="auto"` from the counts of the training labels."""
        for head in self.head_criteria().values():
            for loss in head.named_losses().values():
                loss.measure_class_weight(pixels, image_pixels)

    def describe(self, channels: Mapping[str, int], device: torch.device) -> list[dict[str, Any]]:
        """One row for each loss of each head: what the receipt says of it.

        Args:
            channels: channels of the logits of each head.
            device: on which they are computed.
        """
        return [
            {"head": name} | row | {"computed": head.path(channels[name], device, self.tiled, self.kernels)}
            for name, head in self.head_criteria().items()
            for row in head.describe()
        ]
