"""An optimizer step as the black box sees it: its samples, its numbers, and what is wrong with them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from seglit.blackbox.bundle import Row
from seglit.blackbox.growth import GRADIENT, RATE
from seglit.blackbox.reading import Reading
from seglit.losses.criterion import TRAINED
from seglit.losses.ranks import Ranks
from seglit.module import SegmentationModule

MEAN, PART, RANK = "mean", "part/", "rank/"
"""Names of numbers: the loss over all ranks, that of a micro-batch, and whose loss is at fault."""


@dataclass(frozen=True)
class Weight:
    """A parameter, with its name and that of its group."""

    group: str
    name: str
    parameter: Tensor


@dataclass
class Step:
    """An optimizer step that is under way or waits to be judged.

    Attributes:
        number: steps before it.
        batches: its micro-batches as the module got them; the first alone where it holds all.
        random: of each that began, the states of the generators before it.
        names: of the images.
        losses: of each, the number that runs backward; with a gradient scaler it is scaled.
        labels: what the numbers in `reading` are, but for the last, the norms of gradients.
        weights: what these are of.
        reading: the numbers of the step.
        values: of them, those with labels, once they are read.
        norms: the others.
        rates: the learning rate of each group.
    """

    number: int
    batches: list[Mapping[str, Any]] = field(default_factory=list)
    random: list[list[Tensor]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    reading: Reading | None = None
    values: dict[str, float] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)

    def begin(self, batch: Mapping[str, Any], random: list[Tensor]) -> None:
        """Keep a micro-batch; of those that the first holds, as bytes of the host, nothing on the device."""
        if not (self.batches and "step" in self.batches[0]):
            self.batches.append(batch)
        self.random.append(random)
        self.names += batch.get("name", [])

    def micro_batches(self) -> list[Mapping[str, Any]]:
        """Those that began."""
        first = self.batches[0]
        return [part() for part in first["step"][: len(self.random)]] if "step" in first else self.batches

    def numbers(
        self, module: SegmentationModule, weights: Sequence[Weight], optimizer: Optimizer, rank: int, ranks: int
    ) -> Tensor:
        """All numbers of the step in one tensor, and in `labels` and `weights` what they are.

        Args:
            module: has run all micro-batches.
            weights: those that are trained, with their gradients.
            optimizer: has the rates.
            rank: of this process.
            ranks: their number; what they find is exchanged, so that all judge alike.
        """
        terms = {name: term for name, term in module.newest_terms.items() if not term.ndim}
        pairs = [(weight, weight.parameter.grad) for weight in weights]
        shown = [(weight, gradient) for weight, gradient in pairs if gradient is not None]
        dtype = torch.float64 if module.dtype == torch.float64 else torch.float32
        norms = torch._foreach_norm([gradient for _, gradient in shown], 2, dtype) if shown else ()
        # A module whose steps are its own has no terms.
        loss = (terms["loss"] if terms else torch.stack(self.losses).sum()).to(dtype)
        shared = {MEAN: loss}
        if ranks > 1:
            spoilt = torch.zeros(ranks, dtype=dtype, device=loss.device)
            own = torch.stack([loss, *(part.to(dtype) for part in self.losses)])
            spoilt[rank] = torch.isfinite(own).all().logical_not()
            mean, spoilt = Ranks(ranks).summed([loss / ranks, spoilt])
            shared = {MEAN: mean} | {f"{RANK}{place}": flag for place, flag in enumerate(spoilt)}
        self.labels = [*shared, *(f"{PART}{place}" for place in range(len(self.losses))), *terms]
        self.weights = [weight for weight, _ in shown]
        self.rates = {str(group.get("name", place)): group["lr"] for place, group in enumerate(optimizer.param_groups)}
        values = [*shared.values(), *self.losses, *terms.values(), *norms]
        # To convert what needs none takes longer than all the rest.
        return torch.stack([value if value.dtype == dtype else value.to(dtype) for value in values])

    def read(self) -> None:
        """Fill in `values` and `norms`."""
        assert self.reading is not None
        numbers = self.reading.values()
        self.values = dict(zip(self.labels, numbers, strict=False))
        self.norms = numbers[len(self.labels) :]

    def row(self) -> Row:
        """The step in the ring; gradients of a group's parameters become one norm."""
        norms: dict[str, list[float]] = {}
        for weight, norm in zip(self.weights, self.norms, strict=True):
            norms.setdefault(weight.group, []).append(norm)
        row: Row = {"step": self.number, "names": self.names, "note": ""}
        row |= {name: value for name, value in self.values.items() if not name.startswith((PART, RANK))}
        row |= {f"{GRADIENT}{group}": math.hypot(*parts) for group, parts in norms.items()}
        return row | {f"{RATE}{group}": rate for group, rate in self.rates.items()}

    def wrong_losses(self) -> list[str]:
        """Names of the losses that are no finite numbers, and of the ranks that found such a loss.

        What is logged only, as a share of pixels, is not looked at.
        """
        wrong = [name for name, value in self.values.items() if not math.isfinite(value) and is_trained(name)]
        return wrong + [name for name, value in self.values.items() if value and name.startswith(RANK)]

    def wrong_weights(self) -> list[Weight]:
        """Those whose gradients have no finite norm."""
        if all(map(math.isfinite, self.norms)):
            return []
        return [weight for weight, norm in zip(self.weights, self.norms, strict=True) if not math.isfinite(norm)]

    def in_words(self) -> str:
        """What is wrong with the step."""
        wrong = self.wrong_losses()
        said = [f"{name} is {self.values[name]}" for name in wrong if name == "loss" or "." in name]
        parts = [name.removeprefix(PART) for name in wrong if name.startswith(PART)]
        if parts and not said:
            said.append(f"the loss of micro-batch {', '.join(parts)} is no finite number")
        ranks = [name.removeprefix(RANK) for name in wrong if name.startswith(RANK)]
        if ranks and len(ranks) < sum(name.startswith(RANK) for name in self.values):
            said.append(f"found by rank {', '.join(ranks)}")
        if not said:
            weights = self.wrong_weights()
            count = f"{len(weights)} of {len(self.weights)} weights"
            said = [f"the gradient of {weights[0].name} (group '{weights[0].group}') is not finite, as of {count}"]
        return ", ".join(said)


def is_trained(name: str) -> bool:
    """Whether a number is a loss that is trained on."""
    return name in (MEAN, "loss") or name.startswith(PART) or name.partition(".")[2].startswith(TRAINED)
