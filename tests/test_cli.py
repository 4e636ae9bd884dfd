"""LightningCLI over the same classes: the same weights as from Hydra and from plain Python, and the same refusals."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from conftest import tiny_overrides
from seglit import cli
from seglit.backbones import UNet
from seglit.callbacks import StepSeed
from seglit.config import ConfigError, compose, plain
from seglit.data.datamodule import SegmentationDataModule
from seglit.data.transforms import RandomCrop
from seglit.evaluate import evaluate
from seglit.heads import FCNHead
from seglit.losses import CrossEntropyLoss, DiceLoss, HeadCriterion, OHEMPixelSampler, SegmentationCriterion
from seglit.module import SegmentationModule
from seglit.optim import PolyLR
from seglit.segmentor import Segmentor
from seglit.train import run

TINY = """# @package _global_
defaults:
  - /tricks: [ohem, ce_dice, avg_non_ignore, head_lr_x10]
  - override /data: folder
  - override /data/train_transforms: only
  - override /model: fcn_unet_small
model:
  criterion:
    decode:
      sampler:
        min_kept: 200
"""
CROP = "only: {_target_: seglit.data.transforms.RandomCrop, height: 32, width: 32}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "tiny.yaml").write_text(TINY)
    (tmp_path / "mine" / "data" / "train_transforms").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "train_transforms" / "only.yaml").write_text(CROP)
    return tmp_path / "mine"


def tiny(data: Path, output: Path) -> list[str]:
    """Overrides for four steps with one transform, so that plain Python can write all of it down."""
    keep = [word for word in tiny_overrides(data, output) if not word.startswith(("data=", "data.train_transforms"))]
    return [
        *keep,
        "trainer.max_steps=4",
        "trainer.val_check_interval=4",
        "test_after_fit=false",
        "logger.tensorboard=null",
    ]


def weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def by_hand(data: Path, output: Path) -> None:
    """The same run in plain Python."""
    seed_everything(0, verbose=False)
    datamodule = SegmentationDataModule(
        data, 3, train_transforms={"only": RandomCrop(32, 32)}, batch_size=2, num_workers=0, seed=0
    )

    def head(in_index: int, **options: float) -> partial[FCNHead]:
        return partial(
            FCNHead, num_classes=3, in_index=in_index, channels=16, num_convs=1, concat_input=False, dropout_ratio=0.1
        )

    def criterion(weight: float, sampler: OHEMPixelSampler | None = None) -> HeadCriterion:
        losses = {"loss_ce": CrossEntropyLoss(avg_non_ignore=True), "loss_dice": DiceLoss(loss_weight=3.0)}
        return HeadCriterion(losses, sampler, weight=weight)

    module = SegmentationModule(
        Segmentor(UNet(base_channels=8, num_stages=3, encoder_convs=1, decoder_convs=1), head(0), {"aux": head(1)}),
        SegmentationCriterion(decode=criterion(1.0, OHEMPixelSampler(0.7, 200)), aux=criterion(0.4)),
        partial(torch.optim.AdamW, lr=0.01, weight_decay=0.01),
        partial(PolyLR, total_steps=4, power=0.9, min_lr_ratio=0.01),
        {"custom_keys": {"head": {"lr_mult": 10.0}}},
        channels_last=True,
    )
    trainer = Trainer(
        max_steps=4,
        max_epochs=-1,
        val_check_interval=4,
        check_val_every_n_epoch=None,
        accelerator="cpu",
        devices=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=5,
        logger=False,
        callbacks=[StepSeed(0), ModelCheckpoint(output / "checkpoints", save_last=True)],
        default_root_dir=output,
    )
    trainer.fit(module, datamodule=datamodule)


def test_hydra_lightning_and_python_give_the_same_weights(
    tiny_data: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(compose(["+experiment=tiny", *tiny(tiny_data, tmp_path / "hydra")], home))
    command = ["fit", "--experiment", "tiny", f"--config-dir={home}"]
    # What Hydra is told and what LightningCLI is told add up to the same configuration.
    told = [word for word in tiny(tiny_data, tmp_path / "cli") if not word.startswith("model.optimizer.lr")]
    cli.main([*command, *told, "--model.optimizer.init_args.lr=0.01"])
    by_hand(tiny_data, tmp_path / "python")
    assert "decode.loss_dice" in capsys.readouterr().out
    expected = weights(tmp_path / "hydra")
    for other in ("cli", "python"):
        actual = weights(tmp_path / other)
        assert set(actual) == set(expected)
        for name, value in expected.items():
            assert torch.equal(actual[name], value), (other, name)
    receipts = [json.loads((tmp_path / name / "receipt.json").read_text()) for name in ("hydra", "cli")]
    assert receipts[0] == receipts[1]
    score = evaluate(tmp_path / "cli" / "checkpoints" / "best.ckpt", "val", [], tmp_path)
    assert 0 <= score["val/miou"] <= 1

    checkpoint = tmp_path / "cli" / "checkpoints" / "best.ckpt"
    for name in ("validate", "test", "predict"):
        cli.main([name, *command[1:], *tiny(tiny_data, tmp_path / name), f"--ckpt_path={checkpoint}"])
    assert sorted(path.name for path in (tmp_path / "predict" / "predictions").iterdir()) == ["0.png", "1.png", "2.png"]
    assert json.loads((tmp_path / "validate" / "metrics.json").read_text())["val/miou"] == score["val/miou"]
    assert "test/miou" in json.loads((tmp_path / "test" / "metrics.json").read_text())
    card = json.loads((tmp_path / "validate" / "evaluation.json").read_text())
    assert card == json.loads((tmp_path / "evaluation.json").read_text())
    tested = json.loads((tmp_path / "test" / "evaluation.json").read_text())
    assert tested["protocol"]["split"] == "test"
    assert tested["weights"] == card["weights"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.max_steps=3"], "model.scheduler.total_steps: the schedule ends at 4, but the run at"),
        (["--data.num_classes=7"], "model.net.decode_head.num_classes: 3, but data.num_classes is 7"),
        (["model.optimizer.lrr=1"], "model.optimizer.lrr: no such key; did you mean 'lr'"),
        (["--model.criterion.init_args.aux=null"], "model.criterion.aux"),
        (["--model.paramwise.custom_keys={hed: {lr_mult: 10}}"], "custom_keys.hed has no effect"),
        (["--trainer.max_step=3"], "unrecognized arguments: --trainer.max_step=3"),
        (["--seed_everything=false"], "seed: False"),
        (["--seed_everything=5"], "data.seed: 0, but seed is 5; seed=5 alone sets both"),
    ],
)
def test_a_configuration_that_would_not_do_what_it_says_does_not_start(
    words: list[str],
    message: str,
    tiny_data: Path,
    tmp_path: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", "--experiment=tiny", f"--config-dir={home}", *tiny(tiny_data, tmp_path), *words])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_goes_on_only_as_it_was(
    tiny_data: Path, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", "--experiment=tiny", f"--config-dir={home}", *tiny(tiny_data, tmp_path / "run")]
    cli.main(command)
    checkpoint = f"--ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    with pytest.raises(SystemExit):
        cli.main([*command, checkpoint, "--model.optimizer.init_args.lr=0.02"])
    assert "model.optimizer.lr: 0.02, but" in capsys.readouterr().err
    cli.main([*command, checkpoint])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "seed=1"], "seed=1: goes with --experiment NAME"),
        (["--experiment=bluemarble"], "comes after a command"),
        (["fit", "--experiment=bluemarbel"], "did you mean 'bluemarble'"),
    ],
)
def test_slips_on_the_command_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_that_the_docstring_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*parts: object) -> None:
        raise KeyError("would train")

    monkeypatch.setattr(cli, "prepare", stop)
    shown = re.search(r"`python -m seglit\.cli (.+)`", str(cli.__doc__))
    assert shown is not None
    with pytest.raises(KeyError, match="would train"):
        cli.main([*shown.group(1).split(), f"output_dir={tmp_path}", "--trainer.accelerator=cpu"])


def test_what_follows_an_option_is_its_value() -> None:
    words = cli.with_experiment(["fit", "--data.root", "a=b", "--trainer.max_steps=3"])
    assert words == ["fit", "--data.root", "a=b", "--trainer.max_steps=3"]


def test_there_and_back() -> None:
    """A composed configuration in LightningCLI's form has nothing of Hydra's, and comes back with each node."""
    content = plain(compose(["name=x", "output_dir=runs/x", "callbacks=ema", "+tricks=[ohem,ce_dice]"]))
    form = cli.as_lightning(content)
    assert "_target_" not in yaml.safe_dump(form)
    back = plain(cli.as_hydra(form))
    for key in ("model", "data"):
        assert back[key] == content[key], key
    assert list(back["callbacks"].values()) == [node for node in content["callbacks"].values() if node]
    assert back["output_dir"] == "runs/x"


@pytest.mark.parametrize(("logger", "count"), [(None, 1), (True, 1), (False, 0), ([], 0)])
def test_without_a_word_lightning_has_a_logger(logger: object, count: int) -> None:
    form = cli.as_lightning(plain(compose(["name=x", "output_dir=runs/x"])))
    form["trainer"]["logger"] = logger
    assert len(cli.as_hydra(form).logger) == count


def test_an_experiment_that_is_wrong_is_refused_before_lightning_sees_it() -> None:
    weight = "model.criterion.decode.losses.loss_ce.class_weight=[1]"
    with pytest.raises(ConfigError, match=r"1 weights for data\.num_classes=7"):
        cli.with_experiment(["fit", "--experiment=bluemarble", weight])
