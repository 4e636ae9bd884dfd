"""Learning rates over a run."""

import io
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reference.optim import mmcv_poly, mmengine_poly
from seglit.optim import ConstantLR, CosineLR, MultiStepLR, PolyLR, Schedule

BASES = (0.5, 5.0, 0.05)


def new_optimizer(bases: tuple[float, ...] = BASES) -> torch.optim.SGD:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": base, "name": f"x{base}"} for base in bases]
    return torch.optim.SGD(groups, lr=bases[0])


def run(schedule: Schedule, steps: int) -> list[list[float]]:
    """The rates that the next optimizer steps use."""
    rates = []
    for _ in range(steps):
        rates.append([float(group["lr"]) for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    return rates


def first_group(schedule: type[Schedule], total_steps: int, **options: Any) -> list[float]:
    rates = run(schedule(new_optimizer((1.0,)), total_steps, **options), total_steps)
    return [rate for (rate,) in rates]


WARMUP = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"warmup_steps": st.integers(1, 10)},
        optional={
            "warmup_ratio": st.floats(1e-6, 0.99),
            "warmup": st.sampled_from(["linear", "constant", "exp"]),
        },
    ),
)
FLOOR = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"min_lr_ratio": st.floats(0.001, 0.9)}, optional={"hold_steps": st.integers(0, 5)}),
)
START = st.sampled_from([None, "warmup_end", "start"])


@st.composite
def makers(draw: st.DrawFn) -> Callable[[], Schedule]:
    """Any schedule of our own definition, of at least 16 steps, one of which at least is left to decay in."""
    total = draw(st.integers(16, 40))
    options = dict(draw(WARMUP))
    kind = draw(st.sampled_from([PolyLR, CosineLR, MultiStepLR, ConstantLR]))
    if kind is MultiStepLR:
        options["milestones"] = sorted(draw(st.sets(st.integers(1, total - 1), min_size=1, max_size=3)))
    if kind in (PolyLR, CosineLR):
        if options:
            options["decay_from"] = draw(START)
        options |= draw(FLOOR)
    if kind is PolyLR:
        options["power"] = draw(st.floats(0.2, 3.0))
    return lambda: kind(new_optimizer(), total, **options)


@given(make=makers())
def test_groups_keep_their_ratios_and_rates_their_bounds(make: Callable[[], Schedule]) -> None:
    schedule = make()
    for first, ten, tenth in run(schedule, schedule.total_steps + 3)[: schedule.total_steps]:
        assert 0 < first <= 0.5
        assert ten == pytest.approx(10 * first, rel=1e-14)
        assert tenth == pytest.approx(0.1 * first, rel=1e-14)


@given(make=makers())
def test_rates_rise_in_the_warmup_and_fall_after_it(make: Callable[[], Schedule]) -> None:
    schedule = make()
    rates = [schedule.rate(step, 1.0) for step in range(schedule.total_steps + 1)]
    after = rates[schedule.warmup_steps :]
    assert all(now >= later for now, later in pairwise(after))
    factors = [schedule.warmup_factor(step) for step in range(schedule.total_steps)]
    assert factors == sorted(factors)
    assert all(factor < 1 for factor in factors[: schedule.warmup_steps])
    assert set(factors[schedule.warmup_steps :]) == {1.0}
    if schedule.warmup_steps:
        expected = 0.1 if schedule.warmup_ratio is None else schedule.warmup_ratio
        assert factors[0] == pytest.approx(expected)
        assert rates[0] == pytest.approx(expected)


@given(make=makers())
def test_stepping_gives_the_closed_form(make: Callable[[], Schedule]) -> None:
    schedule = make()
    expected = [[schedule.rate(step, base) for base in BASES] for step in range(schedule.total_steps)]
    assert run(schedule, schedule.total_steps) == expected


@pytest.mark.parametrize("schedule", [PolyLR, CosineLR])
def test_the_floor_is_reached_after_the_last_step_and_held(schedule: type[Schedule]) -> None:
    falling = schedule(new_optimizer(), 10, min_lr_ratio=0.25)
    assert falling.rate(9, 1.0) > 0.25
    assert falling.rate(10, 1.0) == falling.rate(99, 1.0) == 0.25
    held = schedule(new_optimizer(), 10, min_lr_ratio=0.25, hold_steps=4)
    assert held.rate(5, 1.0) > 0.25
    assert [held.rate(step, 1.0) for step in range(6, 12)] == [0.25] * 6


def test_poly_by_hand() -> None:
    """Warm-up 0.5, 0.75; then 1/5 + 4/5 (1 - k/4)^2 for k = 0..3: 1, 0.65, 0.4, 0.25."""
    rates = first_group(PolyLR, 6, power=2.0, min_lr_ratio=0.2, warmup_steps=2, warmup_ratio=0.5)
    assert rates == pytest.approx([0.5, 0.75, 1.0, 0.65, 0.4, 0.25])


def test_overlap_by_hand() -> None:
    """The warm-up 1/2, 3/4, 1, 1 times the line 1, 3/4, 1/2, 1/4."""
    options = {"power": 1.0, "warmup_steps": 2, "warmup_ratio": 0.5, "decay_from": "start"}
    assert first_group(PolyLR, 4, **options) == pytest.approx([0.5, 9 / 16, 0.5, 0.25])


def test_cosine_by_hand() -> None:
    """(1 + cos(pi k / 4)) / 2 for k = 0..3."""
    assert first_group(CosineLR, 4) == pytest.approx([1.0, 0.8535533905932737, 0.5, 0.1464466094067262])


def test_milestones_are_steps_or_fractions() -> None:
    """The lesser rate is that of the milestone's own step."""
    expected = [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert first_group(MultiStepLR, 10, milestones=[5, 8], gamma=0.5) == expected
    assert first_group(MultiStepLR, 10, milestones=[0.5, 0.8], gamma=0.5) == expected


def test_milestones_of_mmseg_1_2_count_from_the_end_of_the_warmup() -> None:
    options = {"milestones": [5], "warmup_steps": 2, "warmup_ratio": 0.5}
    assert first_group(MultiStepLR, 9, **options) == pytest.approx([0.5, 0.75, 1, 1, 1, 0.1, 0.1, 0.1, 0.1])
    rates = first_group(MultiStepLR, 9, **options, compat="mmseg-1.2")
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 0.1, 0.1])


def test_kinds_of_warmup() -> None:
    """From 1/16 in two steps: by equal differences, by equal ratios, and not before the end."""
    options = {"warmup_steps": 2, "warmup_ratio": 1 / 16}
    assert first_group(ConstantLR, 4, **options) == [1 / 16, 17 / 32, 1.0, 1.0]
    assert first_group(ConstantLR, 4, **options, warmup="linear") == [1 / 16, 17 / 32, 1.0, 1.0]
    assert first_group(ConstantLR, 4, **options, warmup="exp") == [1 / 16, 1 / 4, 1.0, 1.0]
    assert first_group(ConstantLR, 4, **options, warmup="constant") == [1 / 16, 1 / 16, 1.0, 1.0]


@given(
    total=st.integers(16, 60),
    power=st.floats(0.3, 3.0),
    ratio=st.floats(0.0, 0.9),
    warmup=st.sampled_from([0, 2, 3, 7]),
    warmup_ratio=st.floats(1e-3, 0.99),
    overlap=st.booleans(),
    hold=st.integers(0, 6),
)
def test_mmseg_1_2_is_its_chain_of_schedulers(
    total: int, power: float, ratio: float, warmup: int, warmup_ratio: float, overlap: bool, hold: int
) -> None:
    """`ratio` is of the first group's base rate, so the floor is the same for all."""
    options: dict[str, Any] = {"warmup_steps": warmup}
    if warmup:
        options |= {"warmup_ratio": warmup_ratio, "decay_from": "start" if overlap else "warmup_end"}
    if ratio > 0:
        options["hold_steps"] = hold
    begin = 0 if overlap else warmup
    end = total - options.get("hold_steps", 0)
    schedule = PolyLR(new_optimizer(), total, power, ratio, **options, compat="mmseg-1.2")
    for base, found in zip(BASES, zip(*run(schedule, total), strict=True), strict=True):
        expected = mmengine_poly(base, total, power, ratio * 0.5, warmup, warmup_ratio, begin, end)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(
    total=st.integers(8, 60),
    power=st.floats(0.3, 3.0),
    ratio=st.floats(0.0, 0.9),
    warmup=st.integers(0, 7),
    warmup_ratio=st.floats(1e-3, 0.99),
    kind=st.sampled_from(["linear", "constant", "exp"]),
)
def test_mmseg_0_25_is_its_hook(
    total: int, power: float, ratio: float, warmup: int, warmup_ratio: float, kind: str
) -> None:
    options: dict[str, Any] = {"warmup_steps": warmup}
    if warmup:
        options |= {"warmup_ratio": warmup_ratio, "warmup": kind}
    schedule = PolyLR(new_optimizer(), total, power, ratio, **options, compat="mmseg-0.25")
    for base, found in zip(BASES, zip(*run(schedule, total), strict=True), strict=True):
        expected = mmcv_poly(base, total, power, ratio * 0.5, warmup, warmup_ratio, kind)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("compat", ["mmseg-0.25", "mmseg-1.2"])
def test_a_relative_floor_keeps_ratios_with_compat_too(compat: str) -> None:
    for floor, equal in {"relative": True, "absolute": False}.items():
        schedule = PolyLR(new_optimizer(), 10, min_lr_ratio=0.5, floor=floor, compat=compat)
        first, ten, _ = run(schedule, 10)[8]
        assert (ten == pytest.approx(10 * first)) is equal


BASIS = {"total_steps": 20, "min_lr_ratio": 0.1, "warmup_steps": 5}


@pytest.mark.parametrize(
    ("schedule", "basis", "change"),
    [
        (PolyLR, BASIS, {"total_steps": 21}),
        (PolyLR, BASIS, {"power": 2.0}),
        (PolyLR, BASIS, {"min_lr_ratio": 0.0}),
        (PolyLR, BASIS, {"warmup_steps": 6}),
        (PolyLR, BASIS, {"warmup_ratio": 0.5}),
        (PolyLR, BASIS, {"warmup": "exp"}),
        (PolyLR, BASIS, {"decay_from": "start"}),
        (PolyLR, BASIS, {"hold_steps": 3}),
        (PolyLR, BASIS, {"compat": "mmseg-0.25"}),
        (PolyLR, BASIS, {"compat": "mmseg-1.2"}),
        (PolyLR, {**BASIS, "compat": "mmseg-1.2"}, {"floor": "relative"}),
        (PolyLR, {**BASIS, "compat": "mmseg-1.2"}, {"decay_from": "start"}),
        (CosineLR, BASIS, {"min_lr_ratio": 0.0}),
        (CosineLR, BASIS, {"warmup_steps": 6}),
        (CosineLR, BASIS, {"warmup_ratio": 0.5}),
        (CosineLR, BASIS, {"warmup": "constant"}),
        (CosineLR, BASIS, {"decay_from": "start"}),
        (CosineLR, BASIS, {"hold_steps": 3}),
        (CosineLR, BASIS, {"compat": "mmseg-1.2"}),
        (CosineLR, {**BASIS, "compat": "mmseg-0.25"}, {"floor": "relative"}),
        (MultiStepLR, {"total_steps": 20, "milestones": [8]}, {"milestones": [9]}),
        (MultiStepLR, {"total_steps": 20, "milestones": [8]}, {"gamma": 0.5}),
        (MultiStepLR, {"total_steps": 20, "milestones": [8], "warmup_steps": 4}, {"compat": "mmseg-1.2"}),
        (ConstantLR, {"total_steps": 20}, {"warmup_steps": 4}),
        (ConstantLR, {"total_steps": 20, "warmup_steps": 4}, {"compat": "mmseg-1.2"}),
    ],
)
def test_every_option_has_an_effect(schedule: type[Schedule], basis: dict[str, Any], change: dict[str, Any]) -> None:
    assert run(schedule(new_optimizer(), **basis), 20) != run(schedule(new_optimizer(), **{**basis, **change}), 20)


@pytest.mark.parametrize(
    ("schedule", "options", "message"),
    [
        (ConstantLR, {"total_steps": -1}, "total_steps must be at least 1, got -1"),
        (ConstantLR, {"compat": "mmseg"}, "compat must be one of None, mmseg-0.25, mmseg-1.2, got 'mmseg'"),
        (ConstantLR, {"warmup_steps": 10}, "warmup_steps=10 and hold_steps=0 must be 0 or more"),
        (ConstantLR, {"warmup_steps": -1}, "warmup_steps=-1 and hold_steps=0 must be 0 or more"),
        (PolyLR, {"warmup_steps": 9, "compat": "mmseg-1.2"}, "at least 2 of total_steps=10 between them"),
        (PolyLR, {"warmup_steps": 5, "hold_steps": 5, "min_lr_ratio": 0.1}, "at least 1 of total_steps=10"),
        (PolyLR, {"hold_steps": -1, "min_lr_ratio": 0.1}, "hold_steps=-1 must be 0 or more"),
        (PolyLR, {"hold_steps": 2}, "hold_steps=2 would train at rate zero"),
        (ConstantLR, {"warmup_ratio": 0.1}, "warmup_ratio=0.1 has no effect with warmup_steps=0"),
        (ConstantLR, {"warmup": "linear"}, "warmup=linear has no effect with warmup_steps=0"),
        (ConstantLR, {"warmup_steps": 2, "warmup_ratio": 0.0}, "warmup_ratio must be between 0 and 1"),
        (ConstantLR, {"warmup_steps": 2, "warmup_ratio": 1.0}, "warmup_ratio must be between 0 and 1"),
        (ConstantLR, {"warmup_steps": 2, "warmup": "cosine"}, "warmup must be linear, constant or exp"),
        (ConstantLR, {"warmup_steps": 2, "warmup": "exp", "compat": "mmseg-1.2"}, "only linear"),
        (ConstantLR, {"warmup_steps": 1, "compat": "mmseg-1.2"}, "would never leave warmup_ratio"),
        (PolyLR, {"min_lr_ratio": 1.0}, "min_lr_ratio must be at least 0 and less than 1"),
        (PolyLR, {"min_lr_ratio": -0.1}, "min_lr_ratio must be at least 0 and less than 1"),
        (PolyLR, {"power": 0.0}, "power must be more than 0"),
        (PolyLR, {"decay_from": "end"}, "decay_from must be warmup_end or start"),
        (PolyLR, {"decay_from": "start"}, "decay_from='start' has no effect with warmup_steps=0"),
        (
            PolyLR,
            {"decay_from": "start", "warmup_steps": 2, "compat": "mmseg-0.25"},
            "decay_from='start' has no",
        ),
        (
            PolyLR,
            {"floor": "low", "min_lr_ratio": 0.1, "compat": "mmseg-1.2"},
            "floor must be absolute or relative",
        ),
        (PolyLR, {"floor": "absolute", "min_lr_ratio": 0.1}, "floor='absolute' has no effect"),
        (
            PolyLR,
            {"floor": "relative", "compat": "mmseg-1.2"},
            "floor='relative' has no effect with min_lr_ratio=0.0",
        ),
        (MultiStepLR, {"milestones": []}, "milestones must be increasing steps of the run"),
        (MultiStepLR, {"milestones": [5, 5]}, "got [5, 5], which makes [5, 5] of total_steps=10"),
        (MultiStepLR, {"milestones": [10]}, "milestones must be increasing"),
        (MultiStepLR, {"milestones": [0, 5]}, "milestones must be increasing"),
        (MultiStepLR, {"milestones": [5.5]}, "milestones must be increasing"),
        (
            MultiStepLR,
            {"milestones": [8], "warmup_steps": 2, "compat": "mmseg-1.2"},
            "which makes [10] of total",
        ),
        (MultiStepLR, {"milestones": [5], "gamma": 1.0}, "gamma must be between 0 and 1"),
    ],
)
def test_refused_options(schedule: type[Schedule], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        schedule(new_optimizer(), **{"total_steps": 10, **options})


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@given(make=makers(), stop=st.integers(0, 15))
def test_a_resumed_run_has_the_same_rates(make: Callable[[], Schedule], stop: int) -> None:
    schedule, again = make(), make()
    run(schedule, stop)
    again.optimizer.load_state_dict(through_a_file(schedule.optimizer.state_dict()))
    again.load_state_dict(through_a_file(schedule.state_dict()))
    assert again.get_last_lr() == schedule.get_last_lr()
    rest = schedule.total_steps - stop
    assert run(again, rest) == run(schedule, rest)
    assert again.state_dict() == schedule.state_dict()


def test_a_checkpoint_of_another_schedule_is_refused() -> None:
    state = PolyLR(new_optimizer(), 10).state_dict()
    with pytest.raises(ValueError, match=r"total_steps was 10 and is now 20\. Resume with"):
        PolyLR(new_optimizer(), 20).load_state_dict(state)
    with pytest.raises(ValueError, match=r"group x1\.0 was 5\.0 and is now 1\.0"):
        PolyLR(new_optimizer((0.5, 1.0, 0.05)), 10).load_state_dict(state)
    with pytest.raises(ValueError, match=r"schedule was PolyLR and is now CosineLR; power was 0\.9 and is now None"):
        CosineLR(new_optimizer(), 10).load_state_dict(state)


def test_learning_rates_that_are_tensors() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.5))
    schedule = PolyLR(optimizer, 4, power=1.0, min_lr_ratio=0.5, compat="mmseg-0.25")
    assert [rate for (rate,) in run(schedule, 4)] == pytest.approx([0.5, 0.4375, 0.375, 0.3125])
    assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor)
    assert through_a_file(schedule.state_dict())["base_lrs"] == [0.5]
