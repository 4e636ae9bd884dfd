"""Randomness of the net that belongs to the step."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from seglit.data.randomness import derived_seed


class StepSeed(Callback):
    """Seeds torch before each training batch from the seed, the batch's place in the run, and the rank.

    So that dropout goes on after a resume as it would have without the stop.

    Args:
        seed: the seed of the run, not negative.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch, on every device that trains."""
        within_step = batch_idx % trainer.accumulate_grad_batches
        place = trainer.global_step * trainer.accumulate_grad_batches + within_step
        seed_devices(
            derived_seed(self.seed, f"net, rank {trainer.global_rank}", place), trainer.strategy.root_device.type
        )


def seed_devices(seed: int, kind: str) -> None:
    """`torch.manual_seed` for the CPU and the devices of the kind that trains.

    Of the kinds that are there but not in use torch notes with each seed the stack of calls, which takes longer than
    many a step.
    """
    if kind not in {"cpu", "cuda"}:
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if kind == "cuda":
        torch.cuda.manual_seed_all(seed)
