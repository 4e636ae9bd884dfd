"""What must not change between a run and the one that goes on from its checkpoint."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seglit.checkpoint import stored
from seglit.config import ConfigError, plain

KEPT = (
    "seed",
    "data",
    "model",
    "callbacks.ema",
    "trainer.accumulate_grad_batches",
    "trainer.gradient_clip_algorithm",
    "trainer.gradient_clip_val",
    "trainer.precision",
    "trainer.sync_batchnorm",
)
"""What decides about the weights, and is in the checkpoint or repeated from the start."""
FREE = (
    "data.num_workers",
    "data.pin_memory",
    "data.root",
    "model.boundary_iou",
    "model.channels_last",
    "model.compile",
)
"""Keys among these that may change: the same numbers, or only their rounding."""
DESCRIBED = ("data.classes", "data.mean", "data.palette", "data.std")
"""Keys that a checkpoint has filled in from the data set's own description."""


def refuse_changes(cfg: DictConfig, checkpoint: Path) -> None:
    """Refuse to go on from a checkpoint with another configuration, as Lightning would train on with the saved rates.

    Args:
        cfg: the configuration of the run to come.
        checkpoint: what it shall go on from.

    Raises:
        ConfigError: one line for each key that differs, with both values.
    """
    before, now = plain(stored(checkpoint)[0]), plain(cfg)
    lines = [
        f"{key}: {new}, but {checkpoint} was trained with {old}"
        for place in KEPT
        for key, old, new in _differences(_at(before, place), _at(now, place), place)
        if key not in FREE and not (key in DESCRIBED and new is None)
    ]
    if lines:
        raise ConfigError("\n".join([*lines, "ckpt_path: goes on with the old values only; or start a run without it"]))


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
