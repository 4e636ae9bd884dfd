"""The learning-rate schedules. `Schedule` says what their common options mean."""

import math
from collections.abc import Sequence

from torch.optim import Optimizer

from seglit.optim.schedule import Schedule


class PolyLR(Schedule):
    """Falls by `(1 - progress) ** power` (Chen et al., DeepLab, TPAMI 2018).

    It reaches the floor at the end of the run, after the last step, so that no step trains at rate zero.

    Args:
        optimizer: Its groups' learning rates are the base rates.
        total_steps: Number of optimizer steps of the run.
        power: 1 falls in a straight line; less than 1 falls late.
        min_lr_ratio: For this and all others see `Schedule`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        power: float = 0.9,
        min_lr_ratio: float = 0.0,
        warmup_steps: int = 0,
        warmup_ratio: float | None = None,
        warmup: str | None = None,
        decay_from: str | None = None,
        hold_steps: int = 0,
        floor: str | None = None,
        compat: str | None = None,
    ) -> None:
        if not 0 < power < math.inf:
            raise ValueError(f"power must be more than 0, got {power}")
        self.power = power
        super().__init__(
            optimizer,
            total_steps,
            warmup_steps=warmup_steps,
            warmup_ratio=warmup_ratio,
            warmup=warmup,
            compat=compat,
            min_lr_ratio=min_lr_ratio,
            decay_from=decay_from,
            hold_steps=hold_steps,
            floor=floor,
        )

    def decay(self, step: int) -> float:
        """`(1 - progress) ** power`."""
        # MMEngine is at the floor at its last step already, not after it.
        end = self._end - 1 if self.compat == "mmseg-1.2" else self._end
        return float((1 - progress(step, self._begin, end)) ** self.power)


class CosineLR(Schedule):
    """Falls by half a cosine (Loshchilov and Hutter, SGDR, ICLR 2017, eq. 5), without restarts.

    Args:
        optimizer: Its groups' learning rates are the base rates.
        total_steps: Number of optimizer steps of the run.
        min_lr_ratio: For this and all others see `Schedule`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        min_lr_ratio: float = 0.0,
        warmup_steps: int = 0,
        warmup_ratio: float | None = None,
        warmup: str | None = None,
        decay_from: str | None = None,
        hold_steps: int = 0,
        floor: str | None = None,
        compat: str | None = None,
    ) -> None:
        super().__init__(
            optimizer,
            total_steps,
            warmup_steps=warmup_steps,
            warmup_ratio=warmup_ratio,
            warmup=warmup,
            compat=compat,
            min_lr_ratio=min_lr_ratio,
            decay_from=decay_from,
            hold_steps=hold_steps,
            floor=floor,
        )

    def decay(self, step: int) -> float:
        """`(1 + cos(pi progress)) / 2`."""
        return (1 + math.cos(math.pi * progress(step, self._begin, self._end))) / 2


class MultiStepLR(Schedule):
    """The base rate, multiplied by `gamma` at each milestone.

    Args:
        optimizer: Its groups' learning rates are the base rates.
        total_steps: Number of optimizer steps of the run.
        milestones: The first steps with the lesser rate: integers, or fractions of `total_steps` in (0, 1).
            With `compat="mmseg-1.2"` they count from the end of the warm-up.
        gamma: Factor in (0, 1).
        warmup_steps: For this and all others see `Schedule`.

    Raises:
        ValueError: Also if milestones do not increase, or are not within the run.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        milestones: Sequence[int | float],
        gamma: float = 0.1,
        warmup_steps: int = 0,
        warmup_ratio: float | None = None,
        warmup: str | None = None,
        compat: str | None = None,
    ) -> None:
        if not 0 < gamma < 1:
            raise ValueError(f"gamma must be between 0 and 1, both excluded, got {gamma}")
        begin = warmup_steps if compat == "mmseg-1.2" else 0
        self._drops = [begin + round(m * total_steps if 0 < m < 1 else m) for m in milestones]
        bounds = [0, *self._drops, total_steps]
        whole = all(m < 1 or m == int(m) for m in milestones)
        if not milestones or not whole or bounds != sorted(set(bounds)):
            raise ValueError(
                f"milestones must be increasing steps of the run, or fractions of it, "
                f"got {list(milestones)}, which makes {self._drops} of total_steps={total_steps}"
            )
        self.milestones = list(milestones)
        self.gamma = gamma
        super().__init__(
            optimizer,
            total_steps,
            warmup_steps=warmup_steps,
            warmup_ratio=warmup_ratio,
            warmup=warmup,
            compat=compat,
        )

    def decay(self, step: int) -> float:
        """`gamma` to the power of the number of milestones reached."""
        return float(self.gamma ** sum(step >= drop for drop in self._drops))


class ConstantLR(Schedule):
    """The base rate throughout, after a warm-up if there is one.

    Args:
        optimizer: Its groups' learning rates are the base rates.
        total_steps: Number of optimizer steps of the run.
        warmup_steps: For this and all others see `Schedule`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int = 0,
        warmup_ratio: float | None = None,
        warmup: str | None = None,
        compat: str | None = None,
    ) -> None:
        super().__init__(
            optimizer,
            total_steps,
            warmup_steps=warmup_steps,
            warmup_ratio=warmup_ratio,
            warmup=warmup,
            compat=compat,
        )

    def decay(self, step: int) -> float:
        """Always 1."""
        return 1.0


def progress(step: int, begin: int, end: int) -> float:
    """How far a step is from `begin` to `end`: 0 before, 1 from `end` on."""
    return min(max((step - begin) / (end - begin), 0.0), 1.0)
