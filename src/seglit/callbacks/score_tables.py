"""Scores to read: a table for people, a file for machines."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from seglit.files import write_text
from seglit.metrics import Scores
from seglit.module import SegmentationModule


class ScoreTables(Callback):
    """Prints the scores of each class after each evaluation and keeps the newest of each stage in `metrics.json`.

    Args:
        folder: where `metrics.json` is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "metrics.json"
        self.metrics: dict[str, Any] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show and store the validation scores."""
        self._show(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show and store the test scores."""
        self._show(trainer, pl_module, "test")

    def _show(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or not isinstance(module, SegmentationModule):
            return
        scores = module.last_scores[stage]
        classes = trainer.datamodule.classes  # type: ignore[attr-defined]
        Console().print(score_table(scores, classes, f"{stage}, step {trainer.global_step}"))
        self.metrics |= metrics_of(scores, classes, stage) | {f"{stage}/step": trainer.global_step}
        write_text(self.path, json.dumps(self.metrics, indent=2) + "\n")


def metrics_of(scores: Scores, classes: list[str], stage: str) -> dict[str, Any]:
    """The scores under names such as `test/miou`; per class as `test/iou/<class>`, null for an absent class."""
    named: dict[str, Any] = {
        f"{stage}/{name}": getattr(scores, name) for name in ("miou", "macc", "aacc", "mdice", "fwiou")
    }
    for index, class_name in enumerate(classes):
        for name in ("iou", "recall", "precision", "dice"):
            named[f"{stage}/{name}/{class_name}"] = getattr(scores, name)[index].item()
    return {name: None if value != value else round(value, 6) for name, value in named.items()}


def score_table(scores: Scores, classes: list[str], title: str) -> Table:
    """A row for each class and one for the means, in percent; `-` for an absent class."""
    columns = ("iou", "recall", "precision", "dice")
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for column in columns:
        table.add_column(column, justify="right")
    for index, name in enumerate(classes):
        table.add_row(name, *(percent(getattr(scores, column)[index].item()) for column in columns))
    table.add_section()
    table.add_row("mean", percent(scores.miou), percent(scores.macc), "", percent(scores.mdice), style="bold")
    table.add_row("all pixels", "", percent(scores.aacc), "", "")
    return table


def percent(value: float) -> str:
    """`0.1234` as `12.34`, NaN as `-`."""
    return "-" if value != value else f"{100 * value:.2f}"
