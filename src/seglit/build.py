"""From a checked configuration to the objects that it names."""

import logging
import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from omegaconf import DictConfig

from seglit.checkpoint import resuming
from seglit.checkpoint_io import WholeCheckpointIO
from seglit.config import ConfigError
from seglit.data.datamodule import SegmentationDataModule
from seglit.module import SchedulerCallable, SegmentationModule
from seglit.optim import Schedule


def hush() -> None:
    """Keep Lightning's advertisements, and its warnings about what seglit does on purpose, off the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for words in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
        r"The '.*dataloader' does not have many workers",
        r"Experiment logs directory .* exists and is not empty",
        r"Checkpoint directory .* exists and is not empty",
        r"The dirpath has changed from",  # what is kept of another folder, BestCheckpoint knows
        r"LightningCLI's args parameter is intended",  # the experiment's configuration is put among them
        r"You passed `Trainer\(accelerator=.cpu., precision=.16-mixed",  # refused, in words of its own
        r"`precision=16` is supported for historical reasons",
        r"It is recommended to use `self.log\('(val|test)/",  # each rank has the confusion matrix of all
    ):
        warnings.filterwarnings("ignore", message=words)


@dataclass(frozen=True)
class Parts:
    """What a run is made of."""

    datamodule: SegmentationDataModule
    module: SegmentationModule
    trainer: Trainer


def build(cfg: DictConfig) -> Parts:
    """Build data, module and trainer.

    Raises:
        ConfigError: names the section, and says what the constructor said, where an argument is refused.
    """
    hush()
    datamodule = built(cfg.data, "data")
    module = built(resuming(cfg).model if cfg.ckpt_path else cfg.model, "model")
    callbacks = [built(node, f"callbacks.{name}") for name, node in cfg.callbacks.items() if node is not None]
    loggers = [built(node, f"logger.{name}") for name, node in cfg.logger.items() if node is not None]
    defaults = {name: value for name, value in own_callbacks(map(type, callbacks)).items() if name not in cfg.trainer}
    trainer = built(
        cfg.trainer,
        "trainer",
        callbacks=callbacks,
        logger=loggers or False,
        default_root_dir=str(cfg.output_dir),
        **({} if cfg.trainer.get("plugins") is not None else {"plugins": [WholeCheckpointIO()]}),
        **defaults,
    )
    parts = Parts(datamodule, module, trainer)
    refuse_misfits(parts, cfg)
    return parts


def own_callbacks(classes: Iterable[type]) -> dict[str, bool]:
    """Arguments of the Trainer that keep it from putting callbacks of its own in the place of what is switched off."""
    kinds = {"enable_progress_bar": ProgressBar, "enable_checkpointing": Checkpoint}
    known = tuple(classes)
    return {name: any(issubclass(one, kind) for one in known) for name, kind in kinds.items()}


def refuse_misfits(parts: Parts, cfg: DictConfig) -> None:
    """Refuse what only shows when the parts are there: rules without a parameter, and what the device cannot do.

    That is fp16 where Lightning would quietly take bf16 for it, and norms over several devices that are no GPUs.

    Raises:
        ConfigError: names the key and the mend.
    """
    try:
        parts.module.build_optimizer()
    except ValueError as error:
        place = "optimizer" if str(error).startswith(("lr ", "weight_decay ")) else "paramwise"
        raise ConfigError(f"model.{place}: {error}") from error
    if parts.module.make_scheduler is not None:
        refuse_other_ratios(parts.module, parts.module.make_scheduler, parts.trainer.max_steps)
    trainer, asked = parts.trainer, cfg.trainer
    if parts.module.normalize == "global" and trainer.world_size > 1:
        try:
            parts.module.criterion.check_shared()
        except ValueError as error:
            raise ConfigError(f"model.{error}") from error
    precision, taken = str(asked.get("precision")), trainer.precision
    if precision.startswith("16") and taken.startswith("bf16"):
        raise ConfigError(f"trainer.precision: {precision} is not for this device; it would train with {taken}")
    if asked.get("sync_batchnorm") and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        raise ConfigError("trainer.sync_batchnorm: works on GPUs only; leave it out on CPUs")


def refuse_other_ratios(module: SegmentationModule, make_scheduler: SchedulerCallable, steps: int) -> None:
    """Refuse a schedule after which the groups' rates are not to each other as they were given.

    Those of seglit keep them, or say so; many of torch give all groups one rate, or one floor.

    Raises:
        ConfigError: names the schedule, the group and the mend.
    """
    optimizer = module.build_optimizer()
    base = [float(group["lr"]) for group in optimizer.param_groups]
    try:
        scheduler = make_scheduler(optimizer)
    except ValueError as error:
        raise ConfigError(f"model.scheduler: {' '.join(str(error).split())}") from error
    if isinstance(scheduler, Schedule) or len(set(base)) == 1:
        return
    first, first_rate = max(zip(optimizer.param_groups, base, strict=True), key=lambda pair: pair[1])
    for _ in range(min(steps, 100)):
        for group, rate in zip(optimizer.param_groups, base, strict=True):
            # Far above what rounding makes of a hundred steps, far below what a floor shared by all does.
            if not math.isclose(group["lr"] * first_rate, first["lr"] * rate, rel_tol=1e-11):
                raise ConfigError(
                    f"model.scheduler: {type(scheduler).__name__} does not keep the learning rate of group "
                    f"'{group['name']}' at {rate / first_rate:g} times that of '{first['name']}'; use a schedule of "
                    "seglit.optim"
                )
        # Without gradients nothing changes, and torch wants it before the schedule's step.
        optimizer.step()
        scheduler.step()


def built(node: DictConfig, key: str, **arguments: Any) -> Any:
    """What a node describes, with lists and dicts in place of OmegaConf's.

    Raises:
        ConfigError: the constructor's own words, behind the key of the node, or that of the section.
    """
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        # Optional packages are asked for by name, here Lightning's loggers and timm.
        if isinstance(cause, ValueError | ImportError | MisconfigurationException):
            found = re.search(r"full_key: (\S+)", str(error))
            raise ConfigError(f"{found.group(1) if found else key}: {' '.join(str(cause).split())}") from error
        raise
