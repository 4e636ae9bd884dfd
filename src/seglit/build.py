"""From a checked configuration to the objects that it names."""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from omegaconf import DictConfig

from seglit.config import ConfigError
from seglit.data.datamodule import SegmentationDataModule
from seglit.module import SegmentationModule


def hush() -> None:
    """Keep Lightning's advertisements, and its warnings about what seglit does on purpose, off the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for words in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",
        r"The '.*dataloader' does not have many workers",
        r"Experiment logs directory .* exists and is not empty",
        r"Checkpoint directory .* exists and is not empty",
        r"The dirpath has changed from",
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
    module = built(cfg.model, "model")
    callbacks = [built(node, f"callbacks.{name}") for name, node in cfg.callbacks.items() if node is not None]
    loggers = [built(node, f"logger.{name}") for name, node in cfg.logger.items() if node is not None]
    # Lightning would put one of its own in the place of a callback that is switched off.
    kinds = {"enable_progress_bar": ProgressBar, "enable_checkpointing": Checkpoint}
    switches = {
        name: any(isinstance(callback, kind) for callback in callbacks)
        for name, kind in kinds.items()
        if name not in cfg.trainer
    }
    trainer = built(
        cfg.trainer,
        "trainer",
        callbacks=callbacks,
        logger=loggers or False,
        default_root_dir=str(cfg.output_dir),
        **switches,
    )
    refuse_what_the_device_cannot(trainer, cfg.trainer)
    try:
        module.build_optimizer()
    except ValueError as error:
        raise ConfigError(f"model.paramwise: {error}") from error
    return Parts(datamodule, module, trainer)


def refuse_what_the_device_cannot(trainer: Trainer, asked: DictConfig) -> None:
    """Refuse fp16 where Lightning would quietly take bf16 for it, and norms over several devices that are no GPUs.

    Raises:
        ConfigError: names the key and the mend.
    """
    precision, taken = str(asked.get("precision")), trainer.precision
    if precision.startswith("16") and taken.startswith("bf16"):
        raise ConfigError(f"trainer.precision: {precision} is not for this device; it would train with {taken}")
    if asked.get("sync_batchnorm") and trainer.world_size > 1 and trainer.strategy.root_device.type == "cpu":
        raise ConfigError("trainer.sync_batchnorm: works on GPUs only; leave it out on CPUs")


def built(node: DictConfig, key: str, **arguments: Any) -> Any:
    """What a node describes, with lists and dicts in place of OmegaConf's.

    Raises:
        ConfigError: the constructor's own words, behind the key of the section.
    """
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError):
            raise ConfigError(f"{key}: {cause}") from error
        raise
