"""What a worker does first."""

import ctypes
import subprocess
import sys

import pytest

from seglit.data import workers

PROGRAM = """
import resource, sys
import numpy as np
from seglit.data.workers import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def buffers():
    for _ in range(20):
        image, labels = np.ones(6 << 20, np.uint8), np.ones(2 << 20, np.uint8)
buffers()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
buffers()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="is for glibc"
)
def test_freed_memory_is_kept():
    """Of 2048 pages a round, as good as none comes from the kernel once they are there."""

    def faults(mode):
        done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") < 100
    assert faults("keep") <= faults("leave")


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(workers.ctypes, "CDLL", lambda _: object())
    workers.keep_freed_memory()
