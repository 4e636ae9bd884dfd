"""The laws find each fault, by its name and through pytest; and all losses of seglit keep them in all combinations."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

import faulty_losses
from seglit.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    HeadCriterion,
    LovaszLoss,
    OHEMPixelSampler,
    SegmentationCriterion,
    TverskyLoss,
)
from seglit.losses.loss import Loss
from seglit.testing import (
    LossUnderTest,
    SamplerUnderTest,
    hold,
    laws_of,
    named,
    of_criterion,
    of_module,
    of_sampler,
    random_batch,
    verdict,
)

TESTS = Path(__file__).parent
IGNORED = (255, 0, -100, 254)
SAMPLERS: dict[str, OHEMPixelSampler | None] = {
    "every pixel": None,
    "thresh": OHEMPixelSampler(0.5, 0),
    "thresh and count": OHEMPixelSampler(0.5, 3),
    "count": OHEMPixelSampler(None, 5),
}
MEANS: dict[str, Callable[..., Loss]] = {
    "ce": CrossEntropyLoss,
    "bce": lambda **options: CrossEntropyLoss(use_sigmoid=True, **options),
    "focal": FocalLoss,
    "focal softmax": lambda **options: FocalLoss(use_sigmoid=False, gamma=0.5, **options),
}
FORMULAS: dict[str, Callable[..., Loss]] = {
    "dice": DiceLoss,
    "dice sigmoid": lambda **options: DiceLoss(use_sigmoid=True, exponent=1, **options),
    "dice batch": lambda **options: DiceLoss(per_image=False, **options),
    "tversky": TverskyLoss,
    "tversky sigmoid": lambda **options: TverskyLoss(use_sigmoid=True, **options),
    "tversky batch": lambda **options: TverskyLoss(per_image=False, **options),
    "lovasz": LovaszLoss,
    "lovasz all": lambda **options: LovaszLoss(classes="all", **options),
    "lovasz image": lambda **options: LovaszLoss(per_image=True, **options),
}
BY_IMAGE = ["dice", "dice sigmoid", "tversky", "tversky sigmoid", "lovasz image"]
SEVERAL = [("ce", "dice"), ("bce", "focal", "tversky sigmoid"), ("ce", "dice batch", "lovasz image"), ("ce", "lovasz")]
ONE_CHANNEL = ["bce", "focal", "dice", "tversky batch", "lovasz", "lovasz image"]


def divisors(weighted: bool, sampled: bool) -> list[str]:
    return ["all", "valid", *["kept"] * sampled, *["class_weight"] * weighted]


def weights(weighted: bool, classes: int = 4) -> dict[str, list[float]]:
    return {"class_weight": [1.0, 2.0, 0.5, 3.0][:classes]} if weighted else {}


def heads() -> Iterator[tuple[str, HeadCriterion, int]]:
    """A name, the criterion of a head, and the channels of its logits."""
    for (by, sampler), weighted in product(SAMPLERS.items(), (False, True)):
        told = f"{by}, weighted" if weighted else by
        for (name, make), divisor in product(MEANS.items(), divisors(weighted, sampler is not None)):
            loss = make(divisor=divisor, **weights(weighted))
            yield f"{name} / {divisor}, {told}", HeadCriterion({"loss_x": loss}, sampler), 4
        for name, make in FORMULAS.items():
            yield f"{name}, {told}", HeadCriterion({"loss_x": make(**weights(weighted))}, sampler), 4
        for name in BY_IMAGE:
            loss = FORMULAS[name](avg_non_ignore=True, **weights(weighted))
            yield f"{name} / images with a pixel, {told}", HeadCriterion({"loss_x": loss}, sampler), 4
        for names in SEVERAL:
            losses = {f"loss_{name}": (MEANS | FORMULAS)[name](**weights(weighted)) for name in names}
            yield f"{' + '.join(names)}, {told}", HeadCriterion(losses, sampler), 4
        for name in ONE_CHANNEL:
            loss = (MEANS | FORMULAS)[name](**weights(weighted, 2))
            yield f"{name} of one channel, {told}", HeadCriterion({"loss_x": loss}, sampler), 1


def criteria() -> Iterator[tuple[str, SegmentationCriterion, int]]:
    """Those heads alone, and with an auxiliary head that has a loss and a sampler of its own."""
    for name, head, channels in heads():
        yield name, SegmentationCriterion(head), channels
    for name, head, channels in heads():
        (shared,) = {loss.class_weight for loss in head.named_losses().values()}
        if channels == 1:
            aux = HeadCriterion({"loss_dice": DiceLoss(class_weight=shared)}, OHEMPixelSampler(0.7, 2), weight=0.4)
        else:
            aux = HeadCriterion({"loss_ce": CrossEntropyLoss(class_weight=shared, divisor="valid")}, weight=0.4)
        yield f"{name}, and an auxiliary head", SegmentationCriterion(head, aux), channels


SLOW_LAWS = frozenset({"half_precision_of_many_pixels"})
COMBINATIONS = list(criteria())
STRIDE = 7
"""The default run tries one combination in so many, in which every loss occurs; the slow run tries all."""
every_combination = pytest.mark.parametrize("place", range(len(COMBINATIONS)), ids=[name for name, *_ in COMBINATIONS])
some_combinations = pytest.mark.parametrize(
    "place", range(0, len(COMBINATIONS), STRIDE), ids=[name for name, *_ in COMBINATIONS[::STRIDE]]
)


def losses_of(name: str) -> str:
    """The losses of a combination, without divisor and the rest."""
    return name.partition(", ")[0].partition(" / ")[0]


def broken(
    subject: LossUnderTest | SamplerUnderTest, examples: int, without: frozenset[str] = frozenset()
) -> dict[str, str]:
    found = {law: verdict(subject, law, examples) for law in laws_of(subject).keys() - without}
    return {law: found[law].words for law in found if found[law].state in {"breaks", "raises"}}


def test_the_combinations_are_all_there() -> None:
    """By sampler and weighing: 4 means by each divisor, 9 formulas, 5 over images, 4 sums, 6 of one channel.

    Divisors are 2 without sampler and weights, 3 with either, 4 with both: 8 + 12 + 3 * (12 + 16) means, 8 * 24 others.
    """
    assert len(COMBINATIONS) == 2 * (8 + 12 + 3 * (12 + 16) + 8 * 24) == 592
    assert len({name for name, *_ in COMBINATIONS}) == 592
    assert len(COMBINATIONS[::STRIDE]) == 85
    assert {losses_of(name) for name, *_ in COMBINATIONS[::STRIDE]} == {losses_of(name) for name, *_ in COMBINATIONS}


@some_combinations
def test_losses_keep_every_law(place: int) -> None:
    """With the ignored labels in turn. The law that takes half the time is left to the tests of single losses."""
    name, criterion, channels = COMBINATIONS[place]
    subject = of_criterion(criterion, name, channels=channels, ignored=(IGNORED[place // STRIDE % 4],))
    assert broken(subject, 1, SLOW_LAWS) == {}


@pytest.mark.slow
@every_combination
def test_every_combination_keeps_every_law(place: int) -> None:
    """With the ignored labels in turn, other ones than in the default run."""
    name, criterion, channels = COMBINATIONS[place]
    subject = of_criterion(criterion, name, channels=channels, ignored=(IGNORED[(place + 1) % 4],))
    assert broken(subject, 1, SLOW_LAWS) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MEANS, *FORMULAS])
def test_every_loss_keeps_every_law_on_many_batches(name: str) -> None:
    loss = (MEANS | FORMULAS)[name](class_weight=[1.0, 2.0, 0.5, 3.0])
    subject = of_criterion(HeadCriterion({"loss_x": loss}, SAMPLERS["thresh"]), ignored=IGNORED)
    assert broken(subject, 3, SLOW_LAWS) == {}
    assert verdict(subject, "half_precision_of_many_pixels", 1).state == "keeps"


@pytest.mark.parametrize("ignore_index", IGNORED)
def test_the_sampler_keeps_every_law(ignore_index: int) -> None:
    assert broken(of_sampler(OHEMPixelSampler(), ignored=(ignore_index,)), 8) == {}


def test_every_law_applies_to_some_loss() -> None:
    weighted = CrossEntropyLoss(class_weight=[1.0, 2.0, 0.5, 3.0])
    subject = of_criterion(HeadCriterion({"loss_x": weighted}, SAMPLERS["thresh"]))
    assert {law: verdict(subject, law, 1).state for law in laws_of(subject)} == dict.fromkeys(laws_of(subject), "keeps")
    assert len(laws_of(subject)) == 20


FAULTS = {
    "VoidCounted": ["void_value", "void_gradient", "void_removal"],
    "VoidTrained": ["void_gradient"],
    "DividedByAll": ["void_removal"],
    "NothingOverNothing": ["all_void"],
    "CutOff": ["all_void"],
    "OnePixelTooFew": ["one_valid_pixel", "batch_of_one"],
    "EasyOverNothing": ["all_easy"],
    "NeedsAllClasses": ["one_class", "absent_classes"],
    "FirstClassTwice": ["class_permutation"],
    "LeftTwice": ["flips"],
    "FirstImageTwice": ["image_permutation"],
    "LogOfSoftmax": ["saturation"],
    "HalfSum": ["half_precision_of_many_pixels"],
    "SquaredWeights": ["doubled_weights", "repeated_pixels"],
    "RootOfWeights": ["repeated_pixels"],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_breaks_the_law_that_names_it(fault: str) -> None:
    subject = faulty_losses.judged(getattr(faulty_losses, fault))
    assert {law: verdict(subject, law, 20).state for law in FAULTS[fault]} == dict.fromkeys(FAULTS[fault], "breaks")


@pytest.mark.parametrize(
    "fault", ["VoidTrained", "NothingOverNothing", "FirstClassTwice", "FirstImageTwice", "HalfSum"]
)
def test_a_fault_breaks_hardly_any_other_law(fault: str) -> None:
    """But for those of weights and classes, which look at gradients too."""
    found = broken(faulty_losses.judged(getattr(faulty_losses, fault)), 1)
    assert set(found) - {"repeated_pixels", "class_permutation"} <= set(FAULTS[fault])


def test_a_mean_of_means_does_not_add_up() -> None:
    assert set(broken(faulty_losses.judged(faulty_losses.Mean, adds_up=True), 4)) == {"sum_of_batches"}


def test_statistics_that_are_means_do_not_add_up() -> None:
    def statistics(logits: torch.Tensor, labels: torch.Tensor, _: int, cut: tuple[slice, ...]) -> dict:
        images, rows, columns = cut
        return {"sum": logits[images, :, rows, columns].mean()}

    subject = LossUnderTest("means", lambda logits, labels, _: logits.sum(), statistics=statistics)
    assert "added" in verdict(subject, "sum_of_tiles").words


@pytest.mark.parametrize(
    ("share", "words"), [("all", "without pixels that the sampler left out"), ("unheard", "the gradient of pixels")]
)
def test_a_sampler_that_is_not_heard(share: str, words: str) -> None:
    assert broken(faulty_losses.sampled("kept"), 3) == {}
    assert words in verdict(faulty_losses.sampled(share), "unkept_pixels").words


SAMPLER_FAULTS = {
    "drops_ties": {"enough_kept_under_ties"},
    "first_come": {"order_of_pixels"},
    "keeps_void": {"never_void"},
    "too_few": {"enough_kept", "enough_kept_under_ties"},
    "falls_with_thresh": {"monotone_in_thresh"},
}


@pytest.mark.parametrize("fault", SAMPLER_FAULTS)
def test_a_fault_of_a_sampler_breaks_the_law_that_names_it(fault: str) -> None:
    assert set(broken(SamplerUnderTest(fault, getattr(faulty_losses, fault)), 10)) == SAMPLER_FAULTS[fault]


def test_a_broken_law_tells_the_batch() -> None:
    words = verdict(faulty_losses.void_counted(), "void_value").words
    assert "with other logits under void pixels" in words
    drawn = words.rpartition("on random_batch(")[2].removesuffix(")")
    numbers = {name: float(number) for name, _, number in (each.partition("=") for each in drawn.split(", "))}
    assert set(numbers) == {"seed", "images", "height", "width", "void", "scale", "ignore_index"}


def test_a_loss_that_raises_breaks_the_law() -> None:
    loss = of_module(nn.CrossEntropyLoss(ignore_index=7), ignored=(9,))
    assert verdict(loss, "void_value", 1).state == "raises"
    assert verdict(loss, "void_value", 1).words.startswith("IndexError: ")


def test_void_is_uneven_and_never_everything() -> None:
    batch = random_batch(faulty_losses.good(), images=50, void=0.9)
    shares = batch.valid.double().mean((1, 2))
    assert shares.min() > 0
    assert shares.max() - shares.min() > 0.5


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("faulty_losses", "give package.module:name"),
        ("faulty_losses:nobody", "faulty_losses has no nobody"),
        ("faulty_losses:WEIGHTS", "is no class and no function"),
        ("builtins:dict", "makes a dict"),
    ],
)
def test_what_cannot_be_judged(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        named(path)


def test_what_can_be_judged() -> None:
    assert named("seglit.losses:OHEMPixelSampler").keeps is not None
    assert named("seglit.losses:DiceLoss").divisor == "formula"
    assert named("torch.nn:CrossEntropyLoss").ignored == (-100,)
    assert named("faulty_losses:good").name == "faulty_losses:good"
    hold(named("seglit.losses:LovaszLoss"), "void_value")


def run_pytest(folder: Path, *arguments: str) -> list[str]:
    """The lines of a run in a folder with one test of its own."""
    (folder / "test_own.py").write_text("def test_own() -> None: ...\n")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers --import-mode=importlib\n")
    command = [sys.executable, "-m", "pytest", "-p", "seglit_conformance", "-v", "-rfs", *arguments]
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return [line.partition(" [")[0].rstrip() for line in (done.stdout + done.stderr).splitlines()]


def test_pytest_runs_each_law_as_a_test(tmp_path: Path) -> None:
    names = ["good", "void_counted", "nothing_over_nothing", "good_sampler"]
    lines = run_pytest(tmp_path, *[f"--seglit-conformance=faulty_losses:{name}" for name in names])
    for law in laws_of(faulty_losses.good()):
        result = "SKIPPED" if law in {"sum_of_batches", "sum_of_tiles", "unkept_pixels"} else "PASSED"
        assert any(line.startswith(f"faulty_losses:good::{law} {result}") for line in lines)
    assert "faulty_losses:void_counted::void_gradient FAILED" in lines
    assert "faulty_losses:void_counted::flips PASSED" in lines
    assert "faulty_losses:nothing_over_nothing::all_void FAILED" in lines
    assert "the loss is nan" in lines
    assert "faulty_losses:good_sampler::enough_kept_under_ties PASSED" in lines
    assert not any("test_own" in line for line in lines)


def test_pytest_is_as_ever_without_the_option(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import sys\ndef pytest_sessionfinish(): assert not {'torch', 'seglit', 'hypothesis'} & set(sys.modules)\n"
    )
    lines = run_pytest(tmp_path)
    assert "test_own.py::test_own PASSED" in lines
    assert "1 passed" in lines[-1]


@pytest.mark.slow
def test_pytest_runs_the_tests_that_are_named_as_well(tmp_path: Path) -> None:
    lines = run_pytest(tmp_path, "--seglit-conformance=faulty_losses:good", "-k", "own or flips", "test_own.py")
    assert "test_own.py::test_own PASSED" in lines
    assert "faulty_losses:good::flips PASSED" in lines
    assert not any("::saturation" in line for line in lines)


def test_pytest_says_what_it_cannot_find(tmp_path: Path) -> None:
    lines = run_pytest(tmp_path, "--seglit-conformance=faulty_losses:nobody")
    assert "ERROR: --seglit-conformance: faulty_losses:nobody: faulty_losses has no nobody" in lines
