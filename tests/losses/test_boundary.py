"""Boundaries made from labels, the loss that balances them, and OHEM by the batch."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from reference.mmseg_nets import label_map
from seglit.losses import (
    BoundaryLoss,
    BoundaryTarget,
    CrossEntropyLoss,
    DetailTarget,
    DiceLoss,
    HeadCriterion,
    OHEMPixelSampler,
    SegmentationCriterion,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "golden"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the golden numbers are not on this machine")
TARGETS = {"boundary": BoundaryTarget(3), "wide": BoundaryTarget(4), "detail": DetailTarget(), "all": DetailTarget(0.0)}
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def labels_of(ignore_index: int = 255, size: tuple[int, int] = (14, 17)) -> Tensor:
    return label_map("boundary", (2, *size), 5, ignore_index)


def slow_boundary(labels: Tensor, void: int, width: int) -> Tensor:
    """One pixel after the other."""
    count, height, width_of_map = labels.shape
    made = torch.zeros_like(labels)
    for n, y, x in itertools.product(range(count), range(height), range(width_of_map)):
        for down, right in ((-1, 0), (0, 1), (1, 1), (1, -1)):
            i, j = y + down, x + right
            if not (0 <= i < height and 0 <= j < width_of_map):
                continue
            own, other = labels[n, y, x].item(), labels[n, i, j].item()
            if void in (own, other) or own == other:
                continue
            top, left = y - (width - 1) // 2, x - (width - 1) // 2
            made[n, max(top, 0) : top + width, max(left, 0) : left + width] = 1
    return torch.where(labels == void, 255, made)


def slow_detail(labels: Tensor, void: int, threshold: float) -> Tensor:
    """One pixel after the other."""
    count, height, width = labels.shape
    found = torch.zeros(count, height, width)
    for n, y, x in itertools.product(range(count), range(height), range(width)):
        own = labels[n, y, x].item()
        if own == void:
            continue
        for i, j in itertools.product(
            range(max(y - 1, 0), min(y + 2, height)), range(max(x - 1, 0), min(x + 2, width))
        ):
            other = labels[n, i, j].item()
            found[n, y, x] += 0 if other == void else own - other
    made = labels.clone()
    for n, y, x in itertools.product(range(count), range(height), range(width)):
        total = torch.tensor(0.0)
        for stride, share in ((1, 0.6), (2, 0.3), (4, 0.1)):
            rows, columns = -(-height // stride), -(-width // stride)
            i, j = y * rows // height, x * columns // width
            total += share * float(found[n, i * stride, j * stride] > threshold)
        made[n, y, x] = int(total > threshold)
    return torch.where(labels == void, 255, made)


@pytest.mark.parametrize("void", [255, -1, 0])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_boundaries_are_those_of_the_slow_reference(void, width):
    labels = labels_of(void)
    assert_close(BoundaryTarget(width)(labels, void), slow_boundary(labels, void, width))


@pytest.mark.parametrize("void", [255, -1, 0])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5])
def test_details_are_those_of_the_slow_reference(void, threshold):
    labels = labels_of(void, (13, 18))
    assert_close(DetailTarget(threshold)(labels, void), slow_detail(labels, void, threshold))


@every_target
@pytest.mark.parametrize("number", [0, 3])
def test_one_class_has_no_boundary_nor_has_the_frame(target, number):
    assert not target(torch.full((1, 9, 11), number), 255).any()


@every_target
def test_void_makes_no_boundary_and_stays_void(target):
    labels = torch.full((1, 12, 12), 2)
    labels[:, 3:6, 2:9] = 255
    made = target(labels, 255)
    assert_close(made, torch.where(labels == 255, 255, 0))


@every_target
def test_the_number_of_void_does_not_matter(target):
    labels = labels_of(255)
    assert_close(target(torch.where(labels == 255, -7, labels), -7), target(labels, 255))


def golden() -> dict:
    return torch.load(SHARED / "losses_122.pt", weights_only=True)


@needs_shared
def test_boundary_loss_is_mmsegmentations_under_compat():
    stored = golden()
    cases = [case for case in stored["cases"] if case["loss"] == "BoundaryLoss"]
    assert len(cases) >= 4
    for case in cases:
        labels = stored["tensors"][case["args"]["bd_gt"]]
        for compat in ("mmseg-1.2", None):
            if compat is None and set(labels.unique().tolist()) - {255} != {0, 1}:
                continue  # where all are of one kind the definition is another
            logits = stored["tensors"][case["pred"]].double().requires_grad_()
            criterion = HeadCriterion({"loss_x": BoundaryLoss(**case["init"])}, compat=compat)
            value = criterion(logits, labels.view(2, 6, 7).long())["loss_x"]
            # Theirs has the weights in float32.
            assert_close(value, case["out64"].double(), rtol=2e-6, atol=0)
            (gradient,) = torch.autograd.grad(value, logits)
            assert_close(gradient, case["grad64"], rtol=2e-6, atol=1e-9)


@needs_shared
def test_ohem_by_the_batch_is_ohem_cross_entropy():
    stored = golden()
    same = cases = 0
    for case in stored["cases"]:
        if case["loss"] != "OhemCrossEntropy":
            continue
        init = dict(case["init"])
        sampler = OHEMPixelSampler(init.pop("thres"), init.pop("min_kept"), per_image=False)
        logits = stored["tensors"][case["pred"]].double().requires_grad_()
        labels = stored["tensors"][case["args"]["target"]]
        expected = torch.as_tensor(case["out64"]).double()
        theirs = HeadCriterion({"loss_x": CrossEntropyLoss(**init)}, sampler, compat="mmseg-1.2")
        value = theirs(logits, labels)["loss_x"]
        assert_close(value, expected, rtol=1e-9, atol=0)
        (gradient,) = torch.autograd.grad(value, logits)
        assert_close(
            gradient, case["grad64"] if case["has_grad64"] else torch.zeros_like(logits), rtol=1e-9, atol=1e-12
        )
        # Our own keeps what is at the limit as well; elsewhere it is the same.
        ours = HeadCriterion({"loss_x": CrossEntropyLoss(**init)}, sampler)(logits, labels)["loss_x"]
        same += bool(torch.isclose(ours, expected, rtol=1e-9, atol=0))
        cases += 1
    assert cases > 20
    assert same > cases // 2


def slow_balanced(logits: Tensor, labels: Tensor, void: int, valid_only: bool) -> Tensor:
    ones, zeros = [], []
    for logit, label in zip(logits.flatten(), labels.flatten().tolist(), strict=True):
        if label != void:
            (ones if label == 1 else zeros).append(torch.log1p(torch.exp(-logit if label == 1 else logit)))
    share = len(ones) / (len(ones) + len(zeros)) if ones and zeros else 0.5
    total = (1 - share) * sum(ones) + share * sum(zeros)
    return total / max(1, len(ones) + len(zeros) if valid_only else labels.numel())


@pytest.mark.parametrize("kinds", [(0, 1), (0,), (1,)])
@pytest.mark.parametrize("valid_only", [False, True])
@pytest.mark.parametrize("tiled", [False, True])
def test_boundary_loss_is_that_of_the_slow_reference(kinds, valid_only, tiled):
    draw = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(2, 1, 5, 7, generator=draw, dtype=torch.float64)).requires_grad_()
    labels = torch.tensor(kinds)[torch.randint(len(kinds), (2, 5, 7), generator=draw)]
    labels[torch.rand(labels.shape, generator=draw) < 0.2] = 255
    criterion = HeadCriterion({"loss_x": BoundaryLoss(avg_non_ignore=valid_only)})
    value = criterion(logits, labels, tiled=tiled)["loss_x"]
    expected = slow_balanced(logits, labels, 255, valid_only)
    assert_close(value, expected, rtol=1e-9, atol=0)
    for one, other in zip(torch.autograd.grad(value, logits), torch.autograd.grad(expected, logits), strict=True):
        assert_close(one, other, rtol=1e-9, atol=1e-15)


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["boundary", "detail"]), st.booleans(), st.booleans())
def test_with_a_target_tiles_and_all_at_once_are_the_same(height, width, name, align_corners, upsampled):
    """With a loss that a kernel knows, one that only tiles know, and a sampler.

    Of logits at another stride the sampler goes by `thresh` alone: rows that upsampling repeats tie but for rounding,
    so that which of them are the last of `min_kept` depends on the way.
    """
    draw = torch.Generator().manual_seed(height * width)
    labels = label_map(f"{height},{width}", (2, height * (1 + upsampled), width * (1 + upsampled)), 3, 0)
    sampler = OHEMPixelSampler(0.6, 0 if upsampled else 3, per_image=False)
    losses = {"loss_a": CrossEntropyLoss(avg_non_ignore=True), "loss_b": DiceLoss(use_sigmoid=True, smooth=0.5)}
    results = []
    logits = torch.randn(2, 2, height, width, generator=draw, dtype=torch.float64).requires_grad_()
    for tiled, kernels in ((False, False), (True, False), (True, True)):
        for chosen in (losses, {"loss_a": losses["loss_a"]}):
            head = HeadCriterion(chosen, sampler, 0, target=TARGETS[name])
            terms = head(logits, labels, align_corners, tiled=tiled, kernels=kernels)
            (gradient,) = torch.autograd.grad(terms["loss_a"], logits)
            results.append((terms["loss_a"], gradient))
    for value, gradient in results[1:]:
        assert_close(value, results[0][0], rtol=1e-9, atol=1e-12)
        assert_close(gradient, results[0][1], rtol=1e-9, atol=1e-12)


def test_a_void_pixel_gets_no_gradient_through_a_target():
    labels = labels_of()
    logits = torch.randn(2, 1, *labels.shape[1:], dtype=torch.float64, requires_grad=True)
    head = HeadCriterion({"loss_x": BoundaryLoss()}, target=BoundaryTarget())
    head(logits, labels)["loss_x"].backward()
    assert not logits.grad[labels[:, None] == 255].any()
    assert logits.grad[labels[:, None] != 255].all()


def test_per_image_chooses_of_each_image_as_many():
    losses = torch.rand(3, 10, 10)
    valid = torch.ones_like(losses, dtype=torch.bool)
    assert OHEMPixelSampler(None, 20)(losses, valid).sum() == 60
    assert OHEMPixelSampler(None, 20, per_image=False)(losses, valid).sum() == 20


@pytest.mark.parametrize(
    ("target", "channels", "words"), [(None, 2, "target: is left out"), ("boundary", 7, "makes 2")]
)
def test_channels_must_fit_what_is_learned(target, channels, words):
    criterion = SegmentationCriterion(
        HeadCriterion({"loss_x": CrossEntropyLoss()}),
        HeadCriterion({"loss_x": CrossEntropyLoss()}, target=TARGETS.get(target)),
    )
    with pytest.raises(ValueError, match=f"criterion.aux.*{words}"):
        criterion.check(7, {"decode": 7, "aux": channels})
    criterion.check(7, {"decode": 7, "aux": 2 if target else 7})


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: BoundaryTarget(0), "width: must be at least 1, got 0"),
        (lambda: DetailTarget(1.0), "threshold: from 0 on and below 1, got 1.0"),
        (lambda: BoundaryLoss(loss_weight=-1.0), "loss_weight"),
        (lambda: HeadCriterion({"loss_x": BoundaryLoss()}).check(2, 2), "learns one channel, got 2"),
        (
            lambda: HeadCriterion({"loss_x": CrossEntropyLoss(class_weight="auto")}, target=BoundaryTarget()),
            "with target this head learns others",
        ),
        (lambda: HeadCriterion({"loss_x": BoundaryLoss()}, compat="mmseg-0.25"), "no boundary loss before 1.2"),
        (
            lambda: HeadCriterion(
                {"loss_x": DiceLoss()}, OHEMPixelSampler(0.7, 9, per_image=False), compat="mmseg-1.2"
            ),
            "but in OhemCrossEntropy",
        ),
        (
            lambda: HeadCriterion(
                {"loss_x": CrossEntropyLoss()}, OHEMPixelSampler(0.7, 9, per_image=False), compat="mmseg-0.25"
            ),
            "no per_image=False in a sampler of this release",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_divisors_of_labels_alone_are_those_of_the_target():
    """As a whole optimizer step needs them: void pixels of 0, which is a class of what is learned."""
    head = HeadCriterion({"loss_x": CrossEntropyLoss(avg_non_ignore=True)}, ignore_index=0, target=DetailTarget())
    criterion = SegmentationCriterion(HeadCriterion({"loss_x": CrossEntropyLoss()}), head)
    labels = labels_of(0)
    divisors = criterion.divisors(labels, {"decode": 5, "aux": 2}, torch.float64)
    assert divisors["aux", "loss_x", "divisor"] == (labels != 0).sum() == divisors["aux", "", "valid"]
