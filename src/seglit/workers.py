"""Work on the CPU that is cut into pieces: each core has pieces of its own, instead of a share of every operation."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from threading import RLock
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
_LOCK = RLock()
"""The number of threads belongs to the process."""


class Workers:
    """As many threads as torch had, for pieces of work; made by `workers`.

    Args:
        device: where the tensors are.
        threads: at work at once; only on the CPU more than one.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self.threads = threads if device.type == "cpu" else 1

    def __call__(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The results of the work on each item, in the order of the items, without gradient."""
        inference = torch.is_inference_mode_enabled()

        def alone(item: Item) -> Result:
            # Threads do not inherit these.
            with torch.inference_mode(inference), torch.no_grad():
                return work(item)

        return map(alone, items) if self.threads == 1 else _pool(self.threads).map(alone, items)


@contextmanager
def workers(device: torch.device) -> Iterator[Workers]:
    """What works on many pieces side by side on the CPU, each in one thread; elsewhere on one after the other.

    Within, no operation on the CPU waits until all threads have done their share, which short ones would do most of the
    time where cores are busy with other work; and results are the same to the last bit for any number of threads.
    """
    with _LOCK:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield Workers(device, threads)
        finally:
            torch.set_num_threads(threads)


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    # What a thread asks first for the number of threads makes the one of that moment its own.
    return ThreadPoolExecutor(threads, "seglit", initializer=torch.get_num_threads)
