"""A run that goes on from a checkpoint: what must be as it was, and the best checkpoint so far."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import tiny_overrides
from seglit import module, receipt
from seglit.config import ConfigError, compose
from seglit.data.errors import DataError
from seglit.metrics import Scores
from seglit.resume import refuse_changes
from seglit.train import run

SHORT = [
    "trainer.max_steps=8",
    "trainer.val_check_interval=2",
    "callbacks.pictures=null",
    "callbacks.tables=null",
    "logger.tensorboard=null",
]
WITHOUT_ONE = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
"""The callback that keeps all checkpoints is for the first run only."""
KEEP_ALL = "+callbacks.all={_target_: lightning.pytorch.callbacks.ModelCheckpoint, save_top_k: -1, filename: '{step}'}"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], None]:
    """Gives the evaluations to come these mIoU, and those after them their own."""
    real = module.scores

    def script(miou: Sequence[float]) -> None:
        told: Iterator[float] = iter(miou)

        def scores(matrix: torch.Tensor) -> Scores:
            result = real(matrix)
            return replace(result, miou=next(told, result.miou))

        monkeypatch.setattr(module, "scores", scores)

    return script


def whole(data: Path, folder: Path, *more: str) -> float:
    """A run that keeps the checkpoint of each evaluation."""
    return ran(data, folder, KEEP_ALL, f"+callbacks.all.dirpath={folder}/all", *more)


def ran(data: Path, folder: Path, *more: str) -> float:
    return run(compose(tiny_overrides(data, folder, *SHORT, *more)))


@WITHOUT_ONE
def test_the_best_checkpoint_goes_with_the_run(
    tiny_data: Path, tmp_path: Path, scripted: Callable[[Sequence[float]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Four evaluations, the first of which is the best; a second run goes on after two of them, in another folder."""
    scripted([0.9, 0.5, 0.6, 0.7])
    assert whole(tiny_data, tmp_path / "whole") == pytest.approx(0.9)
    tested = capsys.readouterr().out.split("test mIoU ")[1].split(";")[0]
    scripted([0.6, 0.7])
    amid = f"ckpt_path='{tmp_path}/whole/all/step=4.ckpt'"
    assert ran(tiny_data, tmp_path / "resumed", amid) == pytest.approx(0.9)
    assert capsys.readouterr().out.split("test mIoU ")[1].split(";")[0] == tested
    for name in ("best", "last"):
        first, resumed = (
            torch.load(tmp_path / folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
            for folder in ("whole", "resumed")
        )
        assert all(torch.equal(value, resumed[key]) for key, value in first.items()), name

    (tmp_path / "whole" / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ConfigError, match=r"best\.ckpt, the best checkpoint so far, is gone; put it back, or let"):
        ran(tiny_data, tmp_path / "third", amid)
    assert not list((tmp_path / "third").glob("checkpoints/*"))


@WITHOUT_ONE
def test_a_best_checkpoint_that_was_replaced_is_told(
    tiny_data: Path, tmp_path: Path, scripted: Callable[[Sequence[float]], None]
) -> None:
    scripted([0.5, 0.4, 0.8, 0.7])
    whole(tiny_data, tmp_path / "whole", "test_after_fit=false")
    with pytest.raises(ConfigError, match=r"has been replaced: its score is 0\.8, not 0\.5; go on from a later"):
        ran(tiny_data, tmp_path / "resumed", f"ckpt_path='{tmp_path}/whole/all/step=4.ckpt'")
    # In its own folder the run goes on as Lightning's would.
    scripted([0.6, 0.9])
    assert ran(tiny_data, tmp_path / "whole", f"ckpt_path='{tmp_path}/whole/all/step=4.ckpt'") == pytest.approx(0.9)


@pytest.fixture(scope="module")
def checkpoint(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ema")
    more = [*SHORT, "callbacks=ema", "trainer.max_steps=2", "test_after_fit=false"]
    run(compose(tiny_overrides(tiny_data, folder, *more)))
    return folder / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["callbacks.step_seed=null"], "callbacks.step_seed: None, but"),
        (["callbacks.ema=null"], "callbacks.ema: None, but"),
        (["callbacks.ema.decay=0.5"], "callbacks.ema.decay: 0.5, but .* was trained with 0.999"),
        (["callbacks.ema=null", "+callbacks.mean=${was}"], None),
        (
            ["callbacks.ema=null", "+callbacks.mean=${was}", "callbacks.mean.decay=0.5"],
            "callbacks.mean.decay: 0.5, but",
        ),
        (["callbacks.checkpoint.save_last=false", "callbacks.tables=null"], None),
        (["+trainer.overfit_batches=1"], "trainer.overfit_batches: 1, but .* was trained with None"),
        (["data.batch_size=1"], "data.batch_size: 1, but .* was trained with 2"),
        (["data.batch_size=1", "trainer.devices=2"], None),
    ],
)
def test_what_decides_about_the_weights_stays(
    checkpoint: Path, tiny_data: Path, tmp_path: Path, changes: list[str], message: str | None
) -> None:
    was = "{_target_: lightning.pytorch.callbacks.EMAWeightAveraging, decay: 0.999}"
    more = [*SHORT, "callbacks=ema", "trainer.max_steps=2", *(change.replace("${was}", was) for change in changes)]
    cfg = compose(tiny_overrides(tiny_data, tmp_path, *more))
    if message is None:
        refuse_changes(cfg, checkpoint)
        return
    with pytest.raises(ConfigError, match=message):
        refuse_changes(cfg, checkpoint)


def test_a_step_has_as_many_images_as_it_had(
    checkpoint: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt, "images_per_step", lambda datamodule, trainer: 2 * datamodule.batch_size)
    more = [*SHORT, "callbacks=ema", "trainer.max_steps=2", f"ckpt_path={checkpoint}"]
    with pytest.raises(ConfigError, match=r"^trainer\.devices: 4 images per step, but .* was trained with 2"):
        run(compose(tiny_overrides(tiny_data, tmp_path / "run", *more)))
    assert not (tmp_path / "run").exists()


def test_class_weights_from_a_file_are_what_they_were(tiny_data: Path, tmp_path: Path) -> None:
    def ran(*more: str) -> Any:
        loss = f"model.criterion.decode.losses.loss_ce.class_weight={tmp_path}/weights.txt"
        words = [*SHORT, "trainer.max_steps=2", "test_after_fit=false", loss, *more]
        return run(compose(tiny_overrides(tiny_data, tmp_path / "run", *words)))

    (tmp_path / "weights.txt").write_text("1 2 3")
    ran()
    (tmp_path / "weights.txt").write_text("1 2 4")
    with pytest.raises(ConfigError) as caught:
        ran(f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    words = r"model.criterion.decode.losses.loss_ce.class_weight: (1.0, 2.0, 4.0), but"
    assert str(caught.value).startswith(words)
    assert "was trained with (1.0, 2.0, 3.0)" in str(caught.value)


def test_a_missing_test_split_is_told_before_training(tiny_data: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_data, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "images" / "test")
    with pytest.raises(DataError, match="images of split 'test'"):
        run(compose(tiny_overrides(tmp_path / "data", tmp_path / "run", *SHORT)))
    assert not (tmp_path / "run" / "checkpoints").exists()
    run(compose(tiny_overrides(tmp_path / "data", tmp_path / "run", *SHORT, "test_after_fit=false")))


@WITHOUT_ONE
def test_groups_and_rates_go_on_under_ema(
    tiny_data: Path, tmp_path: Path, scripted: Callable[[Sequence[float]], None]
) -> None:
    """At every checkpoint after the break: the same groups at the same rates, and the same weights and averages."""
    more = ["callbacks=ema", "callbacks.ema.decay=0.5", "+tricks=head_lr_x10", "test_after_fit=false"]
    scripted([0.99])
    whole(tiny_data, tmp_path / "run", *more)
    (tmp_path / "run" / "all").rename(tmp_path / "first")
    # In its own folder, as keeping all is nothing that another folder could go on with.
    (tmp_path / "run" / "all").mkdir()
    whole(tiny_data, tmp_path / "run", *more, f"ckpt_path='{tmp_path}/first/step=4.ckpt'")
    for step in (6, 8):
        first, resumed = (
            torch.load(tmp_path / folder / f"step={step}.ckpt", weights_only=True) for folder in ("first", "run/all")
        )
        groups = first["optimizer_states"][0]["param_groups"]
        assert groups == resumed["optimizer_states"][0]["param_groups"]
        rates = {group["name"]: group["lr"] for group in groups}
        assert len(set(rates.values())) == 2
        assert max(rates.values()) == pytest.approx(10 * min(rates.values()))
        for weights in ("state_dict", "current_model_state", "averaging_state"):
            assert set(first[weights]) == set(resumed[weights])
            assert all(torch.equal(value, resumed[weights][name]) for name, value in first[weights].items()), weights
        assert first["averaging_state"]["n_averaged"] == step
