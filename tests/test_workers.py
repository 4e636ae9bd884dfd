"""Pieces of work side by side: all done, in order, errors told, settings as they were."""

import threading
from collections.abc import Iterator

import pytest
import torch

from seglit.precision import full_precision
from seglit.workers import workers


@pytest.fixture(params=[1, 2, 3])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    assert torch.get_num_threads() == request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("inference", [False, True])
def test_all_pieces_are_done_in_order_with_one_thread_each(inference: bool) -> None:
    threads = torch.get_num_threads()
    with torch.inference_mode(inference), torch.no_grad(), workers(torch.device("cpu")) as in_order:
        assert torch.get_num_threads() == 1
        found = list(
            in_order(
                lambda piece: (piece, torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.ones(1)),
                range(50),
            )
        )
    assert [result[:3] for result in found] == [(piece, 1, inference) for piece in range(50)]
    assert {result[3].is_inference() for result in found} == {inference}
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [threads]


@pytest.mark.usefixtures("_threads")
def test_an_error_is_told() -> None:
    def fail(piece: int) -> None:
        raise KeyError(piece)

    with workers(torch.device("cpu")) as in_order, pytest.raises(KeyError):
        list(in_order(fail, range(3)))


def test_other_devices_work_one_by_one() -> None:
    here = threading.get_ident()
    with workers(torch.device("meta")) as in_order:
        assert set(in_order(lambda _: threading.get_ident(), range(5))) == {here}


def test_products_are_exact_within_and_as_before_after() -> None:
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            with full_precision(torch.device("cpu")):
                assert matmul.fp32_precision == "ieee"
                assert not torch.is_autocast_enabled("cpu")
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
