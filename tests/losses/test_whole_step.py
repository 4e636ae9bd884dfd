"""One step, whatever the cuts: the gradients of one batch, of ranks, of micro-batches, and of both."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import agreement
from seglit.losses import (
    CrossEntropyLoss,
    DiceLoss,
    HeadCriterion,
    LovaszLoss,
    OHEMPixelSampler,
    SegmentationCriterion,
)
from seglit.losses.ranks import ALONE
from seglit.losses.whole_step import CachedGradients, SharedDivisors

ALONE_CUT = "1 + 1 + ... + 1"


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_no_cut_changes_the_gradients(every: int) -> None:
    found = agreement.differences(list(agreement.CRITERIA)[::every], list(agreement.CUTS))
    assert len(found) == 36 // every
    assert {key: value for key, value in found.items() if value > 1e-10} == {}


def test_local_normalisation_does_depend_on_the_cuts() -> None:
    found = agreement.differences(["CE, avg_non_ignore", "OHEM by min_kept"], [ALONE_CUT], "local")
    assert min(found.values()) > 0.1


class Net(nn.Module):
    """Dropout and running statistics before a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Conv2d(3, 4, 1)
        self.seen: list[Tensor] = []

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        logits = self.classifier(self.dropout(self.norm(image)))
        self.seen.append(logits.detach())
        return {"decode": logits}


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(count):
        labels = torch.randint(0, 4, (2, 6, 6), generator=generator)
        labels[torch.rand(2, 6, 6, generator=generator) < 0.3] = 255
        draws.append((torch.randn(2, 3, 6, 6, generator=generator), labels))
    return draws


def cached(net: Net, parts: list[tuple[Tensor, Tensor]]) -> CachedGradients:
    losses = {"loss_ce": CrossEntropyLoss(), "loss_dice": DiceLoss(per_image=False)}
    criterion = SegmentationCriterion(HeadCriterion(losses, OHEMPixelSampler(None, 10)))
    return CachedGradients(net, net, criterion, {}, ALONE, [lambda part=part: part for part in parts])


def test_the_second_pass_is_the_first_once_more() -> None:
    torch.manual_seed(0)
    net, parts = Net(), batches()
    step = cached(net, parts)
    assert net.norm.num_batches_tracked == 0
    assert net.norm.running_mean.count_nonzero() == 0
    for image, labels in parts:
        torch.manual_seed(7)  # what a callback may do before each micro-batch
        step.part(image, labels).backward()
    assert net.norm.num_batches_tracked == 3
    assert len(net.seen) == 6
    for first, second in zip(net.seen[:3], net.seen[3:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(net.seen[0], net.seen[1])
    assert step.terms["loss"] > 0


def test_the_gradients_are_those_of_the_logits_laid_together() -> None:
    """With the same masks of dropout: the loss of all logits as one graph."""
    torch.manual_seed(0)
    net, parts = Net().double(), [(image.double(), labels) for image, labels in batches()]
    step = cached(net, parts)
    for image, labels in parts:
        step.part(image, labels).backward()
    actual = net.classifier.weight.grad.clone()
    torch.manual_seed(0)
    again = Net().double()
    logits = torch.cat([again(image)["decode"] for image, _ in parts])
    criterion = SegmentationCriterion(
        HeadCriterion(
            {"loss_ce": CrossEntropyLoss(), "loss_dice": DiceLoss(per_image=False)}, OHEMPixelSampler(None, 10)
        )
    )
    terms = criterion({"decode": logits}, torch.cat([labels for _, labels in parts]))
    terms["loss"].backward()
    torch.testing.assert_close(actual, again.classifier.weight.grad, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(step.terms["loss"], terms["loss"].detach(), rtol=1e-12, atol=0)
    assert step.terms["decode.kept_share"] == terms["decode.kept_share"]


def test_weights_that_autocast_has_converted_still_get_gradients() -> None:
    net, parts = Net(), batches(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = cached(net, parts)
        loss = step.part(*parts[0])
    # From logits of half precision, but not rounded to it.
    assert net.seen[-1].dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    assert net.classifier.weight.grad.count_nonzero() > 0


def test_terms_of_shared_divisors_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    net, parts = nn.Conv2d(3, 4, 1).double(), [(image.double(), labels) for image, labels in batches()]
    losses = {"loss_ce": CrossEntropyLoss(class_weight=[1.0, 2.0, 3.0, 4.0], divisor="class_weight"), "x": DiceLoss()}
    criterion = SegmentationCriterion(HeadCriterion(losses))

    def forward(image: Tensor) -> dict[str, Tensor]:
        return {"decode": net(image)}

    labels = [labels for _, labels in parts]
    step = SharedDivisors(forward, criterion, {}, ALONE, {"decode": 4}, labels, torch.float64)
    for image, label in parts:
        step.part(image, label).backward()
    actual = net.weight.grad.clone()
    net.zero_grad()
    terms = criterion(forward(torch.cat([image for image, _ in parts])), torch.cat(labels))
    terms["loss"].backward()
    assert step.terms.keys() == terms.keys()
    for name, value in terms.items():
        torch.testing.assert_close(step.terms[name], value.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(actual, net.weight.grad, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("losses", "sampler", "known"),
    [
        ({"loss_ce": CrossEntropyLoss()}, None, True),
        ({"loss_ce": CrossEntropyLoss()}, OHEMPixelSampler(0.5), False),
        ({"loss_dice": DiceLoss()}, None, True),
        ({"loss_ce": CrossEntropyLoss(), "watched": DiceLoss(per_image=False)}, None, False),
        ({"loss_l": LovaszLoss()}, None, False),
    ],
)
def test_what_labels_alone_tell(losses: dict[str, nn.Module], sampler: OHEMPixelSampler | None, known: bool) -> None:
    assert SegmentationCriterion(HeadCriterion(losses, sampler)).divisors_are_known is known


def test_what_sorts_the_pixels_of_all_ranks_is_refused() -> None:
    SegmentationCriterion(HeadCriterion({"loss_l": LovaszLoss(per_image=True)})).check_shared()
    with pytest.raises(ValueError, match=r"decode\.losses\.loss_l: LovaszLoss sorts .* per_image=true"):
        SegmentationCriterion(HeadCriterion({"loss_l": LovaszLoss()})).check_shared()


def test_batches_without_their_step_are_refused(tmp_path: Path) -> None:
    from test_module import make_module, make_trainer

    batch = {"image": torch.randn(1, 3, 16, 16), "labels": torch.zeros(1, 16, 16, dtype=torch.int64)}
    loader = DataLoader([batch, batch], batch_size=None)
    run = partial(
        make_trainer, tmp_path, max_steps=1, accumulate_grad_batches=2, limit_val_batches=0, enable_checkpointing=False
    )
    with pytest.raises(ValueError, match="give normalize='local'"):
        run().fit(make_module(), loader, loader)
    run().fit(make_module(normalize="local"), loader, loader)


def test_compat_is_local() -> None:
    from test_module import make_module

    def criterion() -> SegmentationCriterion:
        return SegmentationCriterion(
            decode=HeadCriterion({"loss_ce": CrossEntropyLoss()}, compat="mmseg-1.2"),
            aux=HeadCriterion({"loss_ce": CrossEntropyLoss()}),
        )

    assert make_module(criterion=criterion()).normalize == "local"
    assert make_module().normalize == "global"
    with pytest.raises(ValueError, match="does not go with compat"):
        make_module(criterion=criterion(), normalize="global")
