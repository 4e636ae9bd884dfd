"""A black box: what the last steps were, kept for the step that goes wrong."""

import warnings
from collections import deque
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from seglit.blackbox.bundle import Row
from seglit.blackbox.fault import TrainingFault
from seglit.blackbox.growth import growths
from seglit.blackbox.keeping import keep
from seglit.blackbox.level import Level
from seglit.blackbox.reading import Reading
from seglit.blackbox.step import MEAN, Step, Weight
from seglit.losses.pixels import can_look_at
from seglit.losses.whole_step import random_state
from seglit.module import SegmentationModule

SLOTS = 2
"""Steps whose buffers are kept: the one under way, and the one before, which may still have to be judged."""


class BlackBox(Callback):
    """Stops a run at the first loss or gradient that is no number, before it spoils the weights, and keeps the step.

    Each step leaves its samples, loss terms and gradient norms by group in a ring. At a fault the ring, the step's
    batch, the weights before it, the states of the generators and the configuration are written as a bundle,
    `<folder>/step_<number>/rank_<number>`, from which `seglit-replay` runs the step again and names the cause.

    The host never waits for a device that is at work on the step: its numbers are read a step later, and the weights
    before it are copied on the device. With `on_nonfinite="skip"` what comes next depends on them, so there the host
    waits in each step. On the CPU each step is judged before its weights change.

    With a gradient scaler, gradients that overflow are ordinary: the scaler leaves the step out and scales by less.
    Only `max_overflows` of them in a row are a fault. Over ranks, what one finds stops or skips the step on all, and
    each writes its part.

    Args:
        folder: where bundles go.
        on_nonfinite: `stop` ends the run; `skip` leaves the step out, weights, optimizer and running statistics
            unchanged, and ends it after `max_skipped` such steps. The first skipped step is kept as a bundle.
        max_skipped: steps that may be skipped in a run, resumed ones included; at least 1.
        max_overflows: steps in a row that a gradient scaler may leave out; at least 1.
        on_divergence: what to do when the loss is far above its running level for some steps: `warn` or `stop`.
        divergence_factor: how many times the running level is far above; above 1.
        divergence_steps: how many such steps in a row; at least 1.
        ring: steps that the ring holds; at least 2.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        folder: str | Path,
        on_nonfinite: Literal["stop", "skip"] = "stop",
        max_skipped: int = 10,
        max_overflows: int = 20,
        on_divergence: Literal["warn", "stop"] = "warn",
        divergence_factor: float = 10.0,
        divergence_steps: int = 20,
        ring: int = 100,
    ) -> None:
        for name, value, least in (
            ("max_skipped", max_skipped, 1),
            ("max_overflows", max_overflows, 1),
            ("divergence_steps", divergence_steps, 1),
            ("ring", ring, 2),
        ):
            if value < least:
                raise ValueError(f"BlackBox: {name} must be at least {least}, got {value}")
        if divergence_factor <= 1.0:
            raise ValueError(f"BlackBox: divergence_factor must be above 1, got {divergence_factor}")
        for name, choice, choices in (
            ("on_nonfinite", on_nonfinite, ("stop", "skip")),
            ("on_divergence", on_divergence, ("warn", "stop")),
        ):
            if choice not in choices:
                raise ValueError(f"BlackBox: {name} must be '{choices[0]}' or '{choices[1]}', got {choice!r}")
        self.folder = Path(folder)
        self.on_nonfinite = on_nonfinite
        self.max_skipped = max_skipped
        self.max_overflows = max_overflows
        self.on_divergence = on_divergence
        self.level = Level(divergence_factor, divergence_steps)
        self.rows: deque[Row] = deque(maxlen=ring)
        self.skipped = 0
        self.overflows = 0
        self._step: Step | None = None
        self._inside = False
        self._waiting: Step | None = None
        self._weights: list[Weight] = []
        self._weight_copies: list[Tensor] = []
        self._buffers: list[dict[str, Tensor]] = []
        self._buffer_copies: list[list[list[Tensor]]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse modules that it cannot look into.

        Raises:
            ValueError: where the module is no `SegmentationModule`.
        """
        if stage == "fit" and not isinstance(pl_module, SegmentationModule):
            raise ValueError(
                f"BlackBox: needs a seglit.module.SegmentationModule, got {type(pl_module).__name__}; "
                "set callbacks.black_box=null"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the weights once, and make room for their copies.

        Raises:
            TrainingFault: names the first weight that is not finite before any step, as of a damaged checkpoint.
        """
        state = [(name, value) for name, value in pl_module.state_dict().items() if value.is_floating_point()]
        finite = torch.stack([torch.isfinite(value).all() for _, value in state]).tolist()
        spoilt = [name for (name, _), good in zip(state, finite, strict=True) if not good]
        if spoilt:
            origin = f"the checkpoint {trainer.ckpt_path}" if trainer.ckpt_path else "the weights that it begins with"
            raise TrainingFault(
                f"before the first step, {spoilt[0]} is not finite, one of {len(spoilt)} such weights of {len(state)}; "
                f"{origin} cannot be trained on: give another ckpt_path, or weights for the net"
            )
        self._step = self._waiting = None
        self._weight_copies = []
        self._buffers = by_type(dict(pl_module.named_buffers()))
        self._buffer_copies = [
            [[torch.empty_like(buffer) for buffer in kind.values()] for kind in self._buffers] for _ in range(SLOTS)
        ]
        names = {id(parameter): name for name, parameter in pl_module.named_parameters()}
        self._weights = [
            Weight(str(group.get("name", place)), names[id(parameter)], parameter)
            for place, group in enumerate(trainer.optimizers[0].param_groups)
            for parameter in group["params"]
        ]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch and the states of the generators, and of a step's first batch the buffers."""
        self._inside = True
        if self._step is None:
            self._step = Step(trainer.global_step)
            for kind, copies in zip(self._buffers, self._copies(self._step), strict=True):
                torch._foreach_copy_(copies, list(kind.values()))
        self._step.begin(batch, random_state(trainer.strategy.root_device))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Keep the loss of the micro-batch."""
        assert self._step is not None
        self._step.losses.append(loss.detach())

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Judge the step before, or on the CPU this one.

        Raises:
            TrainingFault: where there is an end to it.
        """
        assert isinstance(pl_module, SegmentationModule)
        assert self._step is not None
        step, self._step = self._step, None
        self._settle(trainer, pl_module)
        numbers = step.numbers(pl_module, self._weights, optimizer, trainer.global_rank, trainer.world_size)
        at_once = can_look_at(numbers) or self.on_nonfinite == "skip"
        step.reading = Reading(numbers, at_once=at_once)
        self._waiting = step
        if at_once:
            self._settle(trainer, pl_module)
            return
        weights = [weight.parameter for weight in self._weights]
        self._weight_copies = self._weight_copies or [torch.empty_like(weight) for weight in weights]
        torch._foreach_copy_(self._weight_copies, weights)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that errors to come are none of the batch."""
        self._inside = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the last step, before its weights are evaluated."""
        self._settle(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Judge the last step, before its weights are saved."""
        self._settle(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the last step."""
        self._settle(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep the step that an error ended."""
        step, self._step = self._step, None
        if step is None or not self._inside or not isinstance(exception, Exception):
            return
        assert isinstance(pl_module, SegmentationModule)
        said = f"{type(exception).__name__}: {exception}"
        where = self._keep(trainer, pl_module, step, "error", said)
        warnings.warn(f"step {step.number} ended by {said}; {where}", stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on has to know."""
        return {"skipped": self.skipped, "overflows": self.overflows, "level": self.level.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.skipped, self.overflows = state_dict["skipped"], state_dict["overflows"]
        self.level.load_state_dict(state_dict["level"])

    def _copies(self, step: Step) -> list[list[Tensor]]:
        """The buffers as they were before a step, by type."""
        return self._buffer_copies[step.number % SLOTS]

    def _settle(self, trainer: Trainer, module: LightningModule) -> None:
        """Judge the step that waits, if there is one."""
        step, self._waiting = self._waiting, None
        if step is None:
            return
        assert isinstance(module, SegmentationModule)
        step.read()
        self.rows.append(step.row())
        losses, weights = step.wrong_losses(), step.wrong_weights()
        if not losses and not weights:
            self.overflows = 0
            if self.level.add(step.values[MEAN]):
                self._diverged(trainer, module, step)
        elif not losses and self._is_left_out(trainer):
            self.rows[-1]["note"] = "overflow"
        else:
            self._fault(trainer, module, step)

    def _is_left_out(self, trainer: Trainer) -> bool:
        """Whether a scaler sees to gradients that have overflowed."""
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            return False
        self.overflows += 1
        return self.overflows < self.max_overflows

    def _fault(self, trainer: Trainer, module: SegmentationModule, step: Step) -> None:
        """Skip the step, or end the run."""
        problem = step.in_words()
        self._put_back(step)
        self.rows[-1]["note"] = "fault"
        if self.overflows >= self.max_overflows:
            problem = f"the gradient scaler has left out {self.overflows} steps in a row; {problem}"
        if self.on_nonfinite == "stop" or self.skipped >= self.max_skipped:
            limit = f", after {self.skipped} skipped ones, which are all of max_skipped" if self.skipped else ""
            where = self._kept_by_all(trainer, module, step, "nonfinite", problem)
            raise TrainingFault(f"step {step.number}: {problem}{limit}; {where}")
        self.skipped += 1
        where = (
            self._keep(trainer, module, step, "nonfinite", problem) if self.skipped == 1 else "the first has a bundle"
        )
        for weight in self._weights:
            # An optimizer passes over what has no gradient, with its decay and its momentum.
            weight.parameter.grad = None
        said = f"step {step.number} is skipped, {self.skipped} of at most {self.max_skipped}: {problem}; {where}"
        warnings.warn(said, stacklevel=2)

    @torch.no_grad()
    def _put_back(self, step: Step) -> None:
        """Give the module the buffers from before the step, and the weights, where it has been taken."""
        for kind, copies in zip(self._buffers, self._copies(step), strict=True):
            torch._foreach_copy_(list(kind.values()), copies)
        if self._weight_copies:
            torch._foreach_copy_([weight.parameter for weight in self._weights], self._weight_copies)

    def _diverged(self, trainer: Trainer, module: SegmentationModule, step: Step) -> None:
        """Warn, or end the run."""
        level = self.level
        grown = "; ".join(map(str, growths(self.rows)[:1])) or "no gradient is known of the steps before"
        problem = (
            f"the loss has been above {level.factor:g} times its running level, {level.level:.4g}, for {level.above} "
            f"steps, and is {step.values[MEAN]:.4g}; {grown}; a lower learning rate, a longer warm-up or "
            "trainer.gradient_clip_val may help"
        )
        if self.on_divergence == "stop":
            where = self._kept_by_all(trainer, module, step, "divergence", problem)
            raise TrainingFault(f"step {step.number}: {problem}; {where}")
        if trainer.is_global_zero:
            warnings.warn(f"step {step.number}: {problem}", stacklevel=2)

    def _kept_by_all(self, trainer: Trainer, module: SegmentationModule, step: Step, kind: str, problem: str) -> str:
        """Write the bundle, and wait until all ranks have, as the first that ends takes the others down."""
        where = self._keep(trainer, module, step, kind, problem)
        trainer.strategy.barrier("black box")
        return where

    def _keep(self, trainer: Trainer, module: SegmentationModule, step: Step, kind: str, problem: str) -> str:
        kinds = zip(self._buffers, self._copies(step), strict=True)
        buffers = {name: copy for kind_of, copies in kinds for name, copy in zip(kind_of, copies, strict=True)}
        return keep(self.folder, trainer, module, step, self.rows, buffers, kind, problem)


def by_type(buffers: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The buffers apart by type, as copies of one type are made in one go."""
    kinds: dict[torch.dtype, dict[str, Tensor]] = {}
    for name, buffer in buffers.items():
        kinds.setdefault(buffer.dtype, {})[name] = buffer
    return list(kinds.values())
