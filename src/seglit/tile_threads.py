"""Many small pieces of work on a CPU, each in one thread."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
_LOCK = threading.Lock()


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Let each operation of torch run in one thread; gives the number of threads that there were.

    An operation on some hundred kilobytes gains little from several threads, and where other processes keep the cores
    busy, loses milliseconds in waiting for the last of them.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield count
    finally:
        torch.set_num_threads(count)


@contextmanager
def full_precision() -> Iterator[None]:
    """Let products of float32 matrices be float32, where they may be coarser to be quick."""
    allowed = torch.get_float32_matmul_precision()
    if allowed == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)


class TileThreads:
    """Does pieces of work side by side, in as many threads as torch has; on other devices than a CPU one by one.

    Args:
        device: where the tensors are.
    """

    def __init__(self, device: torch.device) -> None:
        self.side_by_side = device.type == "cpu"
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, work: Callable[[Piece], object], pieces: Iterable[Piece]) -> None:
        """Do all pieces."""
        # Both settings are those of the process.
        with _LOCK, full_precision():
            if self.side_by_side:
                self._share(work, pieces)
            else:
                for piece in pieces:
                    work(piece)

    def _share(self, work: Callable[[Piece], object], pieces: Iterable[Piece]) -> None:
        inference = torch.is_inference_mode_enabled()  # the caller's thread's alone

        def one(piece: Piece) -> None:
            with torch.inference_mode(inference):
                work(piece)

        with one_thread_each() as count:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(count)
            for _ in self._pool.map(one, pieces):
                pass

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
