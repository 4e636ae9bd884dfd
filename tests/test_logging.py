"""What reaches loggers, progress bar and callbacks, and how often."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from conftest import tiny_overrides
from seglit.build import build
from seglit.callbacks import Progress
from seglit.callbacks.step_seed import seed_devices
from seglit.config import compose


class Book(Logger):
    """Keeps all that it is told."""

    name, version = "book", 0

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int | None, dict[str, float]]] = []

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.told.append((step, dict(metrics)))


class Watcher(Callback):
    """Notes what callbacks see of each step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []
        self.bar: list[dict[str, Any]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        names = trainer.callback_metrics
        self.seen.append({name: float(value) for name, value in names.items() if name.startswith("train/")})
        self.bar.append(dict(trainer.progress_bar_metrics))


def test_a_step_is_handed_over_in_one_piece(tiny_data: Path, tmp_path: Path) -> None:
    told = ["+tricks=ohem", "trainer.max_steps=4", "trainer.val_check_interval=4", "trainer.log_every_n_steps=2"]
    parts = build(compose(tiny_overrides(tiny_data, tmp_path / "run", *told)))
    book, watcher = Book(), Watcher()
    parts.trainer.loggers = [book]
    parts.trainer.callbacks.insert(0, watcher)
    parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    train = [(step, metrics) for step, metrics in book.told if "train/loss" in metrics]
    assert [step for step, _ in train] == [1, 3]
    names = {"train/loss", "train/decode.loss_ce", "train/aux.loss_ce", "train/decode.acc_seg", "epoch"}
    assert names < set(train[0][1])
    assert {f"train/decode.kept_share_by_class/{label}" for label in parts.datamodule.classes} < set(train[0][1])
    assert not watcher.seen[0]
    for number in (1, 2):
        assert watcher.seen[number] == pytest.approx(drop_epoch(train[0][1]), nan_ok=True)
        assert watcher.bar[number]["train/loss"] == train[0][1]["train/loss"]
    assert watcher.seen[3] == pytest.approx(drop_epoch(train[1][1]), nan_ok=True)
    assert 0 < watcher.bar[3]["lr"] < watcher.bar[1]["lr"] < 0.01
    assert parts.trainer.callback_metrics["train/loss"].item() == pytest.approx(train[1][1]["train/loss"])


def drop_epoch(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "epoch"}


def test_the_bar_moves_seldom_and_ends_at_the_end(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, moves = io.StringIO(), []
    update = Progress._update
    monkeypatch.setattr(Progress, "_update", lambda bar, *words: (moves.append(words[1]), update(bar, *words)))
    overrides = tiny_overrides(tiny_data, tmp_path / "run", "trainer.max_steps=12", "trainer.val_check_interval=12")
    overrides = [word for word in overrides if word != "callbacks.progress=null"]
    parts = build(compose([*overrides, "callbacks.tables=null", "+callbacks.progress.refresh_rate=1"]))
    bar = next(callback for callback in parts.trainer.callbacks if isinstance(callback, Progress))
    bar._console_kwargs = {"force_terminal": True, "file": screen, "width": 200}
    parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    training = moves[: moves.index(12) + 1]
    assert len(training) < 12
    assert training[-1] == 12
    assert "train/loss" in screen.getvalue()


def test_a_seed_is_torchs() -> None:
    seed_devices(5, "cpu")
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.initial_seed() == 5
