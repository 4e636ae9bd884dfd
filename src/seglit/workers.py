"""Work on the CPU that is cut into pieces: each core has pieces of its own, instead of a share of every operation."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> Iterator[Result]:
    """The results of the work on each item, in the order of the items, without gradient.

    On the CPU, as many items are worked on at once as torch has threads, each by one thread. So no operation waits
    until all threads have done their share, which short ones would do most of the time where cores are busy with
    other work; and the results are the same to the last bit for any number of threads. Elsewhere one item is worked on
    after the other.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        yield from map(work, items)
        return

    def alone(item: Item) -> Result:
        # Threads do not inherit this.
        with torch.no_grad():
            return work(item)

    yield from _pool(threads).map(alone, items)


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    all_started = Barrier(threads + 1)

    def start() -> None:
        # To ask for the number first makes it the thread's own.
        torch.get_num_threads()
        torch.set_num_threads(1)
        all_started.wait()

    pool = ThreadPoolExecutor(threads, "seglit", initializer=start)
    for _ in range(threads):
        pool.submit(int)
    all_started.wait()
    # The number set last is also that of all threads to come: put it back.
    torch.set_num_threads(threads)
    return pool
