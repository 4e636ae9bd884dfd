"""Deliberate mistakes, each with the words that it gets; and the shipped configurations, which have none."""

import copy
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from torch import nn

import make_recipes
from seglit.check import check
from seglit.check.nodes import resolve, signature, target_problems
from seglit.config import ConfigError, compose, conf_dir, explain, plain

BASE = ["name=x", "output_dir=out"]

MISTAKES = [
    ("seed=-1", "seed: must be from 0 to 4294967295, got -1"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val: must be above 0, got -1"),
    ("+experiment.trainer.max_steps=3", "experiment: no such key; does the file of +experiment=... begin with"),
    (
        "+model.criterion.decode.sampler={_target_: seglit.losses.OHEMPixelSampler}",
        "sampler.min_kept: 100000, but a crop has 160 x 160 pixels, so that all are kept",
    ),
    (
        "model.criterion.decode.sampler="
        "{_target_: seglit.losses.OHEMPixelSampler, min_kept: 1000000, per_image: false}",
        "sampler.min_kept: 1000000, but 8 crops have 160 x 160 pixels",
    ),
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
        "model.criterion.decode.losses.loss_cee: has no _target_; did you mean 'loss_ce'?",
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
    ("+model.criterion.decodee.weight=1", "model.criterion.decodee: the net has no such head; did you mean 'decode'?"),
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
    ("model.optimizer.lr=${model.lrate}", "model.optimizer.lr: Interpolation key 'model.lrate' not found"),
    ("+model.net.backbone._args_=[3]", "model.net.backbone._args_: positions are not checked"),
    ("data.num_workers='3'", "should be a valid integer; write the number 3"),
    ("data.label_map={a: 0}", "data.label_map.a: 'a' is not of its type; should be a valid integer"),
    ("data.label_map={1: b}", "data.label_map.1: 'b' is not of its type; should be a valid integer"),
    ("data.mean=[1,x,3]", "data.mean: [1, 'x', 3] is not of its type; should be a valid number"),
    ("model.inference.window=[512,x]", "model.inference.window: [512, 'x'] is not of its type"),
    ("model.inference.scales=1.0", "model.inference.scales: 1.0 is not of its type"),
    ("model.net.backbone=resnet18", "model.net.backbone: 'resnet18' is no object; give a node with a _target_"),
    ("model.net.auxiliary_heads=3", "model.net.auxiliary_heads: 3 is no object"),
    ("+data.train_transforms.blur.p=1.0", "data.train_transforms.blur: has no _target_"),
    ("data.train_transforms.vertical_flip=null", "data.train_transforms.vertical_flip: is null"),
    ("data.train_transforms=3", "data.train_transforms: 3 is no object"),
    ("data.train_transforms.crop.ignore_index=0", "crop.ignore_index: 0, but data.ignore_index is 255"),
    ("+callbacks.checkpont.filename=x", "callbacks.checkpont: has no _target_; did you mean 'checkpoint'?"),
    ("model.paramwise=3", "model.paramwise: 3 is not of its type"),
    ("+model.paramwise.norm_decay_mult=abc", "model.paramwise.norm_decay_mult: 'abc' is not of its type"),
    ("+model.paramwise.custom_keys.head=3", "model.paramwise.custom_keys.head: 3 is not of its type"),
    ("trainer._target_=lightning.pytorch", "trainer._target_: lightning.pytorch: is no class or function"),
    ("++model.criterion._target_=", "model.criterion._target_"),
    ("+model.paramwise.custom_keys.head=null", "model.paramwise.custom_keys.head: is null; give it lr_mult"),
    ("+model.paramwise.custom_keys={head: {lr_mult: null}}", "custom_keys.head.lr_mult: is null; give a number"),
    ("trainer.accumulate_grad_batches=3", "trainer.val_check_interval: 200 batches are no whole number of steps of"),
    ("+trainer.limit_train_batches=3", "trainer.limit_train_batches: 3, but trainer.max_steps ends the run"),
    ("+trainer.fast_dev_run=true", "trainer.fast_dev_run: True would switch checkpoints and loggers off; use +debug="),
    ("trainer.limit_val_batches=0", "trainer.limit_val_batches: 0, so that nothing would be evaluated"),
    ("trainer.limit_test_batches=0", "trainer.limit_test_batches: 0, but test_after_fit is true"),
    ("trainer.log_every_n_steps=0", "trainer.log_every_n_steps: must be 1 or more, got 0"),
    ("trainer.gradient_clip_algorithm=norm", "norm clips nothing without trainer.gradient_clip_val"),
    ("+trainer.logger=false", "trainer.logger: would be ignored; say it at logger"),
    ("+trainer.callbacks=[]", "trainer.callbacks: would be ignored; say it at callbacks"),
    ("+trainer.default_root_dir=x", "trainer.default_root_dir: would be ignored; say it at output_dir"),
    ("+trainer.enable_checkpointing=false", "trainer.enable_checkpointing: false, but there is callbacks.checkpoint"),
    ("+trainer.enable_progress_bar=false", "trainer.enable_progress_bar: false, but there is callbacks.progress"),
    ("logger={csv: null, tensorboard: null}", "LearningRateMonitor needs a logger, and there is none"),
    ("callbacks.checkpoint.monitor=val/mIoU", "monitor: val/mIoU is not logged; did you mean 'val/miou'?"),
    ("callbacks.checkpoint.monitor=train/decode.loss_dice", "is not logged; did you mean 'train/decode.loss_ce'?"),
    ("callbacks.checkpoint.mode=min", "checkpoint.mode: min, but of val/miou the maximum is best; set it to max"),
    ("~callbacks.checkpoint.mode", "callbacks.checkpoint.mode: min, but of val/miou the maximum is best"),
    ("callbacks.checkpoint.monitor=train/loss", "mode: max, but of train/loss the minimum is best; set it to min"),
    (
        "+callbacks.stop={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val_miou, mode: max}",
        "callbacks.stop.monitor: val_miou is not logged; did you mean 'val/miou'?",
    ),
    ("data.seed=3", "data.seed: 3, but seed is 0; seed=0 alone sets both"),
    ("callbacks.step_seed.seed=3", "callbacks.step_seed.seed: 3, but seed is 0"),
]

TORCH_SCHEDULES = [
    ("PolynomialLR", {"total_iters": 5}, "model.scheduler.total_iters: the schedule ends at 5, but the run at"),
    ("PolynomialLR", {}, "model.scheduler.total_iters: the schedule ends at 5, but the run at"),
    ("PolynomialLR", {"total_iters": 800}, None),
    ("CosineAnnealingLR", {"T_max": 80}, "model.scheduler.T_max: the schedule ends at 80, but the run at"),
    ("OneCycleLR", {"max_lr": 1, "total_steps": 80}, "model.scheduler.total_steps: the schedule ends at 80, but"),
    ("LinearLR", {"total_iters": 80}, None),
    ("LinearLR", {"total_iters": 80, "end_factor": 0.1}, "model.scheduler.total_iters: the schedule ends at 80"),
    ("ReduceLROnPlateau", {}, "ReduceLROnPlateau needs a score at each step, and there is none"),
]


@pytest.mark.parametrize(("name", "arguments", "words"), TORCH_SCHEDULES)
def test_a_schedule_of_torch_ends_with_the_run(name: str, arguments: dict[str, Any], words: str | None) -> None:
    cfg = compose(BASE)
    OmegaConf.set_struct(cfg, False)
    cfg.model.scheduler = {"_target_": f"torch.optim.lr_scheduler.{name}", "_partial_": True, **arguments}
    if words is None:
        check(cfg)
        return
    with pytest.raises(ConfigError) as caught:
        check(cfg)
    assert words in str(caught.value)


def test_names_that_others_log_are_taken_as_they_are() -> None:
    stranger = "+callbacks.mine={_target_: conftest.Watcher}"
    check(compose([*BASE, "callbacks.checkpoint.monitor=val/mine", stranger]))


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=[mistake for mistake, _ in MISTAKES])
def test_a_mistake_is_named(mistake: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose([*BASE, mistake]))
    assert words in str(caught.value)
    assert explain(caught.value).startswith("config: ")


def shipped(group: str) -> list[str]:
    names = sorted(path.stem for path in (conf_dir() / group).glob("[!_]*.yaml"))
    assert names
    return names


FITTING = {
    "ce_coarse": ["model=ocrnet_hr18s"],
    "ce_danet": ["model=danet_r50-d8"],
    "ce_decode": ["model/net/auxiliary_heads=none"],
    "bisenetv1": ["model/net/auxiliary_heads=bisenetv1"],
    "bisenetv2": ["model/net/auxiliary_heads=bisenetv2"],
    "ddrnet": ["model/net/auxiliary_heads=ddrnet_23"],
    "fast_scnn": ["model/net/auxiliary_heads=fast_scnn"],
    "pidnet": ["model/net/auxiliary_heads=pidnet-s"],
    "stdc": ["model/net/auxiliary_heads=stdc"],
}
"""Criteria of other heads than the default model's, and what has them."""


def groups() -> list[list[str]]:
    runs = [[f"model={name}"] for name in shipped("model")]
    runs += [[*FITTING.get(name, []), f"model/criterion={name}"] for name in shipped("model/criterion")]
    runs += [[f"model/optimizer={name}"] for name in shipped("model/optimizer")]
    runs += [[f"model/scheduler={name}"] for name in shipped("model/scheduler") if name != "step"]
    runs += [["model/scheduler=step", "model.scheduler.milestones=[0.5]"]]
    runs += [[f"data={name}", "data.root=x", "data.num_classes=7"] for name in shipped("data")]
    runs += [[f"callbacks={name}"] for name in shipped("callbacks")]
    # Those of the table: tests/scripts/test_make_recipes.py.
    written = {recipe.name for recipe in make_recipes.recipes()}
    runs += [[f"+experiment={name}"] for name in shipped("experiment") if name not in written]
    runs += [[f"+debug={name}"] for name in shipped("debug")]
    runs += [[f"+tricks=[{name}]"] for name in shipped("tricks")]
    return runs


@pytest.mark.parametrize("run", groups(), ids=" ".join)
def test_every_shipped_configuration_passes(run: list[str]) -> None:
    cfg = compose([*BASE, *run])
    check(cfg)
    check(cfg, trusted=False)


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


@pytest.mark.slow
def test_every_misspelt_key_is_refused() -> None:
    tricks = "+tricks=[head_lr_x10,ohem,class_weight,ce_dice,avg_non_ignore]"
    content = plain(compose([*BASE, tricks]))
    check(OmegaConf.create(content))
    paths = [path for path in keys_below(content) if path[:-1] not in FREE_NAMES]
    assert len(paths) > 100
    accepted = []
    for path in paths:
        broken = copy.deepcopy(content)
        node = broken
        for name in path[:-1]:
            node = node[name]
        node[f"{path[-1]}x"] = node.pop(path[-1])
        accepted += [path] if passes(broken) else []
    assert accepted == []


ATTACKS = [
    ("model.optimizer", {"_target_": "os.system", "command": "true"}),
    ("model.net.backbone", {"_target_": "seglit.train.os.system", "command": "true"}),
    ("model.net.backbone", {"_target_": "seglit.files.write_text", "path": "x", "text": "y"}),
    ("model.net.backbone", {"_target_": "lightning.pytorch.LightningModule.load_from_checkpoint"}),
    ("model.net.backbone", {"_target_": "lightning.pytorch.cli.LightningCLI"}),
    ("model.net", {"_target_": "seglit.cli.SegmentationCLI", "arguments": ["test", "--ckpt_path=evil.pkl"]}),
    ("model", {"_target_": "seglit.cli.SegmentationCLI", "arguments": []}),
    ("trainer._target_", "seglit.cli.SegmentationCLI"),
    ("model.net.backbone", {"_target_": "seglit.build.Parts"}),
    ("model.net.backbone", {"_target_": "lightning.pytorch.demos.boring_classes.BoringModel"}),
    ("model.net.backbone", {"_target_": "timm.models.resnet.ResNet"}),
    ("model._target_", "torch.nn.Identity"),
    ("data._target_", "seglit.callbacks.Progress"),
    ("trainer._target_", "torch.nn.Identity"),
    ("model.net.backbone", {"_target_": "torch.load", "f": "x"}),
    ("model.net.backbone", {"_target_": "seglitother.Net"}),
    ("model.net.backbone", {"_target_": "seglit.backbones.UNet", "_args_": [{"_target_": "os.system"}]}),
    ("model.net.backbone", {"_target_": "seglit.backbones.Uet"}),
    ("model.inference.scales", [[{"_target_": "os.system", "command": "true"}]]),
    ("model.paramwise", {"custom_keys": {"head": {"_target_": "os.system", "command": "true"}}}),
    ("data.label_map", {"_target_": "builtins.eval"}),
    ("seed", {"_target_": "os.system"}),
]


@pytest.mark.parametrize(("key", "node"), ATTACKS, ids=[f"{key} {node}" for key, node in ATTACKS])
def test_a_checkpoint_may_name_only_known_classes(key: str, node: Any) -> None:
    cfg = compose(BASE)
    check(cfg, trusted=False)
    OmegaConf.set_struct(cfg, False)
    OmegaConf.update(cfg, key, node, merge=False)
    with pytest.raises(ConfigError) as caught:
        check(cfg, trusted=False)
    assert key in str(caught.value)
    assert "is no class that a checkpoint may name" in str(caught.value) or "did you mean" in str(caught.value)


def test_what_a_checkpoint_may_not_name_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lurking_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    cfg = compose(BASE)
    OmegaConf.set_struct(cfg, False)
    cfg.model.net.backbone = {"_target_": "lurking_module.Net"}
    with pytest.raises(ConfigError, match=r"lurking_module\.Net is no class"):
        check(cfg, trusted=False)


def test_missing_sections_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        check(OmegaConf.create({"data": {}, "trainer": {}, "callbacks": [1]}))
    lines = str(caught.value).splitlines()
    assert "model: is missing" in lines
    assert "data: has no _target_" in lines
    assert any(line.startswith("callbacks: [1]") for line in lines)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose([*BASE, "+seeed=1", "model.optimizer.lr=abc", "model.scheduler.total_steps=5", "logger.csv=3"]))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "seeed",
        "model.optimizer.lr",
        "logger.csv",
        "model.scheduler.total_steps",
    ]


RIGHT = [
    "model.optimizer.lr=1",
    "model.optimizer.lr=1e-3",
    "model.inference.window=[512,512]",
    "model.inference.scales=[1,0.5]",
    "data.label_map={1: 0, 2: 255}",
    "data.palette=[[0,0,0],[1,1,1]]",
    "~data.train_transforms.vertical_flip",
    "~data.train_transforms",
    "callbacks.tables=null",
    "trainer.devices=[0,1]",
    "trainer.devices='2'",
    "trainer.accumulate_grad_batches=4",
    "callbacks.checkpoint.monitor=null",
    "callbacks.checkpoint={monitor: train/decode.loss_ce, mode: min}",
    "callbacks.checkpoint.monitor=train/decode.acc_seg",
    "callbacks.checkpoint.monitor=val/mdice",
    "callbacks.checkpoint=null",
    "+trainer.enable_checkpointing=true",
    "trainer={gradient_clip_val: 1, gradient_clip_algorithm: norm}",
    "seed=5",
    "logger.csv=null",
    "+model.paramwise.custom_keys={backbone.stem: {lr_mult: 2}}",
    "+model.paramwise.norm_decay_mult=0",
    "model.scheduler=null",
    "model.criterion.decode.losses.loss_ce.class_weight=[1,2,3,4,5,6,7]",
    "+logger.tensorboard.flush_secs=3",
    "+model.optimizer.betas=[0.8,0.9]",
]


@pytest.mark.parametrize("override", RIGHT)
def test_what_is_right_passes(override: str) -> None:
    check(compose([*BASE, override]))


class Plain:
    def __init__(
        self,
        pair: tuple[tuple[float, float], ...] = (),
        either: int | list[Any] | None = None,
        colour: Enum | None = None,
        unknown: Any = None,
        *rest: int,
        later: "NowhereDefined | None" = None,  # type: ignore[name-defined]
    ) -> None: ...


class Told(Plain):
    def __init__(
        self,
        pair: tuple[tuple[float, float], ...] = (),
        either: int | list[Callable[[], int]] | None = None,
        colour: Enum | None = None,
        layers: Sequence[nn.Module] = (),
        unknown: Any = None,
    ) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pair": [[1, 2], [3.0, 4.0]]}, None),
        ({"pair": [[1, 2, 3]]}, "pair"),
        ({"either": []}, None),
        ({"either": 3}, None),
        ({"either": "x"}, "either: 'x' is not of its type; should be a valid integer"),
        ({"colour": "red"}, None),
        ({"unknown": {"a": [1]}}, None),
        ({"layers": [{"_target_": "torch.nn.Identity"}]}, None),
        ({"layers": [{"_target_": "torch.nn.Idenity"}]}, "layers[0]._target_: torch.nn.Idenity"),
        ({"layers": [{"p": 1}]}, "layers[0]: has no _target_"),
        ({"rest": 3}, "rest: x takes no such argument"),
    ],
)
def test_types_of_values(arguments: dict[str, Any], words: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seglit.check.nodes.resolve", lambda path, real=resolve: Told if path == "x" else real(path))
    problems = target_problems({"_target_": "x", **arguments}, "key")
    assert (problems == []) if words is None else (len(problems) == 1 and f"key.{words}" in problems[0])


def test_a_type_that_cannot_be_had_leaves_the_names() -> None:
    parameters, hints = signature(Plain)
    assert hints == {}
    assert "later" in parameters
    assert signature(dict.fromkeys)[0].keys() == {"arguments"} or "iterable" in signature(dict.fromkeys)[0]


def test_resolve_says_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy_module.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="needs the package surely_not_installed"):
        resolve("needy_module.Net")
    with pytest.raises(ConfigError, match=r"torch\.optim has no 'Adamm'; did you mean 'Adam'"):
        resolve("torch.optim.Adamm")
