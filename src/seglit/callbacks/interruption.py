"""A run that is asked to stop ends whole: after a step, with a checkpoint of it."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGREE_EVERY = 10
"""Batches between two times that several processes ask each other, which makes each wait for all."""


class Interruption(Checkpoint):
    """Saves and stops after the step in which SIGTERM or SIGINT (Ctrl-C) comes; a second SIGINT stops at once.

    Where several processes train, one that is asked tells the others within ten batches. SLURM's own signal before the
    end of a job's time, SIGUSR1 by default, stays Lightning's, which saves and puts the job back into the queue.

    It is a `Checkpoint` so that Lightning calls it last, when all others are done with the batch.

    Args:
        path: where the checkpoint is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def exit_status(self) -> int:
        """What the shell is told of a run that was stopped: 128 and the number of the signal."""
        return 128 + int(self.signal or 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen, in place of Lightning, which ends on SIGTERM without a checkpoint."""
        self.signal = None
        # Python lets only this thread listen.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._asked) for number in SIGNALS}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if this was the last batch of a step and a signal came."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches or not self._is_asked(trainer, batch_idx):
            return
        trainer.save_checkpoint(self.path)
        trainer.should_stop = True
        # Or Lightning would go on to the least number of steps, and evaluate in the end.
        trainer.fit_loop.epoch_loop.min_steps = None
        trainer.limit_val_batches = 0
        self.signal = self.signal or signal.SIGTERM

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen no more."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Listen no more."""
        self._restore()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        # By the system alone: a print may be what the signal interrupts.
        more = "; Ctrl-C again stops at once, and loses it" if number == signal.SIGINT else ""
        os.write(sys.stderr.fileno(), f"\nstops after this step, with a checkpoint{more}\n".encode())

    def _is_asked(self, trainer: Trainer, batch_idx: int) -> bool:
        asked = self.signal is not None
        if trainer.world_size == 1:
            return asked
        if (batch_idx + 1) // trainer.accumulate_grad_batches % AGREE_EVERY:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(asked, all=False))

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
