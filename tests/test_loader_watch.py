"""The warning that the loader sets the pace."""

import time
import warnings
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from seglit.callbacks import LoaderWatch, loader_watch
from seglit.data.datamodule import SegmentationDataModule
from seglit.data.loading import StepLoader, TimedLoader


class Run:
    """A run whose clock a test sets."""

    def __init__(self, monkeypatch, watch, data=None, count=1):
        self.now = 0.0
        monkeypatch.setattr(loader_watch.time, "perf_counter", lambda: self.now)
        self.loader = TimedLoader([])
        loader = self.loader if count == 1 else StepLoader(self.loader, count)
        self.trainer = Mock(spec=Trainer, train_dataloader=loader, is_global_zero=True, num_devices=1)
        self.trainer.datamodule = data
        self.module = Mock(spec=LightningModule)
        self.watch = watch
        watch.on_train_start(self.trainer, self.module)

    def batches(self, count, waiting, working):
        """The warnings of some batches."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(count):
                self.now += waiting + working
                self.loader.waited += waiting
                self.watch.on_train_batch_end(self.trainer, self.module, None, None, 0)
        return [str(warning.message) for warning in caught]

    def validate(self, seconds):
        self.watch.on_validation_start(self.trainer, self.module)
        self.now += seconds
        self.watch.on_validation_end(self.trainer, self.module)


@pytest.mark.parametrize("count", [1, 3])
def test_warns_once_where_the_loader_is_slower(monkeypatch, count):
    run = Run(monkeypatch, LoaderWatch(0.25, 20), count=count)
    assert run.batches(29, 3.0, 1.0) == []
    (words,) = run.batches(1, 3.0, 1.0)
    assert "the loader is the bottleneck: 75% of the time of the last 20 batches went by waiting for data" in words
    assert run.batches(100, 3.0, 1.0) == []


def test_is_silent_where_the_device_is_slower(monkeypatch):
    assert Run(monkeypatch, LoaderWatch(0.25, 20)).batches(200, 0.2, 0.8) == []


def test_the_first_batches_do_not_count(monkeypatch):
    run = Run(monkeypatch, LoaderWatch(0.25, 20))
    assert run.batches(10, 1000.0, 1.0) + run.batches(100, 0.1, 1.0) == []


def test_a_loader_that_becomes_slow_is_noticed(monkeypatch):
    run = Run(monkeypatch, LoaderWatch(0.25, 20))
    assert run.batches(70, 0.0, 1.0) == []
    assert len(run.batches(20, 1.0, 1.0)) == 1


def test_validation_is_left_out(monkeypatch):
    """Half of each batch is waiting: but for the validation, a hundred times as long as all batches, that is a half."""
    run = Run(monkeypatch, LoaderWatch(0.49, 20))
    run.batches(15, 1.0, 1.0)
    run.validate(10_000.0)
    (words,) = run.batches(15, 1.0, 1.0)
    assert "50% of the time" in words


@pytest.mark.parametrize(
    ("options", "mends", "absent"),
    [
        ({"num_workers": 2}, ["data.num_workers=8 (now 2)", "data.cache=masks, or data.cache=all"], []),
        ({"num_workers": 8, "cache": "masks"}, ["data.cache=all"], ["num_workers", "data.cache=masks"]),
        ({"num_workers": 8, "cache": "all"}, ["a faster disk for data.cache_dir"], ["num_workers", "data.cache="]),
    ],
)
def test_names_what_is_not_done_yet(monkeypatch, tiny_data, options, mends, absent):
    monkeypatch.setattr(loader_watch.os, "cpu_count", lambda: 8)
    run = Run(monkeypatch, LoaderWatch(batches=10), SegmentationDataModule(tiny_data, 3, **options))
    (words,) = run.batches(30, 1.0, 1.0)
    assert all(mend in words for mend in [*mends, "data.train_transforms"])
    assert not any(mend in words for mend in absent)


def test_other_loaders_are_left_alone(monkeypatch):
    run = Run(monkeypatch, LoaderWatch(batches=10))
    run.trainer.train_dataloader = [1, 2]
    assert run.batches(50, 1.0, 1.0) == []


@pytest.mark.parametrize(("options", "message"), [({"share": 1.0}, "share must be in"), ({"batches": 0}, "at least 1")])
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LoaderWatch(**options)


def test_a_loader_counts_its_time(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("seglit.data.loading.time.perf_counter", lambda: next(now))
    loader = TimedLoader([1, 2, 3])
    assert len(list(loader)) == 3
    assert loader.waited == 4  # three batches, and the end
    list(loader)
    assert loader.waited == 8


class Idle(LightningModule):
    """A net that takes no time, or some."""

    def __init__(self, seconds):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seconds = seconds

    def training_step(self, batch, batch_idx):
        time.sleep(self.seconds)
        return self.weight * batch["image"].mean()

    def validation_step(self, batch, batch_idx):
        """Lightning warns where there are validation data but no step."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data, seconds, accumulate=1):
    running = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        max_steps=-(-20 // accumulate),
        accumulate_grad_batches=accumulate,
        callbacks=[LoaderWatch(0.5, 10)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    running.fit(Idle(seconds), datamodule=data)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_warns_in_a_run_whose_loader_is_slow(tiny_data, monkeypatch, accumulate):
    data = SegmentationDataModule(tiny_data, 3, batch_size=1, num_workers=0)
    fit(data, 0.02, accumulate)  # warnings are errors here
    data.samples("train").read_image = slow(data.samples("train").read_image)
    with pytest.warns(UserWarning, match=r"the loader is the bottleneck: \d+% of the time of the last 10 batches"):
        fit(data, 0.0, accumulate)


def slow(read):
    def reader(path):
        time.sleep(0.02)
        return read(path)

    return reader
