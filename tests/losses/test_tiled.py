"""The losses a tile at a time are those at full resolution: every number and every gradient."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seglit.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    HeadCriterion,
    LovaszLoss,
    OHEMPixelSampler,
    SegmentationCriterion,
    TverskyLoss,
    fused,
    native,
    proof,
    tiled,
)
from seglit.losses.loss import Loss
from seglit.losses.pixel_mean import Divisor, PixelMeanLoss
from seglit.losses.pixels import Pixels

WEIGHTS = [1.0, 2.0, 0.5, 3.0]
LOSSES: dict[str, Callable[[], dict[str, Loss]]] = {
    "ce": lambda: {"loss_ce": CrossEntropyLoss()},
    "ce-valid": lambda: {"loss_ce": CrossEntropyLoss(avg_non_ignore=True)},
    "ce-weighted": lambda: {"loss_ce": CrossEntropyLoss(class_weight=WEIGHTS, divisor="class_weight")},
    "bce": lambda: {"loss_ce": CrossEntropyLoss(use_sigmoid=True, class_weight=WEIGHTS)},
    "focal": lambda: {"loss_focal": FocalLoss(alpha=[0.2, 0.4, 0.6, 0.9], class_weight=WEIGHTS)},
    "focal-bare": lambda: {"loss_focal": FocalLoss(alpha=None, gamma=0.5)},
    "focal-softmax": lambda: {"loss_focal": FocalLoss(use_sigmoid=False, gamma=0.5, class_weight=WEIGHTS)},
    "focal-softmax-alphas": lambda: {"loss_focal": FocalLoss(use_sigmoid=False, alpha=[0.2, 0.4, 0.6, 0.9])},
    "dice": lambda: {"loss_dice": DiceLoss(class_weight=WEIGHTS, avg_non_ignore=True)},
    "dice-batch": lambda: {"loss_dice": DiceLoss(per_image=False, exponent=1)},
    "dice-sigmoid": lambda: {"loss_dice": DiceLoss(use_sigmoid=True, exponent=3, class_weight=WEIGHTS)},
    "tversky": lambda: {"loss_tversky": TverskyLoss(class_weight=WEIGHTS)},
    "ce+dice": lambda: {"loss_ce": CrossEntropyLoss(class_weight=WEIGHTS), "loss_dice": DiceLoss(loss_weight=3.0)},
    "ce+focal+tversky": lambda: {
        "loss_ce": CrossEntropyLoss(),
        "loss_focal": FocalLoss(loss_weight=2.0),
        "loss_tversky": TverskyLoss(use_sigmoid=True, per_image=False),
    },
    "ce, dice watched": lambda: {"loss_ce": CrossEntropyLoss(), "dice": DiceLoss(), "focal": FocalLoss()},
}
SAMPLERS = {
    "all": None,
    "thresh": OHEMPixelSampler(0.5, 3),
    "thresh alone": OHEMPixelSampler(0.3, 0),
    "too few below thresh": OHEMPixelSampler(0.001, 40),
    "hardest": OHEMPixelSampler(None, 25),
    "hardest of fewer": OHEMPixelSampler(None, 10**6),
}
SHAPES = {
    "x4": ((3, 5), (12, 20), False),
    "x4 aligned": ((3, 5), (12, 20), True),
    "x3": ((3, 5), (9, 15), False),
    "odd": ((4, 5), (13, 17), False),
    "odd aligned": ((4, 5), (13, 17), True),
    "x1": ((7, 9), (7, 9), False),
    "smaller": ((9, 8), (5, 6), False),
}


@pytest.fixture(
    autouse=True, params=["kernel", pytest.param(1, marks=pytest.mark.slow), 150], ids=["kernel", "rows", "small tiles"]
)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By the kernel where the losses have one, in pieces of few rows; or by tiles of so many logits."""
    if request.param == "kernel":
        if native.native() is None:
            pytest.skip("no compiler here")
        monkeypatch.setattr(native, "PIXELS", 40)
        return "kernel"
    monkeypatch.setattr(proof, "kernel_for", lambda device: None)
    monkeypatch.setitem(tiled.TILE, "cpu", request.param)
    return "tiles"


def draw(
    size: tuple[int, int], full: tuple[int, int], ignore_index: int = 255, channels: int = 4
) -> tuple[Tensor, Tensor]:
    """Three images, the second of them all void."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, channels, *size, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, max(channels, 2), (3, *full), generator=generator)
    labels[torch.rand(3, *full, generator=generator) < 0.3] = ignore_index
    labels[1] = ignore_index
    return logits.requires_grad_(), labels


def both(
    head: HeadCriterion, logits: Tensor, labels: Tensor, align_corners: bool = False
) -> tuple[tuple[dict[str, Tensor], Tensor], tuple[dict[str, Tensor], Tensor]]:
    """Terms and the gradient of their sum, tiled and plain."""
    found = []
    for is_tiled in (True, False):
        terms = head(logits, labels, align_corners, tiled=is_tiled)
        total = sum(value * (1 + place) for place, (name, value) in enumerate(terms.items()) if "loss_" in name)
        (gradient,) = torch.autograd.grad(total, logits)
        found.append((terms, gradient))
    return found[0], found[1]


def assert_same(found: tuple[dict[str, Tensor], Tensor], expected: tuple[dict[str, Tensor], Tensor]) -> None:
    terms, gradient = found
    assert list(terms) == list(expected[0])
    for name, value in terms.items():
        assert_close(value.detach(), expected[0][name].detach(), rtol=1e-12, atol=1e-14, equal_nan=True, msg=name)
    assert_close(gradient, expected[1], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("losses", LOSSES)
def test_every_loss_with_every_sampler(losses: str, sampler: str) -> None:
    head = HeadCriterion(LOSSES[losses](), SAMPLERS[sampler])
    assert head.tiles
    assert_same(*both(head, *draw((3, 5), (12, 20))))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("losses", ["ce", "ce+dice", "focal"])
@pytest.mark.parametrize("ignore_index", [255, -100, 0, 2])
def test_every_size(losses: str, shape: str, ignore_index: int) -> None:
    size, full, align_corners = SHAPES[shape]
    head = HeadCriterion(LOSSES[losses](), OHEMPixelSampler(0.2, 20), ignore_index)
    assert_same(*both(head, *draw(size, full, ignore_index), align_corners))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("losses", ["bce", "focal", "dice-sigmoid", "dice-batch"])
def test_one_channel(losses: str, sampler: str) -> None:
    made = LOSSES[losses]()
    for loss in made.values():
        loss.class_weight = (0.5, 2.0)
    if losses == "focal":
        made = {"loss_focal": FocalLoss(alpha=0.8)}
    assert_same(*both(HeadCriterion(made, SAMPLERS[sampler]), *draw((3, 5), (12, 20), channels=1)))


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("losses", LOSSES)
def test_ties_and_saturation(losses: str, scale: float) -> None:
    logits, labels = draw((3, 5), (12, 20))
    logits = (logits.detach() * scale).requires_grad_()
    found, expected = both(HeadCriterion(LOSSES[losses](), OHEMPixelSampler(0.7, 5)), logits, labels)
    assert_same(found, expected)
    assert found[1].isfinite().all()


@pytest.mark.parametrize("losses", ["ce", "ce+dice", "bce"])
def test_nothing_counts(losses: str) -> None:
    logits, labels = draw((3, 5), (12, 20))
    found, expected = both(
        HeadCriterion(LOSSES[losses](), OHEMPixelSampler(0.5, 5)), logits, torch.full_like(labels, 255)
    )
    assert_same(found, expected)
    assert not found[1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("losses", ["ce", "ce+dice"])
def test_half_precision(losses: str, dtype: torch.dtype) -> None:
    """Computed in float32, with small gradients scaled before they are rounded."""
    logits, labels = draw((3, 5), (12, 20))
    half = logits.detach().to(dtype).requires_grad_()
    exact = half.detach().double().requires_grad_()
    head = HeadCriterion(LOSSES[losses]())
    scaler = 2.0**14
    gradients = []
    for given in (half, exact):
        terms = head(given, labels)
        loss = sum(value for name, value in terms.items() if name.startswith("loss_"))
        assert loss.dtype == (torch.float32 if given is half else torch.float64)
        gradients += torch.autograd.grad(1e-4 * scaler * loss, given)
    assert gradients[0].dtype == dtype
    precision = torch.finfo(dtype).eps
    assert_close(gradients[0].double(), gradients[1], rtol=precision, atol=precision * gradients[1].abs().max().item())


def test_half_precision_is_rounded_once() -> None:
    """The sum over all pixels is beyond float16, the mean is not."""
    logits = torch.zeros(1, 2, 1, 1, dtype=torch.float16, requires_grad=True)
    labels = torch.zeros(1, 400, 400, dtype=torch.long)
    (gradient,) = torch.autograd.grad(HeadCriterion({"loss_ce": CrossEntropyLoss()})(logits, labels)["loss_ce"], logits)
    assert_close(gradient.flatten(), torch.tensor([-0.5, 0.5], dtype=torch.float16), rtol=0, atol=0)


def test_sums_have_more_digits_than_their_parts() -> None:
    """In float32, 2**24 and one is 2**24."""
    large = 2.0**24
    values = torch.ones(1, 1, 9)
    values[..., 0] = large
    pixels = Pixels(torch.zeros(1, 2, 1, 9), torch.ones(1, 1, 9, dtype=torch.long), 255)
    assert pixels.sums_by_label(values).tolist() == [[0.0, large + 8]]
    pieces = [tiled.Piece(0, {("loss", "sum"): value}) for value in values.flatten()]
    assert tiled.added(pieces, 1, torch.float32)["loss", "sum"].item() == large + 8


@pytest.mark.parametrize("sampler", ["thresh", "too few below thresh", "hardest"])
@pytest.mark.parametrize("divisor", ["all", "valid", "kept", "class_weight"])
def test_every_divisor_with_a_sampler(divisor: Divisor, sampler: str) -> None:
    loss = CrossEntropyLoss(class_weight=WEIGHTS, divisor=divisor)
    assert_same(*both(HeadCriterion({"loss_ce": loss}, SAMPLERS[sampler]), *draw((3, 5), (12, 20))))


def test_products_are_not_rounded(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run allows for its convolutions, and the precision around, do not reach the resizing."""
    seen = []
    resize = tiled.Upsampling.values

    def watched(*arguments: Any) -> Tensor:
        seen.append((torch.backends.mkldnn.matmul.fp32_precision, torch.is_autocast_enabled("cpu")))
        return resize(*arguments)

    monkeypatch.setattr(tiled.Upsampling, "values", watched)
    logits, labels = draw((3, 5), (12, 20))
    logits = logits.detach().float().requires_grad_()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            head = HeadCriterion(LOSSES["ce+dice"]())
            terms = head(logits, labels)
            (terms["loss_ce"] + terms["loss_dice"]).backward()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(seen) == ({("ieee", False)} if path == "tiles" else set())
    assert logits.grad is not None
    double = logits.detach().double().requires_grad_()
    terms = head(double, labels)
    (terms["loss_ce"] + terms["loss_dice"]).backward()
    assert_close(logits.grad.double(), double.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("losses", ["ce", "ce+dice"])
def test_the_same_bits_for_any_number_of_threads(losses: str) -> None:
    logits, labels = draw((8, 10), (64, 80))
    head = HeadCriterion(LOSSES[losses](), OHEMPixelSampler(0.1, 200))
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            single = logits.detach().float().requires_grad_()
            terms = head(single, labels)
            found.append(torch.autograd.grad(sum(terms[name] for name in head.losses), single)[0])
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_channels_last_logits() -> None:
    logits, labels = draw((3, 5), (12, 20))
    other = logits.detach().to(memory_format=torch.channels_last).requires_grad_()
    head = HeadCriterion(LOSSES["ce+dice"]())
    (first,), (second,) = (
        torch.autograd.grad(sum(head(given, labels)[name] for name in head.losses), given) for given in (logits, other)
    )
    assert_close(first, second, rtol=1e-12, atol=1e-15)


def test_each_term_alone_has_its_gradient() -> None:
    logits, labels = draw((3, 5), (12, 20))
    head = HeadCriterion(LOSSES["ce+dice"]())
    for name in ("loss_ce", "loss_dice"):
        (found,) = torch.autograd.grad(head(logits, labels)[name], logits)
        (expected,) = torch.autograd.grad(head(logits, labels, tiled=False)[name], logits)
        assert_close(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("losses", ["ce", "ce+dice"])
def test_backward_twice_and_never_in_between(losses: str) -> None:
    logits, labels = draw((3, 5), (12, 20))
    head = HeadCriterion(LOSSES[losses](), SAMPLERS["too few below thresh"])
    loss = sum(value for name, value in head(logits, labels).items() if name.startswith("loss_"))
    first = torch.autograd.grad(loss, logits, retain_graph=True)
    second = torch.autograd.grad(2 * loss, logits)
    # The second time, a gradient that came with the loss has been given away, and is made once more.
    assert_close(2 * first[0], second[0], rtol=1e-13, atol=0)


@pytest.mark.parametrize("losses", ["ce", "ce+dice"])
def test_a_second_derivative_is_refused(losses: str) -> None:
    logits, labels = draw((3, 5), (12, 20))
    loss = HeadCriterion(LOSSES[losses]())(logits, labels)["loss_ce"]
    with pytest.raises(RuntimeError, match=r"no second derivative, as create_graph=True needs; give tiled=False"):
        torch.autograd.grad(loss, logits, create_graph=True)


def test_no_gradient_is_computed_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("a gradient was computed")

    monkeypatch.setattr(tiled.TiledPixels, "_share", never)
    monkeypatch.setattr(fused.FusedPixels, "_slopes", never)
    logits, labels = draw((3, 5), (12, 20))
    head = HeadCriterion(LOSSES["ce"](), SAMPLERS["thresh"])
    with torch.no_grad():
        assert not head(logits, labels)["loss_ce"].requires_grad
    assert not head(logits.detach(), labels)["loss_ce"].requires_grad
    with pytest.raises(AssertionError, match="a gradient was computed"):
        head(logits, labels)


def test_logits_changed_in_place_are_noticed() -> None:
    logits, labels = draw((3, 5), (12, 20))
    made = logits * 1
    loss = HeadCriterion(LOSSES["ce+dice"]())(made, labels)["loss_dice"]
    with torch.no_grad():
        made += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class SquaredLogits(PixelMeanLoss):
    """A loss of a user's, that knows nothing of softmax or tiles."""

    def __init__(self) -> None:
        super().__init__(WEIGHTS, 1.0, avg_non_ignore=True, divisor=None)

    def pixel_loss(self, pixels: Pixels) -> Tensor:
        return (pixels.logits**2 * pixels.one_hot()).sum(1)


class RootOfSum(SquaredLogits):
    """One that has totals of its own, which tiles know nothing of."""

    def totals(self, pixels: Pixels) -> dict[str, Tensor]:
        totals = super().totals(pixels)
        return totals | {"sum": totals["sum"].sqrt()}


@pytest.mark.parametrize(("loss", "tiles"), [(SquaredLogits(), True), (RootOfSum(), False)])
def test_a_loss_of_ones_own(loss: Loss, tiles: bool) -> None:
    head = HeadCriterion({"loss_own": loss, "loss_ce": CrossEntropyLoss()}, SAMPLERS["thresh"])
    assert head.tiles == tiles
    assert_same(*both(head, *draw((3, 5), (12, 20))))


@pytest.mark.parametrize(
    ("losses", "compat", "tiles"),
    [
        ({"loss_ce": CrossEntropyLoss()}, None, True),
        ({"loss_ce": CrossEntropyLoss()}, "mmseg-1.2", False),
        ({"loss_ce": CrossEntropyLoss(), "loss_lovasz": LovaszLoss()}, None, False),
    ],
)
def test_which_path(losses: dict[str, Loss], compat: str | None, tiles: bool, path: str) -> None:
    head = HeadCriterion(losses, compat=compat)
    assert head.tiles == tiles
    logits, labels = draw((3, 5), (12, 20))
    for wanted in (True, False):
        criterion = SegmentationCriterion(decode=head, tiled=wanted)
        pixels = criterion.pixels({"decode": logits}, labels)["decode"]
        assert isinstance(pixels, fused.FusedPixels) == (tiles and wanted and path == "kernel")
        assert isinstance(pixels, tiled.TiledPixels) == (tiles and wanted and path == "tiles")
        (row, *_) = criterion.describe({"decode": 4}, logits.device)
        assert row["computed"] == (path if tiles and wanted else "full size")


def test_the_certain_limit_is_that_of_thresh() -> None:
    assert OHEMPixelSampler(None, 5).certain_limit(torch.float32) == math.inf
    limit = OHEMPixelSampler(0.7, 0).limit(torch.rand(1, 2, 2))
    assert OHEMPixelSampler(0.7, 0).certain_limit(torch.float32) == limit.item()


class Smoothed(CrossEntropyLoss):
    """Another formula with inherited slopes."""

    def pixel_loss(self, pixels: Pixels) -> Tensor:
        return 0.9 * super().pixel_loss(pixels) - 0.1 * pixels.logits.log_softmax(1).mean(1)


class SmoothedFocal(FocalLoss):
    def pixel_loss(self, pixels: Pixels) -> Tensor:
        return super().pixel_loss(pixels) + 0.1 * (pixels.logits**2).mean(1)


class HalfDice(DiceLoss):
    def statistics(self, pixels: Pixels) -> dict[str, Tensor]:
        statistics = super().statistics(pixels)
        return statistics | {"sums": statistics["sums"] ** 1.0 * 0.5}


class WithPenalty(CrossEntropyLoss):
    """One more sum, which the formula uses."""

    def statistics(self, pixels: Pixels) -> dict[str, Tensor]:
        penalty = (pixels.weight(None) * (pixels.logits**2).mean(1)).sum()
        return super().statistics(pixels) | {"penalty": penalty}

    def finish(self, totals: Mapping[str, Tensor]) -> Tensor:
        return super().finish(totals) + 0.1 * totals["penalty"] / totals["divisor"].clamp(min=1)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("loss", [Smoothed, SmoothedFocal, HalfDice, WithPenalty])
def test_a_subclass_has_the_gradient_of_its_own_formula(loss: Callable[[], Loss], sampler: str) -> None:
    assert_same(*both(HeadCriterion({"loss_x": loss()}, SAMPLERS[sampler]), *draw((3, 5), (12, 20))))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["one", "all"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("losses", ["ce", "ce+dice"])
def test_logits_that_are_no_numbers_are_not_hidden(losses: str, sampler: str, where: str, bad: float) -> None:
    logits, labels = draw((3, 5), (12, 20))
    with torch.no_grad():
        logits[(0, 1, 1, 2) if where == "one" else ...] = bad
    labels[0] = labels[0].masked_fill(labels[0] == 255, 0)
    for terms, gradient in both(HeadCriterion(LOSSES[losses](), SAMPLERS[sampler]), logits, labels):
        assert not sum(value for name, value in terms.items() if "loss_" in name).isfinite()
        assert not gradient.isfinite().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_within_what_is_compiled() -> None:
    """The compiler goes around it."""
    logits, labels = draw((3, 5), (12, 20))
    head = HeadCriterion(LOSSES["ce+dice"](), SAMPLERS["thresh"])

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return sum(value for name, value in head(2 * logits, labels).items() if name.startswith("loss_"))

    (expected,) = torch.autograd.grad(loss(logits, labels), logits)
    (found,) = torch.autograd.grad(torch.compile(loss, backend="eager")(logits, labels), logits)
    assert torch.equal(found, expected)
