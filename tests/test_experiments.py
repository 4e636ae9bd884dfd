"""Every shipped experiment: composes, passes the check, says in its receipt what its name says, and trains."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import make_recipes
from seglit.check import check
from seglit.config import compose, conf_dir
from seglit.train import run
from tiny_layouts import write_layout

CITYSCAPES = "pspnet_r50-d8_512x1024_40k_cityscapes"
DRIVE = "fcn_unet_s5-d16_64x64_40k_drive"
UNET = "fcn_unet_s5-d16_4x4_512x1024_160k_cityscapes"
TRICKS = {
    "bluemarble": {"class_weight": ["decode.loss_ce", "aux.loss_ce"]},
    CITYSCAPES: {},
    f"{CITYSCAPES}_ohem": {"ohem": ["decode"]},
    f"{CITYSCAPES}_head_lr_x10": {"component_learning_rates": ["custom_keys.head"]},
    f"{CITYSCAPES}_class_weight": {"class_weight": ["decode.loss_ce"]},
    DRIVE: {},
    f"{DRIVE}_ce_dice": {
        "several_losses": ["decode.loss_ce", "decode.loss_dice", "aux.loss_ce", "aux.loss_dice"],
    },
    UNET: {},
    f"{UNET}_ignore0_avg_non_ignore": {"avg_non_ignore": ["decode.loss_ce", "aux.loss_ce"]},
    "pspnet_r18_camvid": {},
    "fcn_unet_s5-d16_camvid": {},
}
STEPS = {"bluemarble": 800, CITYSCAPES: 40000, DRIVE: 40000, UNET: 160000, "camvid": 20000}
BATCH = {"bluemarble": 8, CITYSCAPES: 8, DRIVE: 16, UNET: 16, "camvid": 8}


def test_the_experiments_are_these() -> None:
    written = {recipe.name for recipe in make_recipes.recipes()}
    assert {path.stem for path in (conf_dir() / "experiment").glob("*.yaml")} == written | set(TRICKS)
    assert written & set(TRICKS) == {CITYSCAPES, DRIVE}
    assert len(TRICKS) == 11


@pytest.mark.parametrize("name", sorted(TRICKS))
def test_hyper_parameters(name: str) -> None:
    cfg = compose([f"+experiment={name}", "name=x", "output_dir=x"])
    check(cfg)
    family = next(key for key in STEPS if key in name)
    assert cfg.trainer.max_steps == STEPS[family] == cfg.model.scheduler.total_steps
    assert cfg.data.batch_size == BATCH[family]
    if family != "bluemarble":
        optimizer = cfg.model.optimizer
        assert (optimizer._target_, optimizer.lr) == ("torch.optim.SGD", 0.01)
        assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 0.0005)
        assert (cfg.model.scheduler.power, cfg.model.scheduler.min_lr_ratio * optimizer.lr) == (0.9, 0.0001)


def test_the_terms_of_the_recipes() -> None:
    ohem = compose([f"+experiment={CITYSCAPES}_ohem", "name=x", "output_dir=x"]).model.criterion
    assert (ohem.decode.sampler.thresh, ohem.decode.sampler.min_kept, ohem.aux.sampler) == (0.7, 100000, None)
    weights = compose([f"+experiment={CITYSCAPES}_class_weight", "name=x", "output_dir=x"]).model.criterion
    assert len(weights.decode.losses.loss_ce.class_weight) == 19
    assert weights.aux.losses.loss_ce.class_weight is None
    void = compose([f"+experiment={UNET}_ignore0_avg_non_ignore", "name=x", "output_dir=x"])
    assert void.model.criterion.decode.ignore_index == void.model.criterion.aux.ignore_index == 0
    assert void.data.train_transforms.pad.fill_mask == 0
    drive = compose([f"+experiment={DRIVE}_ce_dice", "name=x", "output_dir=x"]).model.criterion
    for head in (drive.decode, drive.aux):
        assert (head.weight, head.losses.loss_ce.loss_weight, head.losses.loss_dice.loss_weight) == (1.0, 1.0, 3.0)


def of_large_net(name: str) -> Any:
    """Among the default tests, one of it is enough."""
    return pytest.param(name, marks=pytest.mark.slow) if name.startswith(f"{CITYSCAPES}_") else name


@pytest.mark.parametrize("name", [of_large_net(name) for name in sorted(TRICKS)])
def test_two_steps(name: str, tmp_path: Path) -> None:
    data = next(part for part in ("bluemarble", "cityscapes", "drive", "camvid") if part in name)
    pretrained = ["model.net.backbone.pretrained=false"] if "pspnet" in name else []
    run(
        compose(
            [
                f"+experiment={name}",
                "name=x",
                f"output_dir={tmp_path}/run",
                *write_layout(data, tmp_path / "data"),
                *pretrained,
                *(["model.criterion.decode.sampler.min_kept=200"] if "ohem" in name else []),
                "data.train_transforms.crop.height=64",
                "data.train_transforms.crop.width=64",
                "data.batch_size=2",
                "data.num_workers=0",
                "trainer.accelerator=cpu",
                "trainer.max_steps=2",
                "trainer.val_check_interval=2",
                "trainer.limit_val_batches=1",
                "trainer.log_every_n_steps=1",
                "callbacks.progress=null",
                "callbacks.pictures=null",
                "test_after_fit=false",
            ]
        )
    )
    on = json.loads((tmp_path / "run" / "receipt.json").read_text())["tricks"]
    assert {trick: value for trick, value in on.items() if value} == TRICKS[name]
    lines = [line.split(",") for line in (tmp_path / "run" / "logs" / "metrics.csv").read_text().splitlines()]
    losses = [float(line[lines[0].index("train/loss")] or "nan") for line in lines[1:]]
    assert np.isfinite(losses).sum() == 2
