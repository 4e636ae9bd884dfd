"""The black box: each planted fault ends the run before it spoils the weights, and the replay names it."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import tiny_overrides
from seglit.blackbox.bundle import read_bundle
from seglit.blackbox.fault import TrainingFault
from seglit.blackbox.localise import Replay
from seglit.config import compose
from seglit.replay import replay
from seglit.train import run

QUIET = [
    "callbacks.pictures=null",
    "callbacks.tables=null",
    "callbacks.loader_watch=null",
    "logger.tensorboard=null",
    "test_after_fit=false",
    "trainer.max_steps=8",
    "trainer.val_check_interval=8",
    "trainer.limit_val_batches=1",
]
DATA = "data._target_=planted.Data"
HEAD = "model.net.decode_head._target_=planted.Head"
LOSS = (
    "~model.criterion.decode.losses.loss_ce",
    "+model.criterion.decode.losses.loss_log={_target_: planted.MeanOfLogs, fault: %s}",
)
SPOIL = "+callbacks.spoil={_target_: planted.Spoil, fault: %s}"


def own_loss(fault: str) -> tuple[str, ...]:
    return (LOSS[0], LOSS[1] % fault)


def ended(data: Path, folder: Path, *more: str) -> tuple[Exception, Path]:
    """The error that ended a run, and its newest bundle."""
    with warnings.catch_warnings(), pytest.raises((TrainingFault, ValueError, RuntimeError)) as caught:
        warnings.simplefilter("ignore")
        run(compose(tiny_overrides(data, folder, *QUIET, *more)))
    return caught.value, max((folder / "black_box").iterdir(), key=lambda place: int(place.name.partition("_")[2]))


def replayed(bundle: Path) -> Replay:
    (found,) = replay(bundle, packages=["planted"])
    return found


PLANTED: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "nan in an image": ((DATA, "+data.fault=pixel_nan"), "image", "images/train/3.png", "channel 1, row 5, column 7"),
    "inf in an image": (
        (DATA, "+data.fault=pixel_inf"),
        "image",
        "images/train/3.png",
        "first inf in channel 1, row 5",
    ),
    "a label out of range": ((DATA, "+data.fault=label"), "label", "masks/train/3.png", "first 9 in row 4, column 6"),
    "a learning rate too high": (
        ("model/optimizer=sgd", "model.optimizer.lr=500", "+tricks=head_lr_x10", "trainer.max_steps=60"),
        "group",
        "head",
        "the loss went from",
    ),
    "a weight that is inf": ((SPOIL % "weight",), "weight", "net.decode_head.classifier.weight", "first inf at [1, 2"),
    "log of 0 in a loss": (own_loss("log"), "term", "decode.loss_log", "row 6, column 9, label"),
    "a norm without eps": ((HEAD, "+model.net.decode_head.fault=flat"), "layer", "decode_head.flat", "eps is 0"),
    "a slope of 1e38": ((HEAD, "+model.net.decode_head.fault=steep"), "group", "", ""),
    "a loss weight of inf": (
        ("model.criterion.decode.losses.loss_ce.loss_weight=inf",),
        "criterion",
        "decode.loss_ce",
        "loss_weight is inf",
    ),
    "a class weight of nan": ((SPOIL % "class_weight",), "criterion", "decode.loss_ce", "class_weight is [1.0, nan"),
    "a mean over no pixel": ((DATA, "+data.fault=void", *own_loss("count")), "term", "decode.loss_log", "is void"),
    "a head of nan at pixels": ((HEAD, "+model.net.decode_head.fault=pixels"), "layer", "decode_head", "3, 5]"),
    "a batch norm of one value": (
        ("model/net/decode_head=psp", "data.batch_size=1"),
        "error",
        "decode_head.pools.0.norm",
        "Expected more than 1 value",
    ),
    "the slope of a root at 0 in a head": ((HEAD, "+model.net.decode_head.fault=root"), "gradient", "decode_head", ""),
    "the slope of a root at 0 in a loss": (own_loss("root"), "gradient", "decode.loss_log", "row 0, column 0"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_named(
    fault: str, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, kind, name, detail = PLANTED[fault]
    error, bundle = ended(tiny_data, tmp_path / "run", *told)
    print(error)
    found = replayed(bundle)
    print(*found.findings, sep="\n")
    assert found.reproduced
    first = found.findings[0]
    assert first.kind == kind
    assert name in first.name
    assert detail in first.detail
