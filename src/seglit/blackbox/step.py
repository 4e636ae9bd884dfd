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
"""Names of numbers: the loss over all ranks, what the module returned for a micro-batch, and whose loss is at fault."""


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
        losses: what the module returned for each.
        labels: what the numbers in `reading` are.
        reading: the numbers of the step.
        rates: the learning rate of each group.
    """

    number: int
    batches: list[Mapping[str, Any]] = field(default_factory=list)
    random: list[list[Tensor]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    reading: Reading | None = None
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
        """All numbers of the step in one tensor, and in `labels` what they are.

        Args:
            module: has run all micro-batches.
            weights: those that are trained, with their gradients.
            optimizer: has the rates.
            rank: of this process.
            ranks: their number; what they find is exchanged, so that all judge alike.
        """
        terms = {name: term for name, term in module.newest_terms.items() if not term.ndim}
        shown = [weight for weight in weights if weight.parameter.grad is not None]
        dtype = torch.float64 if module.dtype == torch.float64 else torch.float32
        gradients = [gradient for weight in weights if (gradient := weight.parameter.grad) is not None]
        norms = torch._foreach_norm(gradients, 2, dtype) if gradients else ()
        loss = terms["loss"].to(dtype)
        shared = {MEAN: loss}
        if ranks > 1:
            spoilt = torch.zeros(ranks, dtype=dtype, device=loss.device)
            own = torch.stack([loss, *(part.to(dtype) for part in self.losses)])
            spoilt[rank] = torch.isfinite(own).all().logical_not()
            mean, spoilt = Ranks(ranks).summed([loss / ranks, spoilt])
            shared = {MEAN: mean} | {f"{RANK}{place}": flag for place, flag in enumerate(spoilt)}
        self.labels = [*shared, *(f"{PART}{place}" for place in range(len(self.losses))), *terms]
        self.labels += [f"{GRADIENT}{weight.group}|{weight.name}" for weight in shown]
        self.rates = {str(group.get("name", place)): group["lr"] for place, group in enumerate(optimizer.param_groups)}
        values = [*shared.values(), *self.losses, *terms.values(), *norms]
        return torch.stack([value.to(dtype) for value in values])

    def values(self) -> dict[str, float]:
        """The numbers by what they are."""
        assert self.reading is not None
        return dict(zip(self.labels, self.reading.values(), strict=True))

    def row(self, values: Mapping[str, float]) -> Row:
        """The step in the ring; gradients of a group's parameters become one norm."""
        row: Row = {"step": self.number, "names": self.names, "note": ""}
        norms: dict[str, list[float]] = {}
        for name, value in values.items():
            if name.startswith(GRADIENT):
                norms.setdefault(name.partition("|")[0], []).append(value)
            else:
                row[name] = value
        row |= {group: math.hypot(*parts) for group, parts in norms.items()}
        return row | {f"{RATE}{group}": rate for group, rate in self.rates.items()}


def wrong_among(values: Mapping[str, float]) -> list[str]:
    """Names of the losses and gradients that are no finite numbers, and of the ranks that found such a loss.

    What is logged only, as a share of pixels, is not looked at.
    """
    wrong = [name for name, value in values.items() if not math.isfinite(value) and is_trained(name)]
    return wrong + [name for name, value in values.items() if name.startswith(RANK) and value]


def is_trained(name: str) -> bool:
    """Whether a number is a loss or a gradient."""
    begins = name.startswith((GRADIENT, PART))
    return begins or name in (MEAN, "loss") or name.partition(".")[2].startswith(TRAINED)


def in_words(wrong: Sequence[str], values: Mapping[str, float]) -> str:
    """What is wrong with a step, from `wrong_among`."""
    gradients = [name for name in wrong if name.startswith(GRADIENT)]
    terms = [name for name in wrong if name == "loss" or ("." in name and name not in gradients)]
    ranks = [name.removeprefix(RANK) for name in wrong if name.startswith(RANK)]
    parts = [name.removeprefix(PART) for name in wrong if name.startswith(PART)]
    said = [f"{name} is {values[name]}" for name in terms]
    if parts and not terms:
        said.append(f"the loss of micro-batch {', '.join(parts)} is no finite number")
    if ranks:
        said.append(f"found by rank {', '.join(ranks)}")
    if gradients and not said:
        group, _, first = gradients[0].removeprefix(GRADIENT).partition("|")
        count = sum(name.startswith(GRADIENT) for name in values)
        said.append(
            f"the gradient of {first} (group '{group}') is not finite, as of {len(gradients)} of {count} weights"
        )
    return ", ".join(said) or "the loss is no finite number"
