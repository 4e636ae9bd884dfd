"""The three commands as they are typed: arguments, exit status, and one line for a mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conftest import tiny_overrides
from seglit import evaluate, predict, train
from seglit.build import build
from seglit.compare import read_card
from seglit.config import compose
from seglit.segmentor import Segmentor


@pytest.fixture(scope="module")
def checkpoint(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train.run(compose(tiny_overrides(tiny_data, folder, "test_after_fit=false", "trainer.max_steps=10")))
    return folder / "checkpoints" / "best.ckpt"


def test_train_is_a_hydra_command(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = tiny_overrides(tiny_data, tmp_path / "run", "trainer.max_steps=2", "trainer.val_check_interval=2")
    monkeypatch.setattr(sys, "argv", ["seglit-train", *overrides, f"hydra.run.dir={tmp_path}/job"])
    train.main()
    said = capsys.readouterr().out
    assert "decode.loss_ce" in said
    assert "test mIoU" in said
    assert 0 <= json.loads((tmp_path / "run" / "metrics.json").read_text())["test/miou"] <= 1


def test_a_mistake_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["seglit-train", "+model.optimizer.lrr=1", f"hydra.run.dir={tmp_path}"])
    with pytest.raises(SystemExit) as end:
        train.main()
    assert end.value.code == 2
    words = "config: model.optimizer.lrr: torch.optim.AdamW takes no such argument; did you mean 'lr'?\n"
    assert capsys.readouterr().err == words


def test_a_key_that_seglit_itself_reads_wrongly_is_no_mistake_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["seglit-train", f"hydra.run.dir={tmp_path}"])
    monkeypatch.setattr(train, "run", lambda cfg: cfg.no_such_key)
    with pytest.raises(RuntimeError, match="a mistake in seglit"):
        train.main()


def test_evaluate(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main([str(checkpoint), "--split", "val", "model.inference.flip=true", "--output", str(tmp_path)])
    assert "val mIoU" in capsys.readouterr().out
    assert (tmp_path / "evaluation_val.json").is_file()
    with pytest.raises(SystemExit) as end:
        evaluate.main([str(checkpoint), "model.inference.flop=true"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("config: ")
    assert "model.inference.flop" in error


def test_predict(checkpoint: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tiny_data / "images" / "test" / "0.png"
    arguments = ["--output", str(tmp_path), "--window", "32", "32", "--stride", "16", "16", "--flip"]
    predict.main([str(checkpoint), str(image), *arguments, "--scales", "0.5", "1.0", "--no-overlay", "--device", "cpu"])
    assert [path.name for path in tmp_path.glob("*.png")] == ["0.png"]
    with pytest.raises(SystemExit) as end:
        predict.main([str(tmp_path / "no.ckpt"), str(image)])
    assert end.value.code == 2
    assert "no such file" in capsys.readouterr().err


def test_a_class_of_the_users_needs_trust(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from seglit.inference import Inference\n\n\nclass MyInference(Inference):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    content = torch.load(checkpoint, weights_only=True)
    text = content["seglit"]["config"].replace("seglit.inference.Inference", "my_package.MyInference")
    content["seglit"]["config"] = text
    mine = tmp_path / "mine.ckpt"
    torch.save(content, mine)
    arguments = [str(mine), "--output", str(tmp_path), "callbacks.progress=null"]
    with pytest.raises(SystemExit):
        evaluate.main(arguments)
    assert "my_package.MyInference is no class that a checkpoint may name" in capsys.readouterr().err
    evaluate.main([*arguments, "--trust", "my_package"])
    assert "test mIoU" in capsys.readouterr().out


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_other_precisions_train_and_evaluate(tiny_data: Path, tmp_path: Path, precision: str) -> None:
    tricks = "+tricks=[ohem,class_weight,ce_dice,avg_non_ignore]"
    options = (f"trainer.precision={precision}", "trainer.max_steps=4", "trainer.val_check_interval=4")
    train.run(compose(tiny_overrides(tiny_data, tmp_path, tricks, *options)))
    assert 0 <= json.loads((tmp_path / "metrics.json").read_text())["test/miou"] <= 1
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["run"]["precision"] == precision


def test_fp16_where_there_is_none_is_refused(overrides: list[str]) -> None:
    with pytest.raises(ValueError, match=r"trainer\.precision: 16-mixed is not for this device"):
        build(compose([*overrides, "trainer.precision=16-mixed"]))


def test_norms_over_several_cpus_are_refused(overrides: list[str]) -> None:
    ranks = ["trainer.devices=2", "trainer.strategy=ddp_spawn", "trainer.sync_batchnorm=true"]
    with pytest.raises(ValueError, match=r"trainer\.sync_batchnorm: works on GPUs only"):
        build(compose([*overrides, *ranks]))


def test_two_processes_learn_the_same_weights_and_score_each_image_once(tiny_data: Path, tmp_path: Path) -> None:
    arguments = tiny_overrides(
        tiny_data,
        tmp_path / "two",
        "+tricks=[ohem,class_weight,ce_dice,avg_non_ignore]",
        "trainer.max_steps=4",
        "trainer.val_check_interval=4",
        "trainer.devices=2",
        "trainer.strategy=ddp",
    )
    command = [sys.executable, "-m", "seglit.train", *arguments, f"hydra.run.dir={tmp_path}/job"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ}, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("parameter groups") == 1
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    best = tmp_path / "two" / "checkpoints" / "best.ckpt"
    alone = ["trainer.devices=1", "trainer.strategy=auto"]
    score = evaluate.evaluate(best, "test", alone, tmp_path)
    for name in ("test/miou", "test/miou_low", "test/miou_high"):
        assert score[name] == pytest.approx(metrics[name], abs=1e-6)
    cards = read_card(tmp_path / "two"), read_card(tmp_path)
    assert cards[0].content == cards[1].content
    assert cards[0].names == ["0", "1", "2"]


def test_a_sweep_of_several_processes_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    arguments = tiny_overrides(tiny_data, tmp_path / "run", "trainer.devices=2", "trainer.strategy=ddp", "seed=0,1")
    command = [sys.executable, "-m", "seglit.train", "-m", *arguments, f"hydra.sweep.dir={tmp_path}/sweep"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    assert "config: trainer.strategy: a sweep cannot have several devices by this strategy" in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


class PlainLoss(nn.Module):
    """What somebody might write who has not read of statistics."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels)


def test_a_loss_that_knows_no_pixel_weight_is_refused(overrides: list[str]) -> None:
    loss = "+model.criterion.decode.losses.loss_mine={_target_: test_commands.PlainLoss}"
    with pytest.raises(ValueError, match=r"loss_mine.*seglit\.losses\.Loss"):
        train.run(compose([*overrides, loss]))


def test_what_is_switched_off_leaves_nothing_behind(overrides: list[str]) -> None:
    parts = build(compose([*overrides, "callbacks.checkpoint=null"]))
    assert parts.trainer.checkpoint_callback is None
    assert parts.trainer.progress_bar_callback is None
    assert isinstance(parts.module.net, Segmentor)
