"""Pictures of a run: what the net sees, how it learns, what it confuses."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from seglit.module import SegmentationModule
from seglit.pictures import colourise, confusion_figure, curves_figure, panel, save_figure, save_png


class Pictures(Callback):
    """Keeps pictures in a folder.

    `val/<step>/` and `test/`: image, truth and prediction of the first images of the split. `curves.png`: losses,
    learning rates and scores over the steps. `confusion_<stage>.png`: the newest confusion matrix.

    Args:
        folder: where the pictures go.
        count: images of each evaluation to picture; not negative.
    """

    def __init__(self, folder: str | Path, count: int = 4) -> None:
        if count < 0:
            raise ValueError(f"count: must not be negative, got {count}")
        self.folder = Path(folder)
        self.count = count
        self.history: dict[str, tuple[list[int], list[float]]] = {}
        self._left = count

    def state_dict(self) -> dict[str, Any]:
        """The curves so far, for a resume."""
        return {"history": {name: [list(steps), list(values)] for name, (steps, values) in self.history.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curves of the run that is resumed."""
        self.history = {name: (list(steps), list(values)) for name, (steps, values) in state_dict["history"].items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the losses and learning rates at the steps that are logged."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.global_step == 0 or trainer.global_step % every:
            return
        self._note(trainer, "train/")
        for group in trainer.optimizers[0].param_groups:
            self._append(f"lr/{group['name']}", trainer.global_step, float(group["lr"]))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new set of pictures."""
        self._left = self.count

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Picture the first validation images."""
        self._picture(trainer, pl_module, outputs, batch, self.folder / "val" / f"step_{trainer.global_step:06d}")

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Picture the first test images."""
        self._picture(trainer, pl_module, outputs, batch, self.folder / "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the scores and draw the curves and the confusion matrix."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._note(trainer, "val/")
            save_figure(curves_figure(self.history), self.folder / "curves.png")
            self._draw_confusion(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the confusion matrix."""
        if trainer.is_global_zero:
            self._draw_confusion(trainer, pl_module, "test")

    def _note(self, trainer: Trainer, prefix: str) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith(prefix):
                # Accuracies in training are percentages; beside scores they are drawn as shares.
                share = float(value) / 100 if name.endswith("acc_seg") else float(value)
                self._append(name, trainer.global_step, share)

    def _append(self, name: str, step: int, value: float) -> None:
        steps, values = self.history.setdefault(name, ([], []))
        steps.append(step)
        values.append(value)

    def _picture(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: dict[str, Any], folder: Path
    ) -> None:
        if not trainer.is_global_zero or self._left <= 0 or not isinstance(module, SegmentationModule):
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (data.mean, data.std))
        for image, labels, prediction, name in zip(
            batch["image"].cpu(), batch["labels"].cpu(), outputs["predictions"].cpu(), batch["name"], strict=True
        ):
            if self._left <= 0:
                return
            self._left -= 1
            pixels = (image.float() * std + mean).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
            maps = [colourise(array.numpy(), data.palette, data.ignore_index) for array in (labels, prediction)]
            picture = panel([pixels, *maps], ["image", "truth", "prediction"], data.classes, data.palette)
            save_png(folder / f"{name}.png", picture)

    def _draw_confusion(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if isinstance(module, SegmentationModule):
            classes = trainer.datamodule.classes  # type: ignore[attr-defined]
            figure = confusion_figure(module.evaluations[stage].matrix.cpu().numpy(), classes)
            save_figure(figure, self.folder / f"confusion_{stage}.png")
