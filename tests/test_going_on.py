"""A run that is stopped or killed, and goes on in its own folder."""

import csv
import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from omegaconf import OmegaConf

from conftest import tiny_overrides
from seglit import checkpoint_io
from seglit.checkpoint_io import CheckpointError, WholeCheckpointIO
from seglit.config import ConfigError, compose, to_text
from seglit.curves import Curves, cut
from seglit.going_on import going_on, is_resumed, newest
from seglit.train import run

SHORT = [
    "trainer.max_steps=8",
    "trainer.val_check_interval=4",
    "trainer.log_every_n_steps=1",
    "callbacks.recent.every_n_train_steps=3",
    "callbacks.pictures=null",
    "callbacks.tables=null",
    "logger.tensorboard=null",
    "test_after_fit=false",
]


class Signaller(Callback):
    """Sends this process a signal amid a step."""

    def __init__(self, step: int, number: int, times: int = 1) -> None:
        self.step, self.number, self.times = step, number, times

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


def signalled(step: int, number: int, times: int = 1) -> str:
    arguments = f"step: {step}, number: {int(number)}, times: {times}"
    return f"+callbacks.signaller={{_target_: {__name__}.Signaller, {arguments}}}"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "logs" / "metrics.csv").open(newline="") as file:
        return sorted(csv.DictReader(file), key=repr)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def whole(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a stop."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(compose(tiny_overrides(tiny_data, folder, *SHORT)))
    return folder


@pytest.mark.parametrize(
    ("number", "more"), [(signal.SIGTERM, []), (signal.SIGINT, ["trainer.accumulate_grad_batches=2"])]
)
def test_a_run_that_is_asked_to_stop_goes_on_as_if_it_had_not(
    tiny_data: Path, tmp_path: Path, whole: Path, capfd: pytest.CaptureFixture[str], number: int, more: list[str]
) -> None:
    before = signal.getsignal(number)
    folder = tmp_path / "run"
    if more:
        whole = tmp_path / "whole"
        run(compose(tiny_overrides(tiny_data, whole, *SHORT, *more)))
    with pytest.raises(SystemExit) as ended:
        run(compose(tiny_overrides(tiny_data, folder, *SHORT, *more, signalled(4, number))))
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) is before
    said = capfd.readouterr().err
    assert "stops after this step, with a checkpoint" in said
    assert f"stopped at step 5; it goes on by resume={folder}" in said
    cfg = going_on([f"resume={folder}", "callbacks.signaller=null"])
    assert cfg.ckpt_path == f"{folder}/checkpoints/last.ckpt"
    run(cfg)
    assert rows(folder) == rows(whole)
    assert all(torch.equal(value, weights(folder)[name]) for name, value in weights(whole).items())


def test_a_second_ctrl_c_stops_at_once(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        run(compose(tiny_overrides(tiny_data, tmp_path / "run", *SHORT, signalled(4, signal.SIGINT, times=2))))
    assert getattr(ended.value, "code", None) in (None, 1)
    assert newest(tmp_path / "run" / "checkpoints").name == "last.ckpt"


def test_a_folder_may_be_moved(whole: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved run"
    moved.mkdir()
    (moved / "config.yaml").write_text((whole / "config.yaml").read_text())
    (moved / "checkpoints").symlink_to(whole / "checkpoints")
    cfg = going_on([f"resume={moved}", "trainer.max_steps=20", "data.num_workers=1"])
    assert (cfg.output_dir, cfg.trainer.max_steps, cfg.data.num_workers) == (str(moved), 20, 1)
    assert cfg.callbacks.checkpoint.dirpath == f"{moved}/checkpoints"
    assert str(whole) not in to_text(cfg)


def test_the_newest_whole_checkpoint_is_taken(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert newest(whole / "checkpoints").name == "last.ckpt"
    assert {path.name for path in (whole / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "step=3.ckpt",
        "step=6.ckpt",
    }
    content = (whole / "checkpoints" / "step=6.ckpt").read_bytes()
    (tmp_path / "step=6.ckpt").write_bytes(content)
    (tmp_path / "last.ckpt").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.ckpt").touch()
    assert newest(tmp_path).name == "step=6.ckpt"
    said = capsys.readouterr().err
    assert said.count("left out: ") == 2
    assert "last.ckpt: cannot be read as a checkpoint" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume={here}/none"], "holds no run, as there is no .*config.yaml"),
        (["resume={here}", "resume={here}"], "one run at a time"),
        (["resume={here}", "--multirun"], "--multirun: a run goes on with its own configuration"),
        (["resume={here}", "+experiment=bluemarble"], r"\+experiment=bluemarble: a run goes on with"),
        (["resume={here}", "model.nett=1"], "model.nett: no such key in the stored configuration"),
        (["resume={here}"], "no whole checkpoint in .*checkpoints; start the run anew"),
    ],
)
def test_what_cannot_go_on_is_told(whole: Path, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "config.yaml").write_text((whole / "config.yaml").read_text())
    given = [word.format(here=tmp_path) for word in words]
    assert is_resumed(given)
    with pytest.raises(ConfigError, match=message):
        going_on(given)


def test_what_decides_about_the_weights_cannot_change(whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.optimizer\.lr: 0\.5, but .* was trained with 0\.01"):
        run(going_on([f"resume={whole}", "model.optimizer.lr=0.5"]))


def test_a_table_is_cut_where_the_run_goes_on(tmp_path: Path) -> None:
    first = Curves(tmp_path, name="", version="logs", flush_logs_every_n_steps=1)
    for step in range(4):
        first.log_metrics({"train/loss": float(step)}, step=step)
    table = tmp_path / "logs" / "metrics.csv"
    with table.open("a") as file:
        file.write("3.")  # and was killed
    cut(table, 2)
    second = Curves(tmp_path, name="", version="logs", flush_logs_every_n_steps=1)
    second.log_metrics({"train/loss": 20.0, "val/miou": 0.5}, step=2)
    with table.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["step"], row["train/loss"], row["val/miou"]) for row in found] == [
        ("0", "0.0", ""),
        ("1", "1.0", ""),
        ("2", "20.0", "0.5"),
    ]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    WholeCheckpointIO().save_checkpoint({"global_step": 1}, path)

    def full(content: object, file: Any) -> None:
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(checkpoint_io.torch, "save", full)
    with pytest.raises(
        CheckpointError, match=f"last.ckpt there are whole: make room, and go on by resume={tmp_path}/run"
    ):
        WholeCheckpointIO().save_checkpoint({"global_step": 2}, path)
    with pytest.raises(CheckpointError, match="no checkpoint is there yet"):
        WholeCheckpointIO().save_checkpoint({}, tmp_path / "other" / "first.ckpt")
    assert [found.name for found in path.parent.iterdir()] == ["last.ckpt"]
    assert torch.load(path, weights_only=True) == {"global_step": 1}


def test_tensorboard_hides_what_is_logged_again(whole: Path) -> None:
    cfg = OmegaConf.create(
        {"logger": {"a": {"_target_": "x.TensorBoardLogger"}, "b": {"_target_": "x.CSV"}, "c": None}}
    )
    from seglit.going_on import hide_later_curves

    hide_later_curves(cfg, 7)
    assert OmegaConf.to_container(cfg.logger) == {
        "a": {"_target_": "x.TensorBoardLogger", "purge_step": 7},
        "b": {"_target_": "x.CSV"},
        "c": None,
    }
