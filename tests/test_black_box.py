"""The black box: each planted fault ends the run before it spoils the weights, and the replay names it."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from conftest import tiny_overrides
from seglit.blackbox.bundle import read_bundle
from seglit.blackbox.fault import TrainingFault
from seglit.blackbox.level import Level
from seglit.blackbox.localise import Replay
from seglit.build import Parts, build
from seglit.callbacks import BlackBox, black_box
from seglit.config import compose, to_text
from seglit.replay import main, replay
from seglit.train import run

QUIET = [
    "callbacks.pictures=null",
    "callbacks.tables=null",
    "callbacks.loader_watch=null",
    "logger.tensorboard=null",
    "test_after_fit=false",
    "trainer.max_steps=9",
    "trainer.val_check_interval=9",
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
    cfg = compose(tiny_overrides(data, folder, *QUIET, *more))
    with pytest.raises((TrainingFault, ValueError)) as caught:
        run(cfg)
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
        (
            "model/optimizer=sgd",
            "+tricks=head_lr_x10",
            "model.paramwise.custom_keys.head.lr_mult=1e9",
        ),
        "group",
        "head",
        "the loss went from",
    ),
    "a weight that is inf": ((SPOIL % "weight",), "weight", "net.decode_head.classifier.weight", "first inf at [1, 2"),
    "log of 0 in a loss": (own_loss("log"), "term", "decode.loss_log", "row 6, column 9, label"),
    "a norm without eps": ((HEAD, "+model.net.decode_head.fault=flat"), "layer", "decode_head.flat", "eps is 0"),
    "a slope of 1e38": ((HEAD, "+model.net.decode_head.fault=steep"), "group", "base", "the norms of"),
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


@pytest.mark.filterwarnings("ignore:step . ended by ValueError")
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


NAN = (DATA, "+data.fault=pixel_nan")
SKIP = "callbacks.black_box.on_nonfinite=skip"


class Steps(Callback):
    """Notes weights, running statistics and the optimizer's state after each step."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.averages: list[dict[str, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        state = {name: value.clone() for name, value in pl_module.state_dict().items()}
        for number, values in trainer.optimizers[0].state_dict()["state"].items():
            state |= {f"{number}.{name}": torch.as_tensor(value).clone() for name, value in values.items()}
        self.states.append(state)


def parts_of(data: Path, folder: Path, *more: str) -> tuple[Parts, BlackBox, Steps]:
    cfg = compose(tiny_overrides(data, folder, *QUIET, *more))
    parts, steps = build(cfg), Steps()
    parts.module.config = to_text(cfg)
    parts.trainer.callbacks.append(steps)
    (box,) = (callback for callback in parts.trainer.callbacks if isinstance(callback, BlackBox))
    return parts, box, steps


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.filterwarnings("ignore:step . is skipped, . of at most")
@pytest.mark.parametrize(
    "told",
    [
        (),
        ("trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1.0"),
        ("callbacks=ema",),
        ("trainer.accumulate_grad_batches=3",),
        ("trainer.accumulate_grad_batches=3", "+tricks=ohem"),
    ],
    ids=["plain", "bf16, clipped", "ema", "shared divisors", "cached gradients"],
)
def test_a_skipped_step_changes_nothing(tiny_data: Path, tmp_path: Path, told: tuple[str, ...]) -> None:
    """Six images, one of them spoilt: one step in three, or, where three batches are a step, each."""
    parts, box, steps = parts_of(tiny_data, tmp_path / "run", *QUIET, *NAN, SKIP, *told, "trainer.max_steps=6")
    parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    every = parts.trainer.accumulate_grad_batches
    after = steps.states[every - 1 :: every]
    skipped = [row["step"] for row in box.rows if row["note"] == "fault"]
    assert box.skipped == len(skipped) == (6 if every == 3 else 2)
    assert len(list((tmp_path / "run" / "black_box").iterdir())) == 1
    for step in range(1, 6):
        assert equal(after[step], after[step - 1]) == (step in skipped), step
    assert all(torch.isfinite(value).all() for value in after[-1].values())


@pytest.mark.filterwarnings("ignore:step . is skipped, . of at most")
def test_there_is_a_limit_to_skipping(tiny_data: Path, tmp_path: Path) -> None:
    parts, box, _ = parts_of(tiny_data, tmp_path / "run", *NAN, SKIP, "callbacks.black_box.max_skipped=1")
    with pytest.raises(TrainingFault, match="after 1 skipped ones, which are all of max_skipped; `seglit-replay"):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    assert [row["note"] for row in box.rows].count("fault") == 2


@pytest.mark.parametrize("told", [(), ("trainer.val_check_interval=1",)], ids=["by the next step", "by the evaluation"])
def test_a_device_is_judged_a_step_later(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: tuple[str, ...]
) -> None:
    """As on a device, whose numbers the host does not wait for: weights are put back, and none are saved."""
    monkeypatch.setattr(black_box, "can_look_at", lambda tensor: False)
    parts, box, steps = parts_of(tiny_data, tmp_path / "run", *NAN, *told)
    with pytest.raises(TrainingFault, match="is nan"):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    number = box.rows[-1]["step"]
    assert len(steps.states) == number + 1  # it has been taken
    assert not all(torch.isfinite(value).all() for value in steps.states[-1].values())
    assert all(torch.isfinite(value).all() for value in parts.module.state_dict().values())
    bundle = read_bundle(tmp_path / "run" / "black_box" / f"step_{number}" / "rank_0")
    if number:
        assert all(torch.equal(value, steps.states[-2][name]) for name, value in bundle.weights.items())
    for path in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.isfinite(value).all() for value in state.values()), path
    assert replayed(bundle_of(tmp_path)).findings[0].kind == "image"


def bundle_of(folder: Path) -> Path:
    (found,) = (folder / "run" / "black_box").iterdir()
    return found


@pytest.mark.slow
def test_what_one_rank_finds_ends_all(tiny_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two processes, of which one has the spoilt image; both stop, and each keeps its part."""
    ranks = ("trainer.devices=2", "trainer.strategy=ddp_spawn", "data.batch_size=1")
    cfg = compose(tiny_overrides(tiny_data, tmp_path / "run", *QUIET, *NAN, *ranks))
    with pytest.raises(Exception, match=r"TrainingFault: step .: loss is nan, .*; `seglit-replay"):
        run(cfg)
    found = replay(bundle_of(tmp_path), packages=["planted"])
    assert [len(one.findings) for one in found] in ([0, 1], [1, 0])
    assert [one.reproduced for one in found] == [bool(one.findings) for one in found]
    (named,) = (finding for one in found for finding in one.findings)
    assert (named.kind, Path(named.name).name) == ("image", "3.png")


@pytest.mark.parametrize("told", [(), ("+tricks=ohem",)], ids=["shared divisors", "cached gradients"])
def test_the_micro_batch_is_found(tiny_data: Path, tmp_path: Path, told: tuple[str, ...]) -> None:
    parts, _, _ = parts_of(tiny_data, tmp_path / "run", *NAN, *told, "trainer.accumulate_grad_batches=3")
    with pytest.raises(TrainingFault):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    bundle = read_bundle(bundle_of(tmp_path) / "rank_0")
    assert len(bundle.parts) == 3
    found = replayed(bundle_of(tmp_path))
    assert found.reproduced
    assert [(finding.kind, Path(finding.name).name) for finding in found.findings] == [("image", "3.png")]


def test_a_replay_gives_the_same_numbers(tiny_data: Path, tmp_path: Path) -> None:
    """A step with dropout that was sound but for a norm: its terms are those of the run, to the last bit."""
    parts, box, _ = parts_of(tiny_data, tmp_path / "run", HEAD, "+model.net.decode_head.fault=steep")
    with pytest.raises(TrainingFault):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    first, second = replayed(bundle_of(tmp_path)), replayed(bundle_of(tmp_path))
    assert first == second
    assert first.terms == {name: box.rows[-1][name] for name in first.terms}
    assert "decode.loss_ce" in first.terms


def scaled(data: Path, folder: Path, *more: str) -> tuple[Parts, BlackBox, Steps]:
    """A run in float16 with a gradient scaler, on the CPU."""
    parts, box, steps = parts_of(data, folder, *more)
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**24))
    parts.trainer.strategy.precision_plugin = plugin
    return parts, box, steps


EARLY = pytest.mark.filterwarnings(r"ignore:Detected call of `lr_scheduler.step\(\)` before")
"""Torch's word on a scaler that leaves the first step out."""


@EARLY
def test_what_a_scaler_leaves_out_is_no_fault(tiny_data: Path, tmp_path: Path) -> None:
    parts, box, _ = scaled(tiny_data, tmp_path / "run", "trainer.max_steps=40", "trainer.val_check_interval=40")
    parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    notes = [row["note"] for row in box.rows]
    assert notes[0] == "overflow"
    assert notes[-1] == ""
    assert box.overflows == box.skipped == 0


@EARLY
def test_a_run_of_overflows_is_one(tiny_data: Path, tmp_path: Path) -> None:
    parts, _, _ = scaled(tiny_data, tmp_path / "run", "callbacks.black_box.max_overflows=3")
    with pytest.raises(TrainingFault, match="step 2: the gradient scaler has left out 3 steps in a row; the gradient"):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)


@EARLY
def test_an_overflow_in_a_layer_is_one(tiny_data: Path, tmp_path: Path) -> None:
    parts, _, _ = scaled(tiny_data, tmp_path / "run", SPOIL % "large")
    with pytest.raises(TrainingFault, match="loss is nan"):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    (first, *_) = replayed(bundle_of(tmp_path)).findings
    assert (first.kind, first.name) == ("layer", "decode_head.convs.0.conv")
    assert "above float16's 65504" in first.detail
    assert "bf16-mixed" in first.mend


def test_divergence(tiny_data: Path, tmp_path: Path) -> None:
    """The rate of one group a hundred thousand times too high, but for the first steps."""
    told = ("model/optimizer=sgd", "trainer.max_steps=60", "trainer.val_check_interval=60", SPOIL % "rate")
    limits = [f"callbacks.black_box.divergence_{name}=3" for name in ("steps", "factor")]
    more = (*told, *limits, "+callbacks.spoil.step=25")
    parts, box, _ = parts_of(tiny_data, tmp_path / "run", *more, "callbacks.black_box.on_divergence=stop")
    with pytest.raises(TrainingFault, match=r"for 3 steps, and is .*the gradient of group 'base' went from"):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    assert box.level.level < 2.0
    (first, *_) = replayed(bundle_of(tmp_path)).findings
    assert (first.kind, first.name) == ("group", "base")
    parts, box, _ = parts_of(
        tiny_data, tmp_path / "more", *more, "trainer.max_steps=35", "trainer.val_check_interval=35"
    )
    with pytest.warns(UserWarning, match="the loss has been above 3 times its running level"):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)


@pytest.fixture(scope="module")
def bundle(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    parts, _, _ = parts_of(tiny_data, folder / "run", *NAN)
    with pytest.raises(TrainingFault):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    return bundle_of(folder)


def test_the_command(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(bundle), "--trust", "planted"])
    said = capsys.readouterr().out
    assert "it happens again: loss nan" in said
    assert "cause: image" in said


def spoilt(bundle: Path, folder: Path, name: str, content: bytes | None) -> Path:
    """A copy of a bundle with another file in it, or without it."""
    copy = Path(shutil.copytree(bundle / "rank_0", folder / "copy"))
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.yaml", None, "holds no configuration; from Python"),
        ("report.json", None, "holds no bundle; give a folder that seglit's black box wrote"),
        ("report.json", b"{", "report.json: cannot be read (JSONDecodeError"),
        ("weights.safetensors", b"cut", "weights.safetensors: cannot be read (SafetensorError"),
        ("batch.safetensors", None, "batch.safetensors: cannot be read (FileNotFoundError"),
        ("ring.csv", b"step,names,note\nx,y,z\n", "ring.csv: cannot be read (ValueError"),
    ],
)
def test_a_damaged_bundle_is_refused(
    bundle: Path, tmp_path: Path, name: str, content: bytes | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(spoilt(bundle, tmp_path, name, content)), "--trust", "planted"])
    assert said in capsys.readouterr().err


def test_a_bundle_executes_nothing_that_is_not_trusted(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(bundle)])
    said = "config.yaml: data._target_: planted.Data is no class that a checkpoint may name; for a package of your own"
    assert said in capsys.readouterr().err


def test_a_full_disk_hides_no_fault(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seglit.blackbox.bundle.save_file", full)
    parts, _, _ = parts_of(tiny_data, tmp_path / "run", *NAN)
    with pytest.raises(TrainingFault, match=r"loss is nan, .*; no bundle could be written \(OSError: .*No space left"):
        parts.trainer.fit(parts.module, datamodule=parts.datamodule)
    assert not list(bundle_of(tmp_path).iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_skipped": 0}, "max_skipped must be at least 1, got 0"),
        ({"ring": 1}, "ring must be at least 2"),
        ({"divergence_factor": 1.0}, "divergence_factor must be above 1"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"BlackBox: {said}"):
        BlackBox("x", **arguments)


def test_only_modules_that_it_knows() -> None:
    with pytest.raises(ValueError, match=r"needs a seglit\.module\.SegmentationModule, got LightningModule"):
        BlackBox("x").setup(Trainer(logger=False, accelerator="cpu"), LightningModule(), "fit")


def test_what_it_counts_goes_on() -> None:
    box, other = BlackBox("x"), BlackBox("x")
    box.skipped, box.overflows = 3, 2
    box.level.add(1.5)
    other.load_state_dict(box.state_dict())
    assert other.state_dict() == box.state_dict() != BlackBox("x").state_dict()


def test_level() -> None:
    level = Level(factor=10.0, steps=3)
    told = [level.add(loss) for loss in [1.0] * 30 + [100.0, 100.0, 1.0, 11.0, 11.0, 11.0, 11.0, 1.0]]
    assert told == [False] * 35 + [True, False, False]
    other = Level(factor=10.0, steps=3)
    other.load_state_dict(level.state_dict())
    assert other.state_dict() == level.state_dict()
    assert level.level == pytest.approx(1.0)


def test_a_damaged_checkpoint_ends_before_the_first_step(tiny_data: Path, tmp_path: Path) -> None:
    told = [*QUIET, "trainer.val_check_interval=3", SPOIL % "weight", "+callbacks.spoil.step=5"]
    with pytest.raises(TrainingFault, match="step 5: loss is nan"):
        run(compose(tiny_overrides(tiny_data, tmp_path / "run", *told)))
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["net.decode_head.classifier.bias"][1] = math.nan
    torch.save(content, path)
    cfg = compose(tiny_overrides(tiny_data, tmp_path / "more", *told, f"ckpt_path='{path}'"))
    with pytest.raises(
        TrainingFault, match=r"before the first step, net.decode_head.classifier.bias is not finite, .*last"
    ):
        run(cfg)
