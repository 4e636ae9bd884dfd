"""A kernel is taken once it has shown on the device that it is right."""

import logging
from collections.abc import Callable, Iterator

import pytest
import torch

from seglit.losses import native, proof
from seglit.losses.kernel import Choice, Job, Slopes, Sums

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(native.native() is None, reason="no compiler here")


@pytest.fixture(autouse=True)
def _nobody_asked_yet() -> Iterator[None]:
    proof.kernel_for.cache_clear()
    yield
    proof.kernel_for.cache_clear()


def test_the_kernel_of_this_machine_is_right(caplog: pytest.LogCaptureFixture) -> None:
    kernel = native.native()
    assert kernel is not None
    assert proof.error_of(kernel, CPU) < 1e-6
    with torch.inference_mode():
        assert proof.kernel_for(CPU) is not None
    assert not caplog.records


def of_second_visits(sums: Sums, slopes: Slopes | None, choice: Choice | None) -> None:
    if slopes is not None and choice is not None and choice.known:
        slopes.total[0, 0, 0, 0] += 1


def of_the_first_pixel(sums: Sums, slopes: Slopes | None, choice: Choice | None) -> None:
    if slopes is not None:
        slopes.total[0, 0, 0, 0] *= 1.1


def no_number(sums: Sums, slopes: Slopes | None, choice: Choice | None) -> None:
    sums.overlaps.fill_(torch.nan)


def that_fails(sums: Sums, slopes: Slopes | None, choice: Choice | None) -> None:
    raise RuntimeError("no such instruction")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (of_second_visits, "the kernel for cpu is wrong by"),
        (of_the_first_pixel, "the kernel for cpu is wrong by"),
        (no_number, "the kernel for cpu is wrong by inf"),
        (that_fails, "the kernel for cpu fails, so that they take longer: no such instruction"),
    ],
)
def test_one_that_is_wrong_is_not_taken(
    fault: Callable[[Sums, Slopes | None, Choice | None], None],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    right = native.native()
    assert right is not None

    def wrong(job: Job, choice: Choice | None, slopes: Slopes | None) -> Sums:
        sums = right(job, choice, slopes)
        fault(sums, slopes, choice)
        return sums

    monkeypatch.setattr(proof, "native", lambda: wrong)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert proof.kernel_for(CPU) is None
    (record,) = caplog.records
    assert record.message.startswith(f"losses: {said}")
