"""The progress bar of a run counted in steps."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme
from lightning.pytorch.utilities.types import STEP_OUTPUT


class Progress(RichProgressBar):
    """Lightning's rich bar, without the epoch, which an endless data set has not, and without the logger's version.

    Steps between two drawings cost nothing, and as to draw takes milliseconds in which no step goes on, there are few.

    Args:
        refresh_rate: drawings a second; 0 switches the bar off.
        leave: whether the bar stays on the terminal when the run is done.
        theme: its colours.
        console_kwargs: arguments of the `rich.console.Console`.
    """

    def __init__(
        self,
        refresh_rate: int = 4,
        leave: bool = False,
        theme: RichProgressBarTheme = RichProgressBarTheme(),  # noqa: B008, as in Lightning's
        console_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(refresh_rate, leave, theme, console_kwargs)
        self._next_update = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar on, if it may be drawn by now, and at the end."""
        now = time.monotonic()
        if self.is_enabled and (now >= self._next_update or trainer.global_step >= trainer.max_steps):
            self._next_update = now + 1 / self.refresh_rate
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The numbers at the end of the bar."""
        metrics = dict(super().get_metrics(trainer, pl_module))
        metrics.pop("v_num", None)
        return metrics

    def _get_train_description(self, current_epoch: int) -> str:
        return "training"
