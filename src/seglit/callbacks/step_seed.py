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
        """Seed torch, on every device."""
        within_step = batch_idx % trainer.accumulate_grad_batches
        place = trainer.global_step * trainer.accumulate_grad_batches + within_step
        torch.manual_seed(derived_seed(self.seed, f"net, rank {trainer.global_rank}", place))
