"""What only shows when the parts are there: schedules and rates, heads of any name, what the trainer refuses."""

from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from seglit.build import build
from seglit.check import check
from seglit.config import ConfigError, compose

TORCH = "torch.optim.lr_scheduler"


def with_schedule(overrides: list[str], name: str, arguments: dict[str, Any]) -> DictConfig:
    cfg = compose(overrides)
    OmegaConf.set_struct(cfg, False)
    cfg.model.scheduler = {"_target_": f"{TORCH}.{name}", "_partial_": True, **arguments}
    return cfg


SCHEDULES = [
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 20}, False),
    ("CosineAnnealingLR", {"T_max": 20, "eta_min": 1e-5}, False),
    ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1}, False),
    ("CosineAnnealingLR", {"T_max": 20}, True),
    ("PolynomialLR", {"total_iters": 20}, True),
    ("LinearLR", {"total_iters": 5}, True),
    ("MultiStepLR", {"milestones": [5, 10]}, True),
]


@pytest.mark.parametrize(("name", "arguments", "keeps"), SCHEDULES)
def test_a_schedule_keeps_the_groups_rates_apart(
    overrides: list[str], name: str, arguments: dict[str, Any], keeps: bool
) -> None:
    cfg = with_schedule([*overrides, "+tricks=[head_lr_x10]"], name, arguments)
    check(cfg)
    if keeps:
        build(cfg)
        return
    with pytest.raises(ConfigError) as caught:
        build(cfg)
    words = f"model.scheduler: {name} does not keep the learning rate of group 'base' at 0.1 times that of 'head'"
    assert str(caught.value).startswith(words)


def test_a_floor_is_seen_in_a_long_run_too(overrides: list[str]) -> None:
    long = [*overrides, "+tricks=[head_lr_x10]", "trainer.max_steps=160000"]
    with pytest.raises(ConfigError, match="does not keep"):
        build(with_schedule(long, "CosineAnnealingLR", {"T_max": 160000, "eta_min": 1e-5}))
    build(with_schedule(long, "CosineAnnealingLR", {"T_max": 160000}))


def test_with_one_rate_any_schedule_will_do(overrides: list[str]) -> None:
    for name, arguments, _ in SCHEDULES:
        build(with_schedule(overrides, name, arguments))


def test_what_a_schedule_refuses_is_told_by_its_key(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^model\.scheduler: warmup_steps=30"):
        build(compose([*overrides, "model.scheduler.warmup_steps=30"]))


def test_what_the_trainer_refuses_is_told_by_its_key(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"^trainer: .*invalid value -1"):
        build(compose([*overrides, "trainer.limit_val_batches=-1"]))


def test_auxiliary_heads_have_any_names(overrides: list[str]) -> None:
    cfg = compose(overrides)
    OmegaConf.set_struct(cfg, False)
    for node in (cfg.model.net.auxiliary_heads, cfg.model.criterion):
        aux = node.pop("aux")
        node.aux1, node.aux2 = aux, aux
    check(cfg)
    assert set(build(cfg).module.criterion.head_criteria()) == {"decode", "aux1", "aux2"}
    cfg.model.criterion.aux3 = cfg.model.criterion.pop("aux2")
    with pytest.raises(ConfigError) as caught:
        check(cfg)
    first, second = str(caught.value).splitlines()
    assert first.startswith("model.criterion.aux3: the net has no such head; did you mean 'aux")
    assert second.startswith("model.criterion.aux2: is missing")


def test_further_logits_of_a_head_have_their_criteria(overrides: list[str]) -> None:
    cfg = compose([*overrides, "model/net/decode_head=da", "model/criterion=ce_danet"])
    check(cfg)
    module = build(cfg).module
    terms = {"decode.loss_ce", "decode_pam.loss_ce", "decode_cam.loss_ce", "aux.loss_ce"}
    assert terms <= set(module.criterion(module(torch.zeros(2, 3, 32, 32)), torch.zeros(2, 32, 32).long()))
    del cfg.model.criterion.decode_cam
    with pytest.raises(
        ConfigError, match=r"^model\.criterion\.decode_cam: is missing; a head of the net gives further"
    ):
        check(cfg)
