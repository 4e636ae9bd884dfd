"""Which parameter group grew before a step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seglit.blackbox.bundle import Row

GRADIENT = "gradient/"


@dataclass(frozen=True)
class Growth:
    """How the gradient of a group grew over the ring.

    Attributes:
        group: its name.
        before: its norm at the ring's calmest step.
        now: its norm at the newest step; infinite where that is no number.
        lr: its learning rate at the newest step.
    """

    group: str
    before: float
    now: float
    lr: float

    @property
    def ratio(self) -> float:
        """How many times greater it is."""
        return self.now / self.before if self.before > 0 else math.inf

    def __str__(self) -> str:
        return f"the gradient of group '{self.group}' went from {self.before:.3g} to {self.now:.3g} at lr {self.lr:.3g}"


def growths(rows: Sequence[Row]) -> list[Growth]:
    """Of each group, that which grew most first; empty where fewer than two steps have gradients."""
    rows = [row for row in rows if any(name.startswith(GRADIENT) for name in row)]
    if len(rows) < 2:
        return []
    found = []
    for name, value in rows[-1].items():
        if name.startswith(GRADIENT):
            group = name.removeprefix(GRADIENT)
            earlier = [row[name] for row in rows[:-1] if math.isfinite(row.get(name, math.nan)) and row[name] > 0]
            now = value if math.isfinite(value) else math.inf
            found.append(Growth(group, min(earlier, default=0.0), now, rows[-1][f"lr/{group}"]))
    return sorted(found, key=lambda growth: growth.ratio * growth.lr, reverse=True)
