"""Labels as runs of equal pixels, compressed."""

import struct
import zlib

import numpy as np
from jaxtyping import Integer

HEADER = struct.Struct("<III")
LENGTH = np.dtype("<u4")


def packed_labels(labels: Integer[np.ndarray, "height width"]) -> bytes:
    """The labels as bytes, from which `unpacked_labels` makes the same again.

    Runs along the rows, across their ends, and zlib over them: a third smaller than zlib alone on a mask of streets,
    and quicker to read, as zlib then has a hundredth of the bytes to give.
    """
    flat = labels.ravel()
    starts = np.concatenate([np.zeros(min(1, flat.size), np.int64), np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size).astype(LENGTH)
    values = flat[starts].astype(flat.dtype.newbyteorder("<"))
    return zlib.compress(HEADER.pack(*labels.shape, starts.size) + values.tobytes() + lengths.tobytes())


def unpacked_labels(content: bytes, dtype: np.dtype) -> Integer[np.ndarray, "height width"]:
    """The labels that `packed_labels` was given.

    Args:
        content: What it made of them.
        dtype: Their type.

    Raises:
        ValueError: If the bytes are not whole.
    """
    try:
        plain = zlib.decompress(content)
        height, width, runs = HEADER.unpack_from(plain)
        values = np.frombuffer(plain, dtype.newbyteorder("<"), runs, HEADER.size)
        lengths = np.frombuffer(plain, LENGTH, runs, HEADER.size + values.nbytes)
        return np.repeat(values, lengths).astype(dtype, copy=False).reshape(height, width)
    except (zlib.error, struct.error) as error:
        raise ValueError(f"not labels that were packed ({error})") from error
