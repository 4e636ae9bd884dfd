"""Numbers of a device that the host reads without waiting for it."""

import torch
from torch import Tensor


class Reading:
    """Numbers on their way to the host.

    They are read a step later, when the device has long been through with them and is at work on the next step, so
    that it never stands idle for them.

    Args:
        numbers: one-dimensional, on any device.
        at_once: copied while the host waits, as what comes next depends on them.
    """

    def __init__(self, numbers: Tensor, *, at_once: bool) -> None:
        self._done: torch.cuda.Event | None = None
        if at_once or numbers.device.type != "cuda":
            # On the CPU there is nothing to wait for; in the tests, a device is played by it.
            self._numbers = numbers if at_once else torch.empty(numbers.shape, dtype=numbers.dtype).copy_(numbers)
            return
        self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
        self._numbers.copy_(numbers, non_blocking=True)
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._done.record(torch.cuda.current_stream(numbers.device))

    def values(self) -> list[float]:
        """The numbers; waits until they have been computed."""
        if self._done is not None:
            self._done.synchronize()
        found: list[float] = self._numbers.tolist()
        return found
