"""The kernel for the CPU: how it is compiled, and what the comparison of paths (test_tiled.py) does not reach."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from seglit.losses import CrossEntropyLoss, DiceLoss, FocalLoss, HeadCriterion, OHEMPixelSampler, fused, native, proof
from seglit.losses.loss import Loss

pytestmark = pytest.mark.skipif(native.native() is None, reason="no compiler here")


def draw(channels: int, dtype: torch.dtype = torch.float64, size: tuple[int, int] = (5, 7)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(channels)
    logits = 4 * torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, channels, (2, 20, 28), generator=generator)
    labels[torch.rand(2, 20, 28, generator=generator) < 0.2] = 255
    return logits.to(dtype).requires_grad_(), labels


def losses(channels: int) -> dict[str, Loss]:
    weights = [1 + 0.1 * (number % 7) for number in range(channels)]
    return {
        "loss_ce": CrossEntropyLoss(class_weight=weights),
        "loss_focal": FocalLoss(use_sigmoid=False, gamma=1.0, alpha=0.3),
        "loss_dice": DiceLoss(class_weight=weights),
        "loss_dice_1": DiceLoss(exponent=1, per_image=False, loss_weight=2.0),
    }


def stepped(head: HeadCriterion, logits: Tensor, labels: Tensor, *, tiled: bool) -> tuple[dict[str, Tensor], Tensor]:
    terms = head(logits, labels, tiled=tiled)
    (gradient,) = torch.autograd.grad(sum(value for name, value in terms.items() if "loss_" in name), logits)
    return {name: value.detach() for name, value in terms.items()}, gradient


@pytest.mark.parametrize("channels", [2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 150])
@pytest.mark.parametrize("sampler", [None, OHEMPixelSampler(0.2, 300)], ids=["all", "ohem"])
@pytest.mark.parametrize("size", [(5, 7), (20, 28)], ids=["resized", "as they lie"])
def test_any_number_of_channels(channels: int, sampler: OHEMPixelSampler | None, size: tuple[int, int]) -> None:
    """Of which some fill the vectors of the processor and some do not."""
    head = HeadCriterion(losses(channels), sampler)
    logits, labels = draw(channels, size=size)
    terms, gradient = stepped(head, logits, labels, tiled=True)
    expected, its_gradient = stepped(head, logits, labels, tiled=False)
    assert_close(terms, expected, rtol=1e-12, atol=1e-14, equal_nan=True)
    assert_close(gradient, its_gradient, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_void_may_be_no_number(bad: float) -> None:
    """Where nothing is resized, no other pixel sees it."""
    head = HeadCriterion(losses(3))
    logits, labels = draw(3, size=(20, 28))
    expected, its_gradient = stepped(head, logits, labels, tiled=True)
    void = (labels == 255)[:, None].expand_as(logits)
    spoilt = logits.detach().masked_fill(void, bad).requires_grad_()
    terms, gradient = stepped(head, spoilt, labels, tiled=True)
    assert_close(terms, expected, rtol=0, atol=0, equal_nan=True)
    assert_close(gradient, its_gradient, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [2, 19, 150])
@pytest.mark.parametrize("scale", [1.0, 20.0, 1000.0])
def test_single_precision_is_as_near_to_the_truth_as_torch(channels: int, scale: float) -> None:
    """The errors of values and gradients against double precision, which its exp and log of its own decide."""
    head = HeadCriterion({"loss_ce": CrossEntropyLoss()})
    logits, labels = draw(channels)
    logits = (scale * logits.detach()).float().requires_grad_()
    truth, true_gradient = stepped(head, logits.detach().double().requires_grad_(), labels, tiled=False)
    errors = []
    for tiled in (True, False):
        terms, gradient = stepped(head, logits, labels, tiled=tiled)
        value = (terms["loss_ce"].double() - truth["loss_ce"]).abs() / truth["loss_ce"]
        errors.append((value, (gradient.double() - true_gradient).norm() / true_gradient.norm()))
    (value, gradient), (value_of_torch, gradient_of_torch) = errors
    assert value <= 2e-7 + 1.5 * value_of_torch
    assert gradient <= 2e-7 + 1.5 * gradient_of_torch


def test_exp_and_log_to_the_last_digit() -> None:
    """Over the whole range of the surprise of two classes: from hardly any to the end of exp."""
    doubts = torch.cat([torch.linspace(-120, 120, 4001), torch.logspace(-7, 0, 500), -torch.logspace(-7, 0, 500)])
    logits = torch.stack([torch.zeros_like(doubts), doubts])[None, :, None]
    labels = torch.zeros(1, 1, len(doubts), dtype=torch.long)
    pixels = HeadCriterion({"loss_ce": CrossEntropyLoss()}, OHEMPixelSampler(None, 1)).pixels(
        logits, labels, tiled=True
    )
    assert isinstance(pixels, fused.FusedPixels)
    assert pixels._choice is not None
    found = pixels._choice.surprise.flatten().double()
    expected = F.softplus(doubts.double(), threshold=200)
    # One and a little has fewer digits than the little: as for torch, what is left is an error of the sum.
    assert_close(found, expected, rtol=3e-7, atol=1.3e-7)


@pytest.mark.parametrize("label", [-1, 19, 200, 2**40])
@pytest.mark.parametrize("sampler", [None, OHEMPixelSampler(0.5, 10)], ids=["all", "ohem"])
def test_a_label_that_is_no_class(label: int, sampler: OHEMPixelSampler | None) -> None:
    logits, labels = draw(19)
    labels[1, 3, 4] = label
    with pytest.raises(ValueError, match=rf"labels: {label} is none of the 19 classes and not ignore_index=255"):
        HeadCriterion({"loss_ce": CrossEntropyLoss()}, sampler)(logits, labels)


def test_a_pixel_at_the_limit_counts_once() -> None:
    """Four of eight pixels are exactly as hard as `thresh` asks, and two more come in."""
    logits = torch.zeros(1, 4, 1, 8, dtype=torch.float64)
    logits[:, 0, :, 4:] = torch.arange(1.0, 5.0)
    logits.requires_grad_()
    labels = torch.zeros(1, 1, 8, dtype=torch.long)
    samplers = [OHEMPixelSampler(0.25 * (1 + step * 1e-16), 6) for step in range(20)]
    (sampler, *_) = [one for one in samplers if one.certain_limit(torch.float64) == math.log(4)]
    head = HeadCriterion({"loss_ce": CrossEntropyLoss(divisor="all")}, sampler)
    terms, gradient = stepped(head, logits, labels, tiled=True)
    expected, its_gradient = stepped(head, logits, labels, tiled=False)
    assert terms["kept_share"] == 6 / 8
    assert_close(terms, expected, equal_nan=True)
    assert_close(gradient, its_gradient)


def test_no_kernels_are_taken_where_none_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "kernel_for", lambda device: pytest.fail("asked for a kernel"))
    logits, labels = draw(3)
    HeadCriterion({"loss_ce": CrossEntropyLoss()})(logits, labels, kernels=False)
