"""Pieces of work side by side: all done, errors told, settings as they were."""

from collections.abc import Iterator

import pytest
import torch

from seglit.tile_threads import TileThreads


@pytest.fixture
def coarse() -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    torch.set_float32_matmul_precision("medium")
    torch.set_num_threads(2)
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.set_num_threads(before[1])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_all_pieces_are_done_in_full_precision_and_settings_come_back(coarse: None, device: str) -> None:
    threads = TileThreads(torch.device(device))
    done: list[tuple[int, str, int]] = []
    with torch.inference_mode():
        threads(
            lambda piece: done.append((piece, torch.get_float32_matmul_precision(), torch.is_inference_mode_enabled())),
            range(50),
        )
    assert sorted(done) == [(piece, "highest", True) for piece in range(50)]
    assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_num_threads() == 2

    def fail(piece: int) -> None:
        raise KeyError(piece)

    with pytest.raises(KeyError):
        threads(fail, range(3))
    assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_num_threads() == 2
    threads.close()


def test_each_operation_has_one_thread(coarse: None) -> None:
    seen: list[int] = []
    threads = TileThreads(torch.device("cpu"))
    threads(lambda _: seen.append(torch.get_num_threads()), range(20))
    threads.close()
    assert set(seen) == {1}
