"""What makes a command start sooner."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage collection: for imports.

    To import torch and Lightning makes hundreds of thousands of objects, all of which stay. Python looks through them
    for garbage again and again, which takes a fifth of the time. If torch was imported, nor does it later on.
    """
    is_first = "torch" not in sys.modules
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Not where a process runs one job after the other: what the last one left would stay for good.
        if is_first and "torch" in sys.modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
