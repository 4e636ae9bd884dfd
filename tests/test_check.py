"""Deliberate mistakes, each with the words that it gets; and the shipped configurations, which have none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from seglit.check import check
from seglit.config import ConfigError, compose, conf_dir, explain, from_text, plain, refuse_shadowing, to_text

BASE = ["name=x", "output_dir=out"]

MISTAKES = [
    ("model.optimizer.lrr=1", "model.optimizer.lrr: no such key; did you mean 'lr'?"),
    ("+model.optimizer.lrr=1", "model.optimizer.lrr: torch.optim.AdamW takes no such argument; did you mean 'lr'?"),
    ("+seeed=1", "seeed: no such key; did you mean 'seed'?"),
    ("modell=3", "modell: no such key; did you mean 'model'?"),
    ("model=pspnt_r50-d8", "model=pspnt_r50-d8: no such file; did you mean 'pspnet_r50-d8'?"),
    ("+tricks=[ohm]", "tricks=ohm: no such file; did you mean 'ohem'?"),
    ("+trick=[ohem]", "trick: no such key"),
    ("+experiment=bluemarbel", "experiment=bluemarbel: no such file; did you mean 'bluemarble'?"),
    ("model.optimizer.lr=abc", "model.optimizer.lr: 'abc' is not of its type"),
    (
        "model.optimizer.lr='1e-3'",
        "model.optimizer.lr: '1e-3' is not of its type; should be a valid number; write the number 0.001",
    ),
    ("model.net.backbone.base_channels=x", "model.net.backbone.base_channels: 'x' is not of its type"),
    ("model.net.backbone.base_channels=1.5", "model.net.backbone.base_channels: 1.5 is not of its type"),
    ("data.num_workers=true", "data.num_workers: True is not of its type"),
    ("trainer.precision=bf17", "trainer.precision: 'bf17' is not of its type"),
    (
        "+trainer.max_step=3",
        "trainer.max_step: lightning.pytorch.Trainer takes no such argument; did you mean 'max_steps'?",
    ),
    (
        "+data.train_transforms.crop.hight=3",
        "crop.hight: seglit.data.transforms.RandomCrop takes no such argument; did you mean 'height'?",
    ),
    (
        "+model.criterion.decode.losses.loss_cee.loss_weight=2",
        "model.criterion.decode.losses.loss_cee: has no _target_",
    ),
    ("model.criterion.decode.losses.loss_ce=3", "model.criterion.decode.losses.loss_ce: 3 is no object"),
    ("model.criterion.decode.losses.loss_ce.use_sigmoid=yess", "use_sigmoid: 'yess' is not of its type"),
    ("+model.criterion.decode.ignore_indx=0", "HeadCriterion takes no such argument; did you mean 'ignore_index'?"),
    ("model.criterion.decode.ignore_index=3", "model.criterion.decode.ignore_index: 3, but data.ignore_index is 255"),
    ("model.net.decode_head.num_classes=5", "model.net.decode_head.num_classes: 5, but data.num_classes is 7"),
    (
        "model.criterion.decode.losses.loss_ce.class_weight=[1,2]",
        "loss_ce.class_weight: 2 weights for data.num_classes=7",
    ),
    ("model.criterion.decode.compat=mmseg", "model.criterion.decode.compat: 'mmseg' is not of its type"),
    ("+model.criterion.decodee.weight=1", "model.criterion.decodee: has no _target_"),
    ("~model.criterion.aux", "model.criterion.aux: is missing; the net has a head of that name"),
    ("~model.net.auxiliary_heads.aux", "model.criterion.aux: the net has no such head"),
    ("model.net.decode_head._target_=seglit.heads.FCNHed", "seglit.heads has no 'FCNHed'; did you mean 'FCNHead'?"),
    ("model.optimizer._target_=torchh.optim.SGD", "there is no package 'torchh'"),
    (
        "+model.paramwise.custom_keys.head.lrmult=3",
        "custom_keys.head.lrmult: no such multiplier; did you mean 'lr_mult'?",
    ),
    ("+model.paramwise.norm_decay=0", "model.paramwise.norm_decay: no such rule; did you mean 'norm_decay_mult'?"),
    ("model.scheduler.total_steps=5", "the schedule ends at 5, but the run at trainer.max_steps=800"),
    ("trainer.max_epochs=3", "trainer.max_epochs: must be -1"),
    ("trainer.max_steps=-1", "trainer.max_steps: must be 1 or more"),
    ("trainer.max_steps=100", "trainer.val_check_interval: 200 batches, but the run has 100"),
    ("trainer.check_val_every_n_epoch=1", "trainer.check_val_every_n_epoch: must be null"),
    ("trainer.use_distributed_sampler=true", "trainer.use_distributed_sampler: must be false"),
    ("data=folder", "data.root: has no value"),
    ("callbacks.tables.folder=null", "callbacks.tables.folder: None is not of its type"),
    ("+callbacks.mine.x=1", "callbacks.mine: has no _target_"),
    ("logger.csv=3", "logger.csv: has no _target_"),
    ("~model.optimizer", "model.optimizer: is missing; seglit.module.SegmentationModule needs it"),
    ("model.optimizer.lr=${model.lrate}", "lrate"),
]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=[mistake for mistake, _ in MISTAKES])
def test_a_mistake_is_named(mistake: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose([*BASE, mistake]))
    assert words in str(caught.value)
    assert explain(caught.value).startswith("config: ")


def shipped(group: str) -> list[str]:
    names = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    assert names
    return names


def groups() -> list[list[str]]:
    runs = [[f"model={name}"] for name in shipped("model")]
    runs += [[f"model/criterion={name}"] for name in shipped("model/criterion")]
    runs += [[f"model/optimizer={name}"] for name in shipped("model/optimizer")]
    runs += [[f"model/scheduler={name}"] for name in shipped("model/scheduler") if name != "step"]
    runs += [["model/scheduler=step", "model.scheduler.milestones=[0.5]"]]
    runs += [[f"data={name}", "data.root=x", "data.num_classes=7"] for name in shipped("data")]
    runs += [[f"callbacks={name}"] for name in shipped("callbacks")]
    runs += [[f"+experiment={name}"] for name in shipped("experiment")]
    runs += [[f"+debug={name}"] for name in shipped("debug")]
    runs += [[f"+tricks=[{name}]"] for name in shipped("tricks")]
    return runs


@pytest.mark.parametrize("run", groups(), ids=" ".join)
def test_every_shipped_configuration_passes(run: list[str]) -> None:
    check(compose([*BASE, *run]))


def keys_below(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in entries:
        if isinstance(node, dict):
            yield (*path, name)
        yield from keys_below(value, (*path, name))


FREE_NAMES = {
    ("callbacks",),
    ("logger",),
    ("data", "train_transforms"),
    ("data", "eval_transforms"),
    ("model", "criterion", "decode", "losses"),
    ("model", "criterion", "aux", "losses"),
    ("model", "paramwise", "custom_keys"),
}
"""Below these the user chooses the names; `loss_cee` is as good a name as `loss_ce`."""


def passes(content: Any) -> bool:
    try:
        check(OmegaConf.create(content))
    except ConfigError:
        return False
    return True


def test_every_misspelt_key_is_refused() -> None:
    tricks = "+tricks=[head_lr_x10,ohem,class_weight,ce_dice,avg_non_ignore]"
    content = plain(compose([*BASE, tricks]))
    check(OmegaConf.create(content))
    paths = [path for path in keys_below(content) if path[:-1] not in FREE_NAMES]
    assert len(paths) > 100
    accepted = []
    for path in paths:
        broken = OmegaConf.to_container(OmegaConf.create(content))
        node = broken
        for name in path[:-1]:
            node = node[name]
        node[f"{path[-1]}x"] = node.pop(path[-1])
        accepted += [path] if passes(broken) else []
    assert accepted == []


def test_a_checkpoint_may_name_only_known_packages() -> None:
    cfg = compose(BASE)
    check(cfg, trusted=False)
    cfg.model.optimizer = {"_target_": "os.system", "command": "true"}
    with pytest.raises(ConfigError, match=r"model\.optimizer\._target_: os\.system is not of a package"):
        check(cfg, trusted=False)


def test_missing_sections_are_named() -> None:
    with pytest.raises(ConfigError, match="model: is missing"):
        check(OmegaConf.create({"data": {}, "trainer": {}}))


def test_text_there_and_back() -> None:
    cfg = compose([*BASE, "model.optimizer.lr=1.23456789e-5"])
    again = from_text(to_text(cfg))
    assert isinstance(again, DictConfig)
    assert again.model.optimizer.lr == 1.23456789e-5
    assert again.model.scheduler.total_steps == cfg.trainer.max_steps
    with pytest.raises(ConfigError, match="no configuration"):
        from_text("- 1\n")


def test_a_users_folder_adds_files_but_shadows_none(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert compose([*BASE, "+experiment=mine"], tmp_path).seed == 7
    (tmp_path / "experiment" / "bluemarble.yaml").write_text("seed: 7\n")
    with pytest.raises(ConfigError, match="give yours another name"):
        refuse_shadowing(tmp_path)


def test_other_errors_are_not_put_into_words() -> None:
    assert explain(RuntimeError("a bug")) is None
