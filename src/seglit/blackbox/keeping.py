"""From a step that went wrong to its bundle."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from seglit import __version__
from seglit.blackbox.bundle import Bundle, Part, Row
from seglit.blackbox.step import Step
from seglit.data.datamodule import SegmentationDataModule
from seglit.module import SegmentationModule


def keep(
    folder: Path,
    trainer: Trainer,
    module: SegmentationModule,
    step: Step,
    rows: Sequence[Row],
    buffers: Mapping[str, Tensor],
    kind: str,
    problem: str,
) -> str:
    """Write the bundle of this rank, and say where it is, or why there is none.

    Args:
        folder: of the bundles; this one is `step_<number>/rank_<number>` in it.
        trainer: of the run.
        module: with the weights before the step.
        step: the step.
        rows: the ring.
        buffers: running statistics before the step, by name.
        kind: `nonfinite`, `divergence` or `error`.
        problem: what is wrong, in words.
    """
    place = folder / f"step_{step.number}"
    try:
        bundle_of(trainer, module, step, rows, buffers, kind, problem).write(place / f"rank_{trainer.global_rank}")
    except (OSError, RuntimeError) as error:
        # A full disk takes no files, and a device that has failed gives no tensors. The fault itself is still told.
        return f"no bundle could be written ({type(error).__name__}: {error})"
    return f"`seglit-replay {place}` runs the step again and names the cause"


def bundle_of(
    trainer: Trainer,
    module: SegmentationModule,
    step: Step,
    rows: Sequence[Row],
    buffers: Mapping[str, Tensor],
    kind: str,
    problem: str,
) -> Bundle:
    """What is known of the step; see `keep`."""
    weights = module.state_dict()
    parts = [
        Part(batch["image"], batch["labels"], list(batch.get("name", [])), random)
        for batch, random in zip(step.micro_batches(), step.random, strict=True)
    ]
    report = {
        "kind": kind,
        "problem": problem,
        "step": step.number,
        "rank": trainer.global_rank,
        "world_size": trainer.world_size,
        "precision": trainer.precision,
        "normalize": module.normalize,
        "device": module.device.type,
        "groups": {weight.name: weight.group for weight in step.weights},
        "files": files_of(trainer.datamodule, step.names),  # type: ignore[attr-defined]
        "stored": module.stored_values(),
        "versions": {"seglit": __version__, "torch": str(torch.__version__)},
    }
    kept = {name: buffer for name, buffer in buffers.items() if name in weights}
    return Bundle(report, weights | kept, parts, list(rows), module.config)


def files_of(data: Any, names: Sequence[str]) -> dict[str, list[str]]:
    """Image file and mask file of each name, where the data module tells."""
    if not isinstance(data, SegmentationDataModule):
        return {}
    pairs = {pair.name: pair for pair in data.samples("train").pairs}
    return {name: [str(pairs[name].image), str(pairs[name].mask)] for name in names if name in pairs}
