"""Sweeps: the shipped files, and the table of their runs."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import tiny_overrides
from seglit.config import ConfigError, conf_dir, explain
from seglit.sweep import as_csv, main, summarise

OFF = {
    "component_learning_rates": [],
    "ohem": [],
    "class_weight": [],
    "several_losses": [],
    "avg_non_ignore": [],
}


def write_run(folder: Path, overrides: list[str], seed: int, score: float | None, **tricks: list[str]) -> None:
    folder.mkdir(parents=True)
    receipt = {"overrides": overrides, "tricks": OFF | tricks, "run": {"seed": seed}}
    (folder / "receipt.json").write_text(json.dumps(receipt))
    if score is not None:
        (folder / "metrics.json").write_text(json.dumps({"val/miou": score, "val/aacc": 0.9}))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    common = ["trainer.max_steps=4"]
    for seed, score in enumerate((0.5, 0.6)):
        write_run(tmp_path / f"{seed}", [*common, f"seed={seed}", "+tricks=[]"], seed, score)
        write_run(
            tmp_path / f"{seed + 2}", [*common, f"seed={seed}", "+tricks=[ohem]"], seed, score + 0.1, ohem=["decode"]
        )
    write_run(tmp_path / "4", [*common, "seed=2", "+tricks=[ohem]"], 2, None, ohem=["decode"])
    return tmp_path


def test_runs_that_differ_in_their_seed_are_one_row(sweep: Path) -> None:
    score, rows = summarise(sweep)
    assert score == "val/miou"
    best, plain = rows
    assert best.overrides == ("+tricks=[ohem]",)
    assert best.tricks == ("ohem",)
    assert best.scores == (0.6, 0.7)
    assert best.mean == pytest.approx(0.65)
    assert best.spread == pytest.approx(np.std([0.6, 0.7], ddof=1))
    assert best.unfinished == ("4",)
    assert plain.tricks == ()
    lines = list(csv.reader(as_csv(rows, score).splitlines()))
    assert lines[1] == ["+tricks=[ohem]", "ohem", "2", "0.650000", "0.070711", "0:0.600000 1:0.700000", "4"]
    assert [row.name for row in summarise(sweep, "val/aacc")[1]] == ["+tricks=[]", "+tricks=[ohem]"]


def test_a_run_that_was_refused_is_listed(sweep: Path) -> None:
    (sweep / "5").mkdir()
    (sweep / "pictures").mkdir()
    last = summarise(sweep)[1][-1]
    assert (last.name, last.unfinished) == ("not started", ("5",))


def test_the_command_prints_and_writes(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(sweep)])
    said = capsys.readouterr().out
    assert "65.00" in said
    assert "+tricks=[ohem]" in said
    assert "7.07" in said
    assert (sweep / "sweep.csv").read_text().startswith("run,tricks,seeds,val/miou")
    with Image.open(sweep / "sweep.png") as picture:
        assert picture.width > 500


def test_slips(sweep: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no run below it"):
        summarise(tmp_path_factory.mktemp("empty"))
    with pytest.raises(ConfigError, match="did you mean 'val/miou'"):
        summarise(sweep, "val/mio")
    (sweep / "0" / "metrics.json").write_text("{")
    with pytest.raises(SystemExit) as end:
        main([str(sweep)])
    assert end.value.code == 2
    assert "metrics.json: is no JSON" in capsys.readouterr().err


def test_a_plugin_that_is_missing_is_told_with_the_way_to_have_it() -> None:
    from hydra.errors import HydraException

    error = HydraException("In 'sweep/optuna': Could not find 'hydra/sweeper/optuna'")
    words = "config: hydra/sweeper=optuna: is a plugin that is not installed; pip install 'seglit[optuna]'"
    assert explain(error) == words


def train(folder: Path, data: Path, *more: str) -> subprocess.CompletedProcess[str]:
    left = [word for word in tiny_overrides(data, folder) if not word.startswith("output_dir=")]
    options = ["trainer.max_steps=2", "trainer.val_check_interval=2", "test_after_fit=false", "callbacks.pictures=null"]
    command = [sys.executable, "-m", "seglit.train", *left, *options, f"hydra.sweep.dir={folder}", *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (["+sweep=tricks", "data.train_transforms.crop.height=48"], 7),
        (["+sweep=[seeds,joblib]"], 3),
        (["+sweep=optuna", "hydra.sweeper.n_trials=2"], 2),
        (["+sweep=[seeds,slurm]", "hydra/launcher=submitit_local", "hydra.launcher.gpus_per_node=0"], 3),
    ],
    ids=["tricks", "joblib", "optuna", "submitit"],
)
def test_every_sweep_runs(words: list[str], runs: int, tiny_data: Path, tmp_path: Path) -> None:
    done = train(tmp_path / "sweep", tiny_data, *words)
    assert done.returncode == 0, done.stderr
    _, rows = summarise(tmp_path / "sweep")
    assert sum(len(row.scores) for row in rows) == runs
    assert not any(row.unfinished for row in rows)


def test_every_shipped_sweep_is_tested() -> None:
    assert {path.stem for path in (conf_dir() / "sweep").glob("*.yaml")} == {
        "tricks",
        "seeds",
        "joblib",
        "optuna",
        "slurm",
    }
