"""Scores to read: a table for people, a file for machines."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console, Group
from rich.table import Table
from torch import Tensor

from seglit.files import write_text
from seglit.module import Evaluation, SegmentationModule


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
        evaluation = module.evaluations[stage]
        classes = trainer.datamodule.classes  # type: ignore[attr-defined]
        Console().print(score_table(evaluation, classes, f"{stage}, step {trainer.global_step}"))
        self.metrics |= metrics_of(evaluation, classes, stage) | {f"{stage}/step": trainer.global_step}
        write_text(self.path, json.dumps(self.metrics, indent=2) + "\n")


def metrics_of(evaluation: Evaluation, classes: list[str], stage: str) -> dict[str, Any]:
    """The scores under names such as `test/miou`; per class as `test/iou/<class>`, null for an absent class.

    `test/miou_low` and `test/miou_high` are the bounds of `seglit.bootstrap.miou_interval`.
    """
    scores = evaluation.scores
    named: dict[str, Any] = {
        f"{stage}/{name}": getattr(scores, name) for name in ("miou", "macc", "aacc", "mdice", "fwiou")
    }
    named |= {f"{stage}/miou_{end}": getattr(evaluation.interval, end) for end in ("low", "high")}
    columns = class_columns(evaluation)
    if evaluation.boundary is not None:
        named[f"{stage}/boundary_miou"] = evaluation.boundary.nanmean().item()
    for index, class_name in enumerate(classes):
        named |= {f"{stage}/{name}/{class_name}": values[index].item() for name, values in columns.items()}
    return {name: None if value != value else round(value, 6) for name, value in named.items()}


def class_columns(evaluation: Evaluation) -> dict[str, Tensor]:
    """The scores that there are for each class, by name."""
    columns = {name: getattr(evaluation.scores, name) for name in ("iou", "recall", "precision", "dice")}
    return columns if evaluation.boundary is None else columns | {"boundary_iou": evaluation.boundary}


def score_table(evaluation: Evaluation, classes: list[str], title: str) -> Group:
    """A row for each class and one for the means, in percent; `-` for an absent class. Below: how sure the mIoU is."""
    scores, columns = evaluation.scores, class_columns(evaluation)
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for index, name in enumerate(classes):
        table.add_row(name, *(percent(values[index].item()) for values in columns.values()))
    table.add_section()
    means = [percent(scores.miou), percent(scores.macc), "", percent(scores.mdice)]
    if evaluation.boundary is not None:
        means.append(percent(evaluation.boundary.nanmean().item()))
    table.add_row("mean", *means, style="bold")
    table.add_row("all pixels", "", percent(scores.aacc), "", "")
    # Not as a caption, which is folded to the width of the table.
    return Group(table, interval_text(evaluation))


def interval_text(evaluation: Evaluation) -> str:
    """The mIoU with its interval, in words."""
    count, (low, high) = evaluation.images.images, evaluation.interval
    if low != low:
        return f"mIoU {percent(evaluation.scores.miou)} of {count} image(s); how it varies over images cannot be said"
    interval = f"95 % interval {percent(low)} to {percent(high)}"
    return f"mIoU {percent(evaluation.scores.miou)}, {interval} over {count} images"


def percent(value: float) -> str:
    """`0.1234` as `12.34`, NaN as `-`."""
    return "-" if value != value else f"{100 * value:.2f}"
