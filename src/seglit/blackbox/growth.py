"""Which parameter group went away before a step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seglit.blackbox.bundle import Row

GRADIENT, RATE = "gradient/", "lr/"


@dataclass(frozen=True)
class Growth:
    """How the gradient of a group grew over the ring.

    Attributes:
        group: its name.
        before: its norm where it was least.
        now: its norm at the newest step at which those of all groups are finite.
        lr: its learning rate there.
    """

    group: str
    before: float
    now: float
    lr: float

    @property
    def stride(self) -> float:
        """How far plain gradient descent would move the group."""
        return self.now * self.lr

    def __str__(self) -> str:
        return f"the gradient of group '{self.group}' went from {self.before:.3g} to {self.now:.3g} at lr {self.lr:.3g}"


def growths(rows: Sequence[Row]) -> list[Growth]:
    """Of each group, that first whose learning rate times gradient is greatest; empty where no step has gradients."""
    known = [row for row in rows if (of := gradients_of(row)) and all(map(math.isfinite, of.values()))]
    if not known:
        return []
    found = []
    for group, now in gradients_of(known[-1]).items():
        before = min(of[group] for row in known if group in (of := gradients_of(row)))
        found.append(Growth(group, before, now, known[-1][f"{RATE}{group}"]))
    return sorted(found, key=lambda growth: growth.stride, reverse=True)


def gradients_of(row: Row) -> dict[str, float]:
    """The gradient norms of a row by group."""
    return {name.removeprefix(GRADIENT): value for name, value in row.items() if name.startswith(GRADIENT)}
