"""What the loop costs: microseconds per step above a bare PyTorch loop, with six loss terms logged.

python scripts/bench_loop.py

Three loops train one layer on the same batch with six cheap terms and the same optimizer and schedule: a bare one; that
of seglit with its default callbacks and loggers; and seglit's with each value handed to `self.log` in every step, which
is the usual way. Blocks of steps are interleaved; each overhead is the median over the rounds of a block's usual step
less that of the bare block beside it. The time is that of the process, all its threads, so that the waiting for other
processes does not count. The bar is drawn four times a second, too seldom for a median to see.
"""

import contextlib
import gc
import io
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benching import header, options_of, row, shown, written
from seglit.build import Parts, build
from seglit.config import compose
from seglit.losses.ranks import ALONE
from seglit.module import SegmentationModule

SIZE, CLASSES, WARM = 16, 3, 40


class UsualModule(SegmentationModule):
    """Every value of every step by `self.log`."""

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The loss."""
        terms = self.criterion(self(batch["image"]), batch["labels"], self.align_corners, self.ranks)
        for name, term in terms.items():
            if term.ndim == 0:
                self.log(f"train/{name}", term.detach(), prog_bar=name == "loss")
        loss: Tensor = terms["loss"]
        return loss


class Repeated(Dataset[dict[str, Any]]):
    """One batch, again and again."""

    def __init__(self, batch: dict[str, Any], count: int) -> None:
        self.batch, self.count = batch, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.batch


class RepeatedData(LightningDataModule):
    """That data set for training."""

    def __init__(self, batch: dict[str, Any], count: int) -> None:
        super().__init__()
        self.loader = loader_of(batch, count)

    def train_dataloader(self) -> Any:
        """The batches."""
        return self.loader


class Clock(Callback):
    """Notes when each step begins."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the time."""
        self.starts.append(time.process_time())


def loader_of(batch: dict[str, Any], count: int) -> DataLoader[dict[str, Any]]:
    return DataLoader(Repeated(batch, count), batch_size=None)


def a_batch() -> dict[str, Any]:
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES, (2, SIZE, SIZE))
    return {"image": torch.randn(2, 3, SIZE, SIZE), "labels": labels}


def parts_of(folder: Path, steps: int) -> Parts:
    """What a run of seglit with its defaults is made of, but a tiny net."""
    told = [
        "data=folder",
        f"data.root={folder}",
        f"data.num_classes={CLASSES}",
        "model.net.backbone.num_stages=2",
        "model.net.backbone.base_channels=4",
        "model.channels_last=false",
        "trainer.accelerator=cpu",
        f"trainer.max_steps={steps}",
        f"trainer.val_check_interval={steps}",
        "trainer.limit_val_batches=0",
        "name=bench",
        f"output_dir={folder}/run",
    ]
    parts = build(compose(told))
    parts.module.net.forward = OneLayer(parts.module.net)  # type: ignore[method-assign]
    parts.module.criterion.forward = six_terms  # type: ignore[method-assign, assignment]
    return parts


class OneLayer:
    """The first convolution of the net and nothing else, so that what is around it can be seen."""

    def __init__(self, net: nn.Module) -> None:
        self.layer = next(part for part in net.modules() if isinstance(part, nn.Conv2d))

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Its output, as the logits of the decode head."""
        return {"decode": self.layer(image)}


def six_terms(logits: dict[str, Tensor], labels: Tensor, *others: object) -> dict[str, Tensor]:
    """Six cheap terms and their sum."""
    score = logits["decode"].mean()
    terms = {f"decode.loss_{number}": score * score * number for number in range(1, 7)}
    return {**terms, "loss": torch.stack(list(terms.values())).sum()}


@contextlib.contextmanager
def away() -> Iterator[None]:
    """What the run writes goes nowhere."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def bare(steps: int) -> float:
    """Microseconds per step of the same work without a framework."""
    with tempfile.TemporaryDirectory() as folder, away():
        module = parts_of(Path(folder), steps).module
    net, criterion, optimizer = module.net.train(), module.criterion, module.build_optimizer()
    assert module.make_scheduler is not None
    schedule = module.make_scheduler(optimizer)
    starts = []
    for batch in loader_of(a_batch(), steps):
        starts.append(time.process_time())
        loss = criterion(net(batch["image"]), batch["labels"], module.align_corners, ALONE)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return mean_step(starts)


def trained(steps: int, usual: bool) -> float:
    """Microseconds per step under the Trainer."""
    with tempfile.TemporaryDirectory() as folder, away():
        parts = parts_of(Path(folder), steps)
        module = parts.module
        if usual:
            module.__class__ = UsualModule
        clock = Clock()
        parts.trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]
        for callback in parts.trainer.callbacks:  # type: ignore[attr-defined]
            if type(callback).__name__ == "Progress":
                # As on a terminal: into a file the bar is not drawn.
                callback._console_kwargs = {"force_terminal": True, "file": io.StringIO()}
        parts.trainer.fit(module, datamodule=RepeatedData(a_batch(), steps))
    return mean_step(clock.starts)


def mean_step(starts: list[float]) -> float:
    """Microseconds from step to step: the median of means over ten steps, one of them logged."""
    means = [(end - start) / 10 for start, end in zip(starts[WARM:-10:10], starts[WARM + 10 :: 10], strict=False)]
    return 1e6 * statistics.median(means)


def main() -> None:
    options = options_of(__doc__)
    print(header(torch.get_num_threads(), ["seglit", "torch", "lightning"]))
    gc.freeze()  # as seglit.train does when all is imported
    steps, rounds = (200, 3) if options.short else (500, 7)
    print(f"blocks of {steps} steps, the first {WARM} left out; median of {rounds} rounds\n", flush=True)
    found: dict[str, list[float]] = {"bare": [], "seglit": [], "usual": []}
    for _ in range(rounds):
        found["bare"].append(bare(steps))
        found["seglit"].append(trained(steps, usual=False))
        found["usual"].append(trained(steps, usual=True))
    base = statistics.median(found["bare"])
    over = {
        name: statistics.median(value - beside for value, beside in zip(found[name], found["bare"], strict=True))
        for name in ("seglit", "usual")
    }
    bare_step = f"a bare step takes {base:.0f} us"
    found_row = row(
        "overhead per step, against self.log", "6 loss terms", over["seglit"], over["usual"], "us", bare_step
    )
    print(shown(found_row))
    written([found_row], options.json)


if __name__ == "__main__":
    main()
