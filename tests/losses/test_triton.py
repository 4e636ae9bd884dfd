"""The kernel for CUDA, run by Triton's interpreter on the CPU, or with `-m gpu` on a device.

Triton decides when a function is decorated whether it is interpreted. So the functions are loaded once more here, under
another name, and those of seglit stay what they are.
"""

import importlib.util
import logging
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seglit.losses import CrossEntropyLoss, DiceLoss, FocalLoss, HeadCriterion, OHEMPixelSampler, fused, ohem, proof
from seglit.losses import pixels as pixels_module
from seglit.losses import triton_kernel as kernel_module
from seglit.losses.kernel import Choice, Job, MeanTerm, OverlapTerm, Slopes
from seglit.losses.loss import Loss
from seglit.losses.native import native
from seglit.losses.triton_kernel import TritonKernel, triton_kernel
from seglit.upsampling import Upsampling
from test_synchronisation import Calls, Operations, Watch

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")
# The interpreter computes by NumPy, which talks of what is no number.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")


def loaded() -> ModuleType:
    spec = importlib.util.find_spec("seglit.losses.triton_functions")
    assert spec is not None
    assert spec.origin is not None
    own = importlib.util.spec_from_file_location("functions_of_this_test", spec.origin)
    assert own is not None
    assert own.loader is not None
    module = importlib.util.module_from_spec(own)
    own.loader.exec_module(module)
    return module


@lru_cache
def interpreted() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        return loaded()


@pytest.fixture(params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TritonKernel:
    """In small pieces where it is interpreted, so that there are some."""
    if request.param == "cuda":
        return TritonKernel(loaded())
    for name, value in {"THREADS": 4, "ROWS": 2, "PROGRAMS": 1, "COUNTED": 64}.items():
        monkeypatch.setattr(kernel_module, name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for name in ("sum", "max"):
            # Of triton's own, but decorated like ours, when it was imported.
            monkeypatch.setattr(tl, name, triton.jit(getattr(tl, name).fn))
    for name, value in vars(tl.core).items():
        # So that what the interpreter puts there is taken away.
        monkeypatch.setattr(tl.core, name, value)
    return TritonKernel(interpreted())


@pytest.fixture
def device(kernel: TritonKernel, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the tensors are, whose losses are computed by the kernel."""
    monkeypatch.setattr(proof, "kernel_for", lambda device: kernel)
    return "cuda" if request.node.callspec.params["kernel"] == "cuda" else "cpu"


def weights(channels: int) -> list[float]:
    return [1 + 0.5 * (number % 4) for number in range(channels)]


LOSSES: dict[str, Callable[[int], dict[str, Loss]]] = {
    "ce": lambda channels: {"loss_ce": CrossEntropyLoss()},
    "ce-weighted": lambda channels: {
        "loss_ce": CrossEntropyLoss(class_weight=weights(channels), divisor="class_weight")
    },
    **{
        f"focal-{gamma}": lambda channels, gamma=gamma: {
            "loss_focal": FocalLoss(use_sigmoid=False, gamma=gamma, class_weight=weights(channels), alpha=0.3)
        }
        for gamma in (0.5, 1.0, 2.0)
    },
    "dice": lambda channels: {"loss_dice": DiceLoss(class_weight=weights(channels))},
    "dice-1": lambda channels: {"loss_dice": DiceLoss(exponent=1, per_image=False, class_weight=weights(channels))},
    "all": lambda channels: {
        "loss_ce": CrossEntropyLoss(class_weight=weights(channels)),
        "loss_focal": FocalLoss(use_sigmoid=False, loss_weight=2.0),
        "loss_dice": DiceLoss(loss_weight=3.0),
        "loss_dice_1": DiceLoss(exponent=1, class_weight=weights(channels)),
    },
    "ce, dice watched": lambda channels: {"loss_ce": CrossEntropyLoss(), "dice": DiceLoss()},
}
SAMPLERS = {
    "all": None,
    "thresh": OHEMPixelSampler(0.3, 2),
    "too few below thresh": OHEMPixelSampler(0.001, 7),
    "hardest": OHEMPixelSampler(None, 5),
    "hardest of fewer": OHEMPixelSampler(None, 10**6),
}
SHAPES = {
    "x4": ((2, 5), (8, 20), False),
    "x4 aligned": ((2, 3), (8, 12), True),
    "x8": ((1, 3), (8, 24), False),
    "x3": ((2, 3), (6, 9), False),
    "odd": ((4, 5), (13, 17), False),
    "odd aligned": ((3, 5), (10, 17), True),
    "x1": ((3, 18), (3, 18), False),
    "smaller": ((9, 8), (5, 6), False),
    "one": ((1, 1), (3, 3), False),
}


def draw(
    device: str,
    channels: int = 4,
    size: tuple[int, int] = (2, 3),
    full: tuple[int, int] = (4, 6),
    ignore_index: int = 255,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    """Two images, the second of them mostly void."""
    generator = torch.Generator().manual_seed(channels)
    logits = 3 * torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, channels, (2, *full), generator=generator)
    labels[torch.rand(2, *full, generator=generator) < 0.3] = ignore_index
    labels[1, :-1] = ignore_index
    return logits.to(device, dtype).requires_grad_(), labels.to(device)


def stepped(head: HeadCriterion, logits: Tensor, labels: Tensor, *, tiled: bool, align_corners: bool = False) -> Any:
    terms = head(logits, labels, align_corners, tiled=tiled)
    losses = [value * (1 + place) for place, (name, value) in enumerate(terms.items()) if "loss_" in name]
    (gradient,) = torch.autograd.grad(sum(losses), logits)
    return {name: value.detach() for name, value in terms.items()}, gradient


def assert_as_plain(head: HeadCriterion, logits: Tensor, labels: Tensor, align_corners: bool = False) -> None:
    pixels = head.pixels(logits, labels, align_corners, tiled=True)
    assert isinstance(pixels, fused.FusedPixels)
    terms, gradient = stepped(head, logits, labels, tiled=True, align_corners=align_corners)
    expected, its_gradient = stepped(head, logits, labels, tiled=False, align_corners=align_corners)
    assert_close(terms, expected, rtol=1e-11, atol=1e-14, equal_nan=True)
    assert_close(gradient, its_gradient, rtol=1e-11, atol=1e-14)


FAST = ("all", "ce-weighted")
"""All others are slow, as an interpreter is, and are what these come near to."""


def slow_or_not(name: str) -> Any:
    return () if name in FAST else pytest.mark.slow


@pytest.mark.parametrize(
    ("losses", "sampler"),
    [pytest.param(losses, "all", marks=slow_or_not(losses)) for losses in LOSSES]
    + [pytest.param(losses, "thresh", marks=slow_or_not(losses)) for losses in ("focal-0.5", "dice-1", "all")],
)
def test_every_loss(losses: str, sampler: str, device: str) -> None:
    assert_as_plain(HeadCriterion(LOSSES[losses](4), SAMPLERS[sampler]), *draw(device))


@pytest.mark.slow
@pytest.mark.parametrize("losses", ["ce", "dice"])
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "all"])
def test_every_sampler(losses: str, sampler: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device, where a second visit comes whether it is needed or not."""
    for module in (fused, ohem, pixels_module):
        monkeypatch.setattr(module, "can_look_at", lambda tensor: False)
    assert_as_plain(HeadCriterion(LOSSES[losses](4), SAMPLERS[sampler]), *draw(device))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "ignore_index"),
    [pytest.param(shape, -100, marks=slow_or_not(shape)) for shape in SHAPES] + [("x3", 2), ("smaller", 0)],
)
def test_every_size(shape: str, ignore_index: int, device: str) -> None:
    size, full, align_corners = SHAPES[shape]
    losses: dict[str, Loss] = {"loss_ce": CrossEntropyLoss(), "loss_dice": DiceLoss()}
    head = HeadCriterion(losses, ignore_index=ignore_index)
    assert_as_plain(head, *draw(device, 4, size, full, ignore_index), align_corners)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [2, 19, pytest.param(150, marks=pytest.mark.slow)])
def test_any_number_of_channels(channels: int, device: str) -> None:
    losses: dict[str, Loss] = {"loss_ce": CrossEntropyLoss(), "loss_dice": DiceLoss(class_weight=weights(channels))}
    assert_as_plain(HeadCriterion(losses), *draw(device, channels, (1, 3), (2, 6)))


@pytest.mark.slow
@pytest.mark.parametrize("losses", ["ce-weighted", "focal-0.5", "all"])
def test_single_precision(losses: str, device: str) -> None:
    logits, labels = draw(device, 6, dtype=torch.float32)
    head = HeadCriterion(LOSSES[losses](6), OHEMPixelSampler(0.3, 2))
    terms, gradient = stepped(head, logits, labels, tiled=True)
    expected, its_gradient = stepped(head, logits.detach().double().requires_grad_(), labels, tiled=False)
    for name, value in terms.items():
        assert value.dtype == torch.float32
        assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7, equal_nan=True)
    assert_close(gradient.double(), its_gradient, rtol=1e-5, atol=1e-6 * its_gradient.abs().max().item())


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_ties_and_saturation(scale: float, device: str) -> None:
    logits, labels = draw(device)
    assert_as_plain(
        HeadCriterion(LOSSES["all"](4), OHEMPixelSampler(0.7, 1)), (logits.detach() * scale).requires_grad_(), labels
    )


@pytest.mark.slow
def test_nothing_counts(device: str) -> None:
    logits, labels = draw(device)
    head = HeadCriterion(LOSSES["all"](4), OHEMPixelSampler(0.5, 5))
    assert_as_plain(head, logits, torch.full_like(labels, 255))
    _, gradient = stepped(head, logits, torch.full_like(labels, 255), tiled=True)
    assert not gradient.any()


@pytest.mark.slow
def test_without_gradient(device: str) -> None:
    logits, labels = draw(device)
    head = HeadCriterion(LOSSES["all"](4), SAMPLERS["too few below thresh"])
    with torch.no_grad():
        assert_close(dict(head(logits, labels, tiled=True)), dict(head(logits, labels)), equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("sampler", ["all", "thresh", "hardest"])
def test_logits_that_are_no_numbers_are_infinitely_hard(sampler: str, bad: float, device: str) -> None:
    logits, labels = draw(device)
    labels[0, :2] = 1
    with torch.no_grad():
        logits[0, 1, 1, 1] = bad
    head = HeadCriterion(LOSSES["ce"](4), SAMPLERS[sampler])
    pixels = head.pixels(logits, labels, tiled=True)
    assert isinstance(pixels, fused.FusedPixels)
    if pixels._choice is not None:
        near = slice(2, 4), slice(1, 5)
        assert torch.equal(pixels._choice.surprise[0][near] == math.inf, labels[0][near] != 255)
    terms, gradient = stepped(head, logits, labels, tiled=True)
    assert not terms["loss_ce"].isfinite()
    assert not gradient.isfinite().all()
    # It is known where, and nobody else has it.
    assert gradient[1].isfinite().all()


@pytest.mark.slow
def test_a_channel_that_is_switched_off(device: str) -> None:
    """Minus infinity is no class at all, also where the neighbour has no share in the pixel."""
    logits, labels = draw(device)
    labels[labels == 0] = 1
    with torch.no_grad():
        logits[:, 0] = -math.inf
    _, gradient = stepped(HeadCriterion(LOSSES["all"](4)), logits, labels, tiled=True)
    assert gradient.isfinite().all()
    assert not gradient[:, 0].any()


@pytest.mark.slow
def test_the_same_bits_each_time(device: str) -> None:
    logits, labels = draw(device, dtype=torch.float32)
    head = HeadCriterion(LOSSES["ce, dice watched"](4), SAMPLERS["too few below thresh"])
    (terms, gradient), (others, other) = (stepped(head, logits, labels, tiled=True) for _ in range(2))
    assert torch.equal(gradient, other)
    assert_close(terms, others, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("label", [-1, 4, 2**40])
@pytest.mark.parametrize("losses", ["ce", "dice"])
def test_a_label_that_is_no_class_makes_the_loss_no_number(losses: str, label: int, device: str) -> None:
    logits, labels = draw(device)
    labels[0, 3, 4] = label
    terms, _ = stepped(HeadCriterion(LOSSES[losses](4), OHEMPixelSampler(0.9, 5)), logits, labels, tiled=True)
    (loss,) = (value for name, value in terms.items() if name.startswith("loss_"))
    assert loss.isnan()


def job(device: str) -> Job:
    logits, labels = draw(device)
    upsampling = Upsampling((2, 3), (4, 6), False)
    means, overlaps = [MeanTerm(None), MeanTerm((1.0, 2.0, 0.5, 3.0), 2.0)], [OverlapTerm(None, 2)]
    return Job(logits.detach(), labels, upsampling, 255, means, overlaps)


def slopes_for(job: Job) -> Slopes:
    generator = torch.Generator().manual_seed(1)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    total = torch.ones_like(job.logits)
    return Slopes(draw(2).to(total), draw(2, 1, 2, 4).to(total), total, is_fresh=False)


def test_visits_are_those_of_the_kernel_for_the_cpu(kernel: TritonKernel, device: str) -> None:
    """Every number of them, and that the gradient is added to what there is."""
    other = native()
    if other is None:
        pytest.skip("no compiler here")
    found = []
    for each, where in ((kernel, device), (other, "cpu")):
        known = job(where)
        surprise = known.logits.new_empty(known.labels.shape)
        less, limit = (known.logits.new_full((), value) for value in (0.5, 1.5))
        visits = [
            None,
            Choice(surprise, False, limit),
            Choice(surprise, True, less, limit),
            Choice(surprise, True, less),
        ]
        slopes = [slopes_for(known) for _ in visits]
        sums = [vars(each(known, visit, own)) for visit, own in zip(visits, slopes, strict=True)]
        found.append((sums, [own.total for own in slopes], surprise))
    assert_close(found[0], found[1], rtol=1e-11, atol=1e-13, check_device=False)


@pytest.mark.slow
def test_it_proves_itself(kernel: TritonKernel, device: str) -> None:
    assert proof.error_of(kernel, torch.device(device)) < 1e-6


@pytest.mark.slow
def test_a_visit_to_nothing(kernel: TritonKernel, device: str) -> None:
    """The logits are not even looked at, so that it costs little. The lower limit is in range, the upper is not."""
    known = job(device)
    less, limit, more = (known.logits.new_full((), value) for value in (0.5, 1.0, 1.5))
    surprise = torch.ones_like(known.labels, dtype=torch.float64)
    all_of_them = kernel(known, Choice(surprise, True, limit, more), None)
    assert_close(all_of_them.counted.sum(), (known.labels != 255).sum().double())
    known.logits.fill_(math.nan)
    slopes = slopes_for(known)
    sums = kernel(known, Choice(surprise, True, less, limit), slopes)
    for name, value in vars(sums).items():
        assert not value.any(), name
    assert (slopes.total == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("losses", ["ce-weighted", "all"])
def test_nothing_waits(losses: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second step on; in the first, constants are sent to the device."""
    for module in (fused, ohem, pixels_module):
        monkeypatch.setattr(module, "can_look_at", lambda tensor: False)
    logits, labels = draw(device, 3, (2, 3), (4, 6))
    head = HeadCriterion(LOSSES[losses](3), SAMPLERS["too few below thresh"])
    watch = Watch()
    for step in range(2):
        watch.steps.append(Counter())
        with Operations(watch), Calls(watch):
            if step and device == "cuda":
                torch.cuda.set_sync_debug_mode("error")
            try:
                stepped(head, logits, labels, tiled=True)
            finally:
                if device == "cuda":
                    torch.cuda.set_sync_debug_mode("default")
    assert not watch.steps[1], dict(watch.steps[1])


class Recorder:
    """A function of which it is noted what it is called with."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args, **kwargs: self.calls.append((args, kwargs))


TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int64: "*i64", torch.int32: "*i32"}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("capability", [90, pytest.param(75, marks=pytest.mark.slow)])
def test_it_compiles_for_a_device(
    dtype: torch.dtype, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without having one: what the interpreter runs is not all that the compiler takes."""
    compiler = pytest.importorskip("triton.compiler")
    targets = pytest.importorskip("triton.backends.compiler")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    functions = loaded()
    names = ("pixels", "counts", "classes", "gradient")
    recorders = {name: Recorder(getattr(functions, name)) for name in names}
    for name, recorder in recorders.items():
        setattr(functions, name, recorder)
    monkeypatch.setattr(proof, "kernel_for", lambda device: TritonKernel(functions))
    # Numbers that are 1 are compiled in, of which the second has many.
    for losses, size, full in (("ce", (9, 40), (36, 160)), ("all", (1, 1), (1, 1))):
        logits, labels = draw("cpu", 19, size, full, dtype=dtype)
        stepped(HeadCriterion(LOSSES[losses](19), SAMPLERS["hardest"]), logits, labels, tiled=True)
    made = set()
    for name, recorder in recorders.items():
        assert recorder.calls
        for args, kwargs in recorder.calls:
            names_of_values = recorder.function.arg_names[: len(args)]
            constants = {key: value for key, value in kwargs.items() if key != "num_warps"}
            assert [*names_of_values, *constants] == recorder.function.arg_names
            values = dict(zip(names_of_values, args, strict=True))
            constants |= {key: value for key, value in values.items() if not isinstance(value, Tensor) and value == 1}
            signature = {
                key: TYPES[value.dtype] if isinstance(value, Tensor) else "i32" for key, value in values.items()
            } | dict.fromkeys(constants, "constexpr")
            if (key := repr((name, signature, constants))) in made:
                continue
            made.add(key)
            source = compiler.ASTSource(recorder.function, signature, constexprs=constants)
            warps = kwargs.get("num_warps", 4)
            target = targets.GPUTarget("cuda", capability, 32)
            assert "ptx" in compiler.compile(source, target=target, options={"num_warps": warps}).asm


@pytest.fixture
def fresh() -> Iterator[None]:
    """As if nobody had asked for the kernel in this process."""
    forget = triton_kernel.cache_clear, proof.kernel_for.cache_clear
    for each in forget:
        each()
    yield
    for each in forget:
        each()


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("trouble", ["no triton", "no compiler", "no headers"])
def test_without_it_losses_are_computed_by_tiles(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if trouble == "no triton":
        monkeypatch.setitem(sys.modules, "triton.runtime", None)
    else:
        driver = Mock()
        error = subprocess.CalledProcessError(1, "gcc") if trouble == "no headers" else RuntimeError("no C compiler")
        driver.active.get_current_target.side_effect = error
        monkeypatch.setattr(triton.runtime, "driver", driver)
    head = HeadCriterion(LOSSES["ce"](4))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert head.path(4, torch.device("cuda")) == "tiles"
    (record,) = caplog.records
    assert record.message.startswith("losses: no kernel for CUDA, so that they take longer: ")


def test_it_is_the_kernel_for_cuda() -> None:
    """And nothing is imported before it is wanted."""
    program = """
import sys
from unittest.mock import Mock
import torch
from seglit.losses import proof
proof.error_of = lambda kernel, device: 0.0
device = torch.device("cuda")
assert "triton" not in sys.modules
import triton
triton.runtime.driver.set_active(Mock())
assert type(proof.kernel_for(device)).__name__ == "TritonKernel"
assert proof.kernel_for(device) is proof.kernel_for(device)
assert proof.kernel_for(torch.device("meta")) is None
"""
    source = Path(kernel_module.__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(source)})
