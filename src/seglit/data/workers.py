"""What a process that loads samples does before its first one."""

import ctypes
import sys

import cv2

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 256 << 20
LARGEST = 32 << 20
"""The most that the C library takes from its own memory and not from the kernel; it refuses more."""


def prepare_worker(worker: int) -> None:
    """One thread, as workers are the parallelism and threads inside them would only compete; memory kept at hand."""
    cv2.setNumThreads(0)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let this process keep up to 256 MB that it has freed.

    Else the buffers of each decoded image go back to the kernel, and are got from it page by page for the next, which
    takes an eighth of the time of decoding a PNG of 2048 x 1024. Does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_TRIM_THRESHOLD, KEPT)
    mallopt(M_MMAP_THRESHOLD, LARGEST)
