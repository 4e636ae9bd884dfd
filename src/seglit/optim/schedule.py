"""What all learning-rate schedules share: warm-up, floor, where the decay is, and what a checkpoint keeps."""

import inspect
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

COMPAT = (None, "mmseg-0.25", "mmseg-1.2")
WARMUPS = (None, "linear", "constant", "exp")
STARTS = (None, "warmup_end", "start")
FLOORS = (None, "absolute", "relative")
DEFAULT_WARMUP_RATIO = 0.1


class Schedule(LRScheduler, ABC):
    """A warm-up and a decay, as a closed form of the step; to be stepped once after each optimizer step.

    The first optimizer step has the rate of step 0, the last that of `total_steps - 1`. Each group's own
    base rate is multiplied, floor included, so that groups keep their ratios throughout:

        rate(step) = base * warmup_factor(step) * (min_lr_ratio + (1 - min_lr_ratio) * decay(step))

    A checkpoint can be resumed only with the options and base rates that it was saved with, as torch would
    quietly train on with the saved ones, whatever the configuration says now.

    The options mean the same in all schedules that have them:

    - `total_steps`: number of optimizer steps of the run.
    - `min_lr_ratio`: the floor to which the rate falls, as a share of the base rate.
    - `warmup_steps`: number of steps during which a factor grows to 1.
    - `warmup_ratio`: the factor at step 0, in (0, 1); 0.1 if there is a warm-up.
    - `warmup`: how the factor grows: "linear" (the default), "exp" (by equal ratios) or "constant" (last).
    - `decay_from`: where the decay begins: at the "warmup_end" (the default), or at the "start", under the
      warm-up.
    - `hold_steps`: number of steps at the end of the run that stay at the floor.
    - `compat`: "mmseg-0.25" or "mmseg-1.2" for that version's arithmetic, where it differs. In both, the
      floor is `min_lr_ratio` times the optimizer's own lr for all groups alike, so that their ratios change.
      In 0.25 the decay is from the start. In 1.2 the warm-up ends a step earlier, poly reaches the floor a
      step earlier, and a warm-up over a decay scales the floor again at each step.
    - `floor`: with `compat`, "relative" for the share of each group's own base rate after all, as in
      MMSegmentation's `PolyLRRatio` and in mmcv 1.x's `min_lr_ratio`.

    Raises:
        ValueError: If a value is out of range, or has no effect together with the others.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        *,
        warmup_steps: int,
        warmup_ratio: float | None,
        warmup: str | None,
        compat: str | None,
        min_lr_ratio: float = 0.0,
        decay_from: str | None = None,
        hold_steps: int = 0,
        floor: str | None = None,
    ) -> None:
        self.total_steps = total_steps
        self.min_lr_ratio = min_lr_ratio
        self.warmup_steps = warmup_steps
        self.warmup_ratio = warmup_ratio
        self.warmup = warmup
        self.decay_from = decay_from
        self.hold_steps = hold_steps
        self.floor = floor
        self.compat = compat
        self._check_warmup()
        self._check_floor()

        # Decays run over [begin, end), and are at the floor from `end` on.
        from_start = decay_from == "start" or compat == "mmseg-0.25"
        self._begin = 0 if from_start else warmup_steps
        self._end = total_steps - hold_steps
        shared_floor = compat is not None and floor != "relative"
        self._shared_floor = min_lr_ratio * float(optimizer.defaults["lr"]) if shared_floor else None
        chained = compat == "mmseg-1.2" and decay_from == "start" and min_lr_ratio > 0
        self._chain = self._chained_floor() if chained else []
        # Last, as it sets the rates of step 0.
        super().__init__(optimizer)

    @abstractmethod
    def decay(self, step: int) -> float:
        """What is left of the rate above the floor at a step, from 1 down to 0."""

    def warmup_factor(self, step: int) -> float:
        """What the warm-up multiplies the rate by at a step; 1 when it is over."""
        # MMEngine reaches the full rate at the warm-up's last step, and has it again at the next.
        steps = self.warmup_steps - 1 if self.compat == "mmseg-1.2" else self.warmup_steps
        if step >= steps:
            return 1.0
        ratio = DEFAULT_WARMUP_RATIO if self.warmup_ratio is None else self.warmup_ratio
        match self.warmup:
            case "constant":
                return ratio
            case "exp":
                return float(ratio ** (1 - step / steps))
            case _:
                return ratio + (1 - ratio) * step / steps

    def rate(self, step: int, base_lr: float) -> float:
        """The learning rate at a step of a group with this base rate."""
        return self._rates(step, [base_lr])[0]

    def get_lr(self) -> list[float | Tensor]:
        """The rates of all groups at the current step; for torch, others want `get_last_lr`."""
        return [*self._rates(self.last_epoch, [float(base_lr) for base_lr in self.base_lrs])]

    def state_dict(self) -> dict[str, Any]:
        """Position, base rates and options: plain numbers, strings and lists."""
        return {
            "last_epoch": self.last_epoch,
            "step_count": self._step_count,
            "base_lrs": [float(base_lr) for base_lr in self.base_lrs],
            "last_lr": [float(lr) for lr in self._last_lr],
            "options": self._options(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the saved position.

        Raises:
            ValueError: If the state was saved with other options or base rates than this schedule has.
        """
        saved, current = state_dict["options"], self._options()
        differences = [
            f"{name} was {saved.get(name)} and is now {current.get(name)}"
            for name in dict.fromkeys([*saved, *current])
            if saved.get(name) != current.get(name)
        ]
        names = [group.get("name", index) for index, group in enumerate(self.optimizer.param_groups)]
        differences += [
            f"the base rate of group {name} was {old} and is now {new}"
            for name, old, new in zip(names, state_dict["base_lrs"], map(float, self.base_lrs), strict=True)
            if old != new
        ]
        if differences:
            raise ValueError(
                f"the checkpoint was saved with another schedule: {'; '.join(differences)}. Resume with the "
                f"saved values, or begin a new run from the weights alone"
            )
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict["step_count"]
        self._last_lr = list(state_dict["last_lr"])

    def _rates(self, step: int, base_lrs: list[float]) -> list[float]:
        share = self.warmup_factor(step) * self.decay(step)
        floor_share = self._floor_share(step)
        if self._shared_floor is None:
            factor = share + self.min_lr_ratio * floor_share
            return [base_lr * factor for base_lr in base_lrs]
        return [base_lr * share + self._shared_floor * floor_share for base_lr in base_lrs]

    def _options(self) -> dict[str, Any]:
        """The constructor's arguments, each of which is an attribute of the same name."""
        names = [name for name in inspect.signature(type(self)).parameters if name != "optimizer"]
        return {"schedule": type(self).__name__, **{name: getattr(self, name) for name in names}}

    def _floor_share(self, step: int) -> float:
        """How much of the floor is in the rate of a step."""
        if not self._chain:
            return self.warmup_factor(step) * (1 - self.decay(step))
        if step < self.warmup_steps:
            return self._chain[step]
        return 1 - (1 - self._chain[-1]) * self.decay(step) / self.decay(self.warmup_steps - 1)

    def _chained_floor(self) -> list[float]:
        """`_floor_share` during a warm-up that overlaps the decay, as MMEngine's two schedulers make it.

        Each step first multiplies the last rate by the ratio of warm-up factors, then moves it towards the
        floor by the ratio of decays, so that the warm-up scales again what the decay has just added.
        """
        shares = [0.0]
        for step in range(1, self.warmup_steps):
            warmed = shares[-1] * self.warmup_factor(step) / self.warmup_factor(step - 1)
            shares.append(1 - (1 - warmed) * self.decay(step) / self.decay(step - 1))
        return shares

    def _check_warmup(self) -> None:
        if self.compat not in COMPAT:
            raise ValueError(f"compat must be one of {', '.join(map(str, COMPAT))}, got {self.compat!r}")
        if self.total_steps < 1:
            raise ValueError(
                f"total_steps must be at least 1, got {self.total_steps}; a schedule needs to know its end, "
                f"so give trainer.max_steps a number"
            )
        # MMEngine's poly ends one step earlier, so it needs one more.
        least = 2 if self.compat == "mmseg-1.2" else 1
        if min(self.warmup_steps, self.hold_steps) < 0 or (
            self.total_steps - self.warmup_steps - self.hold_steps < least
        ):
            raise ValueError(
                f"warmup_steps={self.warmup_steps} and hold_steps={self.hold_steps} must be 0 or more, and "
                f"leave at least {least} of total_steps={self.total_steps} between them"
            )
        for name, value in {"warmup_ratio": self.warmup_ratio, "warmup": self.warmup}.items():
            if value is not None and self.warmup_steps == 0:
                raise ValueError(f"{name}={value} has no effect with warmup_steps=0; leave it out")
        if self.warmup_ratio is not None and not 0 < self.warmup_ratio < 1:
            raise ValueError(f"warmup_ratio must be between 0 and 1, both excluded, got {self.warmup_ratio}")
        if self.warmup not in WARMUPS:
            raise ValueError(f"warmup must be linear, constant or exp, got {self.warmup!r}")
        if self.compat == "mmseg-1.2" and self.warmup not in (None, "linear"):
            raise ValueError(f"warmup={self.warmup!r} is not there with compat='mmseg-1.2', only linear")
        if self.compat == "mmseg-1.2" and self.warmup_steps == 1:
            raise ValueError(
                "warmup_steps=1 with compat='mmseg-1.2' would never leave warmup_ratio; give 0, or 2 or more"
            )

    def _check_floor(self) -> None:
        if not 0 <= self.min_lr_ratio < 1:
            raise ValueError(f"min_lr_ratio must be at least 0 and less than 1, got {self.min_lr_ratio}")
        if self.decay_from not in STARTS:
            raise ValueError(f"decay_from must be warmup_end or start, got {self.decay_from!r}")
        if self.decay_from is not None and (self.warmup_steps == 0 or self.compat == "mmseg-0.25"):
            raise ValueError(
                f"decay_from={self.decay_from!r} has no effect with warmup_steps={self.warmup_steps} and "
                f"compat={self.compat!r}: without a warm-up, and in mmseg-0.25, the decay is from the start"
            )
        if self.floor not in FLOORS:
            raise ValueError(f"floor must be absolute or relative, got {self.floor!r}")
        if self.floor is not None and (self.compat is None or self.min_lr_ratio == 0):
            raise ValueError(
                f"floor={self.floor!r} has no effect with min_lr_ratio={self.min_lr_ratio} and "
                f"compat={self.compat!r}: without compat the floor is always relative"
            )
        if self.hold_steps > 0 and self.min_lr_ratio == 0:
            raise ValueError(f"hold_steps={self.hold_steps} would train at rate zero; give a min_lr_ratio too")
