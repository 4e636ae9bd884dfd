"""Train a segmentor: `python -m seglit.train +experiment=... key=value`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from seglit.check import check
from seglit.config import ConfigError, conf_dir, readable_errors, refuse_shadowing, to_text
from seglit.going_on import going_on, hide_later_curves, is_resumed, steps_of
from seglit.startup import without_collection

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from seglit.build import Parts


def main() -> None:
    """The command. A mistake in the configuration is one line on standard error and exit status 2."""
    # Hydra would print its own words and hide the error from us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with readable_errors():
        words = sys.argv[1:]
        if is_resumed(words):
            run(going_on(words))
        else:
            _composed()


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def _composed(cfg: DictConfig) -> float:
    # Inside as well: Hydra announces what leaves a job in words of its own.
    with without_empty_folder(), readable_errors():
        refuse_user_shadowing()
        try:
            return run(cfg)
        except OmegaConfBaseException as error:
            # What is composed and checked has every key: to read another is no mistake of the user's.
            raise RuntimeError(f"a mistake in seglit, not in the configuration: {error}") from error


@contextmanager
def without_empty_folder() -> Iterator[None]:
    """Take away the folder that Hydra makes for a run, where the run was refused or wrote elsewhere.

    That of a job in a sweep stays, so that the table of the sweep shows that there was one.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        yield
    finally:
        config = HydraConfig.get()
        folder = Path(config.runtime.output_dir)
        if config.mode == RunMode.RUN and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def refuse_ranks_in_sweeps(trainer: "Trainer") -> None:
    """Refuse a sweep of runs that start themselves again for each rank: the copies would repeat the sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

    sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if sweep and isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher) and trainer.world_size > 1:
        raise ConfigError(
            "trainer.strategy: a sweep cannot have several devices by this strategy, as each rank would repeat the "
            "sweep; use ddp_spawn"
        )


def refuse_user_shadowing() -> None:
    """Refuse files of the user's `--config-dir` that seglit's own would silently beat."""
    from hydra.core.hydra_config import HydraConfig

    for source in HydraConfig.get().runtime.config_sources:
        if source.provider == "command-line":
            refuse_shadowing(Path(source.path))


def run(cfg: DictConfig) -> float:
    """Check, build, print the receipt, train, and test the best checkpoint.

    Returns:
        The best validation mIoU, which sweeps maximise.

    Raises:
        ConfigError: where the configuration would not do what it says.
    """
    with without_collection():
        check(cfg)
        if cfg.ckpt_path:
            from seglit.resume import refuse_changes

            refuse_changes(cfg, Path(cfg.ckpt_path))
            hide_later_curves(cfg, steps_of(Path(cfg.ckpt_path)))

        import torch
        from lightning.pytorch import seed_everything

        from seglit.build import build
        from seglit.card import averages_weights, write_card

    seed_everything(cfg.seed, verbose=False)
    parts = build(cfg)
    refuse_ranks_in_sweeps(parts.trainer)
    prepare(cfg, parts)
    parts.trainer.fit(parts.module, datamodule=parts.datamodule, ckpt_path=cfg.ckpt_path)
    end_if_interrupted(cfg, parts.trainer)
    best = best_checkpoint(parts.trainer)
    if cfg.test_after_fit:
        if path := getattr(best, "best_model_path", ""):
            # Not by the trainer: with averaged weights it would put the current ones in their place.
            parts.module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
        parts.trainer.test(parts.module, datamodule=parts.datamodule, verbose=False)
        if parts.trainer.is_global_zero:
            averaged = averages_weights(map(type, parts.trainer.callbacks))  # type: ignore[attr-defined]
            write_card(Path(cfg.output_dir), parts, "test", averaged)
            score = float(parts.trainer.callback_metrics["test/miou"])
            print(f"test mIoU {score:.4f}; the run is in {cfg.output_dir}")
    best_score = getattr(best, "best_model_score", None)
    return float("nan") if best_score is None else float(best_score)


def best_checkpoint(trainer: "Trainer") -> Any:
    """The callback that keeps the best weights; None where there is none, but only of those of the last steps."""
    from seglit.check.callback_rules import PLACES

    known = (callback for callback in trainer.checkpoint_callbacks if hasattr(callback, "best_model_path"))
    return next((callback for callback in known if getattr(callback, "monitor", None) not in PLACES), None)


def prepare(cfg: DictConfig, parts: "Parts") -> None:
    """Print and store what will run, and give the module what its checkpoints shall hold.

    Raises:
        ConfigError: where the run would not go on as its checkpoint was trained.
        DataError: where files of the data set are missing.
    """
    import json

    from rich.console import Console

    from seglit.files import write_text
    from seglit.receipt import images_per_step, receipt, receipt_tables
    from seglit.resume import refuse_other_values

    folder = Path(cfg.output_dir)
    if parts.trainer.is_global_zero:
        refuse_taken(folder, resumed=bool(cfg.ckpt_path))
        Console().print(receipt_tables(receipt(parts.module, parts.datamodule, parts.trainer)))
    parts.datamodule.setup("fit")
    if cfg.test_after_fit:
        # What is missing there is to be told now, not when the training is done.
        parts.datamodule.setup("test")
    try:
        parts.module.measure_class_weight(parts.datamodule)
    except ValueError as error:
        raise ConfigError(f"model.criterion: {error}") from error
    parts.module.images_per_step = images_per_step(parts.datamodule, parts.trainer)
    if cfg.ckpt_path:
        refuse_other_values(parts.module, Path(cfg.ckpt_path))
        go_on_with_curves(parts.trainer, Path(cfg.ckpt_path))
    if parts.trainer.is_global_zero:
        content = receipt(parts.module, parts.datamodule, parts.trainer) | {"overrides": job_overrides()}
        write_text(folder / "receipt.json", json.dumps(content, indent=2) + "\n")
        write_text(folder / "config.yaml", to_text(cfg))
    parts.module.config = checkpoint_config(cfg, parts.datamodule)


def go_on_with_curves(trainer: "Trainer", checkpoint: Path) -> None:
    """Take out of the table of logged numbers what the steps after the checkpoint will log again."""
    from seglit.curves import TABLE, Curves, cut

    for logger in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(logger, Curves) and (table := Path(logger.log_dir) / TABLE).is_file():
            cut(table, steps_of(checkpoint))


def end_if_interrupted(cfg: DictConfig, trainer: "Trainer") -> None:
    """End a run that was asked to stop, with the status that tells the shell so."""
    from seglit.callbacks import Interruption

    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Interruption) and callback.signal is not None:
            if trainer.is_global_zero:
                print(f"stopped at step {trainer.global_step}; it goes on by resume={cfg.output_dir}", file=sys.stderr)
            raise SystemExit(callback.exit_status)


def refuse_taken(folder: Path, *, resumed: bool) -> None:
    """Refuse a folder in which a run is already, and one that cannot be made.

    Args:
        folder: what the run shall write into.
        resumed: whether it goes on from a checkpoint, which may be in the same folder.

    Raises:
        ConfigError: names the folder and the mend.
    """
    if (folder / "receipt.json").exists() and not resumed:
        raise ConfigError(f"output_dir: {folder} holds a run; give another, or go on with that run by resume={folder}")
    refuse_unwritable(folder)


def refuse_unwritable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written into.

    Raises:
        ConfigError: names the folder and the mend.
    """
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(f"output_dir: {folder} cannot be made, as {above} is no folder to write into; give another")


def job_overrides() -> list[str]:
    """What the command line of the job says, or in a sweep its share of it; empty outside of Hydra's jobs."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def checkpoint_config(cfg: DictConfig, datamodule: Any) -> str:
    """The configuration as text, with what the data set's own description says of classes and images."""
    from omegaconf import OmegaConf

    known = OmegaConf.create(to_text(cfg))
    for name in ("classes", "palette", "mean", "std"):
        value = getattr(datamodule, name)
        known.data[name] = [list(entry) if isinstance(entry, tuple) else entry for entry in value]
    return OmegaConf.to_yaml(known)


if __name__ == "__main__":
    main()
