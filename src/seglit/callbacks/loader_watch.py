"""A word where the loader of the data, and not the device, sets the pace."""

import os
import time
import warnings
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from seglit.data.datamodule import SegmentationDataModule
from seglit.data.loading import StepLoader, TimedLoader

WARM_UP = 10
"""Batches in which workers start and kernels are chosen, and which are not looked at."""


class LoaderWatch(Callback):
    """Warns once if training waits for data, with what would help.

    Takes the time for which the loader is waited for and that of whole batches, validation left out; it never waits
    for the device. Where the device is the slower one, the time goes by elsewhere, as launched work is only queued to
    some length.

    Args:
        share: the share of the time, in (0, 1), from which on to warn.
        batches: how many batches the share is taken of.

    Raises:
        ValueError: if an argument is out of its range.
    """

    def __init__(self, share: float = 0.25, batches: int = 100) -> None:
        if not 0.0 < share < 1.0:
            raise ValueError(f"LoaderWatch: share must be in (0, 1), got {share}")
        if batches < 1:
            raise ValueError(f"LoaderWatch: batches must be at least 1, got {batches}")
        self.share = share
        self.batches = batches
        self._warned = False
        self._count = -WARM_UP
        self._begun = self._waited = self._validated = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._count = -WARM_UP

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch, and judge the last ones."""
        loader = timed_loader(trainer)
        if self._warned or loader is None:
            return
        self._count += 1
        now = time.perf_counter()
        if self._count == self.batches:
            share = (loader.waited - self._waited) / (now - self._begun)
            if share >= self.share:
                self._warned = True
                if trainer.is_global_zero:
                    warnings.warn(complaint(share, self.batches, trainer), stacklevel=2)
            self._count = 0
        if self._count == 0:
            self._begun, self._waited = now, loader.waited

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._validated = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let it go on."""
        self._begun += time.perf_counter() - self._validated


def timed_loader(trainer: Trainer) -> TimedLoader | None:
    """The training loader, if it is one that counts its time."""
    loader = trainer.train_dataloader
    loader = loader.loader if isinstance(loader, StepLoader) else loader
    return loader if isinstance(loader, TimedLoader) else None


def complaint(share: float, batches: int, trainer: Trainer) -> str:
    """What is wrong, and what would help, of what is not done yet."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    mends = []
    if isinstance(data, SegmentationDataModule):
        cores = (os.cpu_count() or 1) // max(1, trainer.num_devices)
        if data.num_workers < cores:
            mends.append(f"data.num_workers={cores} (now {data.num_workers})")
        if data.cache is None:
            mends.append("data.cache=masks, or data.cache=all where the disk has room")
        elif data.cache == "masks":
            mends.append("data.cache=all where the disk has room")
        else:
            mends.append("a faster disk for data.cache_dir")
    mends.append("lighter data.train_transforms")
    return (
        f"the loader is the bottleneck: {share:.0%} of the time of the last {batches} batches went by waiting for data "
        f"while the device stood idle; try {'; '.join(mends)}. See docs/how-to/fast-data.md"
    )
