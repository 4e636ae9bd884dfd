"""Random numbers that belong to a place in the run, not to a process."""

import zlib

import numpy as np
from jaxtyping import Int64


def derived_seed(seed: int, purpose: str, position: int) -> int:
    """A seed that depends on nothing but its arguments, the same on every machine; in [0, 2**64).

    Seeds of other positions or purposes are unrelated to it, however near the arguments are.

    Args:
        seed: The seed of the run, not negative.
        purpose: What the numbers are for, so that two uses at one position do not draw alike.
        position: For instance a sample's place in the run, not negative.

    Raises:
        ValueError: If `seed` or `position` is negative.
    """
    return int(_sequence(seed, purpose, position).generate_state(1, np.uint64)[0])


def epoch_order(seed: int, epoch: int, length: int) -> Int64[np.ndarray, " length"]:
    """The order of the data set in one epoch: a permutation of `0 .. length - 1`.

    Sorts raw words of the bit generator, because NumPy promises those from version to version, but not
    `Generator.permutation`.

    Raises:
        ValueError: If `seed` or `epoch` is negative.
    """
    words = np.random.PCG64(_sequence(seed, "order", epoch)).random_raw(length)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def _sequence(seed: int, purpose: str, position: int) -> np.random.SeedSequence:
    for name, value in (("seed", seed), ("position", position)):
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), position])
