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


def in_order(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> Iterator[Result]:
    """The results of the work on each item, in the order of the items, without gradient; to be taken to the end.

    On the CPU, as many items are worked on at once as torch has threads, each by one thread. So no operation waits
    until all threads have done their share, which short ones would do most of the time where cores are busy with
    other work; and the results are the same to the last bit for any number of threads. Elsewhere one item is worked on
    after the other.
    """
    if device.type != "cpu":
        yield from map(work, items)
        return
    inference = torch.is_inference_mode_enabled()

    def alone(item: Item) -> Result:
        # Threads do not inherit these.
        with torch.inference_mode(inference), torch.no_grad():
            return work(item)

    with _LOCK, one_thread_each() as threads:
        yield from map(work, items) if threads == 1 else _pool(threads).map(alone, items)


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Within, each operation of torch runs in one thread; gives the number of threads that there were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    # What a thread asks first for the number of threads makes the one of that moment its own.
    return ThreadPoolExecutor(threads, "seglit", initializer=torch.get_num_threads)
