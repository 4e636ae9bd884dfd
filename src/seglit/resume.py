"""What must not change between a run and the one that goes on from its checkpoint."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from seglit.checkpoint import stored
from seglit.config import ConfigError, plain

if TYPE_CHECKING:
    from seglit.module import SegmentationModule

KEPT = (
    "seed",
    "data",
    "model",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_algorithm",
    "trainer.gradient_clip_val",
    "trainer.overfit_batches",
    "trainer.precision",
    "trainer.sync_batchnorm",
)
"""What decides about the weights, and is in the checkpoint or repeated from the start."""
FREE = (
    "data.cache",
    "data.cache_dir",
    "data.num_workers",
    "data.pin_memory",
    "data.prefetch_factor",
    "data.root",
    "model.boundary_iou",
    "model.channels_last",
    "model.compile",
    "model.criterion.kernels",
    "model.criterion.tiled",
)
"""Keys among these that may change: the same numbers, or only their rounding."""
DEVICES = ("trainer.devices", "trainer.num_nodes")
SHARED = ("data.batch_size", "trainer.accumulate_grad_batches")
"""Keys that may change together with the devices, if the number of images per step does not."""
DECIDING = (
    "StepSeed",
    "EMAWeightAveraging",
    "WeightAveraging",
    "StochasticWeightAveraging",
    "GradientAccumulationScheduler",
    "ModelPruning",
    "BackboneFinetuning",
)
"""Callbacks that decide about the weights; others only watch."""
DESCRIBED = ("data.classes", "data.mean", "data.palette", "data.std")
"""Keys that a checkpoint has filled in from the data set's own description."""
MEND = "ckpt_path: goes on with the old values only; or start a run without it"


def refuse_changes(cfg: DictConfig, checkpoint: Path) -> None:
    """Refuse to go on from a checkpoint with another configuration, as Lightning would train on with the saved rates.

    Args:
        cfg: the configuration of the run to come.
        checkpoint: what it shall go on from.

    Raises:
        ConfigError: one line for each key that differs, with both values.
    """
    before, now = plain(stored(checkpoint)[0]), plain(cfg)
    free = FREE if all(_at(before, key) == _at(now, key) for key in DEVICES) else (*FREE, *SHARED)
    changes = [change for place in KEPT for change in _differences(_at(before, place), _at(now, place), place)]
    lines = [
        f"{key}: {new}, but {checkpoint} was trained with {old}"
        for key, old, new in (*changes, *_callback_differences(before, now))
        if key not in free and not (key in DESCRIBED and new is None)
    ]
    if lines:
        raise ConfigError("\n".join([*lines, MEND]))


def refuse_other_values(module: "SegmentationModule", checkpoint: Path) -> None:
    """Refuse to go on where the same configuration gives other numbers, on other devices or with other files.

    Args:
        module: the module of the run to come, with all that its checkpoints shall hold.
        checkpoint: what it shall go on from.

    Raises:
        ConfigError: one line for each number that differs, with both values.
    """
    before, now = stored(checkpoint)[1]["seglit"], module.stored_values()
    if not set(now) <= set(before):
        raise ConfigError(f"{checkpoint}: is of an older seglit, and does not tell all that a run goes on from")
    lines = []
    if (old := before["images_per_step"]) != (new := now["images_per_step"]):
        lines.append(
            f"trainer.devices: {new} images per step, but {checkpoint} was trained with {old}; they are devices x "
            "data.batch_size x trainer.accumulate_grad_batches"
        )
    lines += [
        f"{key}: {new}, but {checkpoint} was trained with {old}"
        for key, old, new in _differences(before["criterion"], now["criterion"], "model.criterion")
    ]
    if lines:
        raise ConfigError("\n".join([*lines, MEND]))


def _callback_differences(before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Those of the callbacks that decide about the weights, whatever they are called."""
    old, new = _deciding(before), _deciding(now)
    for target in dict.fromkeys([*old, *new]):
        name = (new if target in new else old)[target][0]
        yield from _differences(old.get(target, ("", None))[1], new.get(target, ("", None))[1], f"callbacks.{name}")


def _deciding(content: Any) -> dict[str, tuple[str, Any]]:
    """Name and node of the callbacks that decide about the weights, by what they are."""
    nodes = {str(node["_target_"]): (name, node) for name, node in content["callbacks"].items() if node is not None}
    return {target: found for target, found in nodes.items() if target.rpartition(".")[2] in DECIDING}


def _at(content: Any, place: str) -> Any:
    """The value of a dotted key; None where there is none."""
    for name in place.split("."):
        content = content.get(name) if isinstance(content, Mapping) else None
    return content


def _differences(old: Any, new: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """The keys, as deep as they go, whose values differ."""
    if key in FREE or key in DESCRIBED or not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        if old != new:
            yield key, old, new
        return
    for name in dict.fromkeys([*old, *new]):
        yield from _differences(old.get(name), new.get(name), f"{key}.{name}")
