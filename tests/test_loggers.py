"""Loggers by config; those that are optional run where they are installed."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from seglit.build import build
from seglit.check import check
from seglit.config import ConfigError, compose
from seglit.train import run


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_the_shipped_loggers_pass_the_check(overrides: list[str], name: str) -> None:
    cfg = compose([*overrides, f"logger={name}"])
    check(cfg)
    assert set(cfg.logger) == {"csv", "tensorboard", name}


def test_a_logger_that_is_not_installed_says_how_to_have_it(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("lightning.pytorch.loggers.wandb")

    def absent(self: object, **arguments: Any) -> None:
        raise ModuleNotFoundError("Requirement 'wandb>=0.12.10' not met. HINT: pip install wandb")

    monkeypatch.setattr(module.WandbLogger, "__init__", absent)
    with pytest.raises(ConfigError, match=r"logger\.wandb: Requirement 'wandb>=0\.12\.10' not met"):
        build(compose([*overrides, "logger=wandb"]))


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("wandb", ["logger=wandb", "logger.wandb.offline=true"]),
        ("mlflow", ["logger=mlflow", "logger.mlflow.tracking_uri=sqlite:///{folder}/mlflow.db"]),
    ],
)
@pytest.mark.filterwarnings("default")  # of those packages
def test_an_optional_logger_gets_the_run(overrides: list[str], tmp_path: Path, package: str, words: list[str]) -> None:
    pytest.importorskip(package, reason=f"{package} is optional")
    told = [word.format(folder=tmp_path) for word in words]
    run(compose([*overrides, *told, "trainer.max_steps=2", "trainer.val_check_interval=2", "test_after_fit=false"]))
    assert (tmp_path / "mlflow.db").is_file() or list((tmp_path / "run" / "wandb").glob("offline-run-*"))
