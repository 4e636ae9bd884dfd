"""The running level of a loss, and whether the loss has left it."""

import math
from typing import Any

SETTLED = 20
"""Steps after which the level is taken for one."""
MEMORY = 50
"""Steps that it is the mean of, about."""


class Level:
    """Counts the steps in a row whose loss is far above the mean of those before.

    Steps that are far above do not raise the level. Losses of the first 20 steps only settle it.

    Args:
        factor: how many times the level is far above; above 1.
        steps: how many such steps in a row are a divergence; at least 1.

    Attributes:
        level: the level; 0 before the first loss.
        above: how many of the newest steps in a row were far above.
    """

    def __init__(self, factor: float, steps: int) -> None:
        self.factor = factor
        self.steps = steps
        self.level = 0.0
        self.above = 0
        self._count = 0

    def add(self, loss: float) -> bool:
        """Take a loss in; whether with it, and not before it, the loss has been far above for `steps` steps."""
        if self._count >= SETTLED and loss > self.factor * self.level:
            self.above += 1
            return self.above == self.steps
        self.above = 0
        if math.isfinite(loss):
            self._count += 1
            self.level += (loss - self.level) / min(self._count, MEMORY)
        return False

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on has to know."""
        return {"level": self.level, "above": self.above, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.level, self.above, self._count = state["level"], state["above"], state["count"]
