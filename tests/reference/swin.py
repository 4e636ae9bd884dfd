"""Attention in shifted windows, pixel by pixel, from the paper (Liu et al., ICCV 2021)."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def attended(x: Array, qkv: Array, out: Array, table: Array, *, size: int, shift: int, num_heads: int) -> Array:
    """A map of `height, width, channels`, padded with zeros to whole windows; no layer has a bias.

    A window whose pixels come from opposite sides of the map, brought together by the shift, is as many windows.
    """
    height, width, channels = x.shape
    rows, columns = -(-height // size) * size, -(-width // size) * size
    padded = np.zeros((rows, columns, channels))
    padded[:height, :width] = x
    query, key, value = np.split(padded @ qkv.T, 3, axis=-1)
    result = np.zeros_like(x)

    def window(at: int, side: int) -> tuple[int, bool]:
        """Which window a coordinate is in after the shift, and whether it came round."""
        return (at - shift) % side // size, at < shift

    def within(at: int, side: int) -> int:
        return (at - shift) % side % size

    for i in range(height):
        for j in range(width):
            seen = [
                (k, m)
                for k in range(rows)
                for m in range(columns)
                if window(k, rows) == window(i, rows) and window(m, columns) == window(j, columns)
            ]
            gathered = []
            for head in range(num_heads):
                own = slice(head * channels // num_heads, (head + 1) * channels // num_heads)
                scores = []
                for k, m in seen:
                    down = within(i, rows) - within(k, rows) + size - 1
                    right = within(j, columns) - within(m, columns) + size - 1
                    product = query[i, j, own] @ key[k, m, own] / np.sqrt(channels // num_heads)
                    scores.append(product + table[down * (2 * size - 1) + right, head])
                weights = np.exp(np.array(scores) - max(scores))
                weights /= weights.sum()
                gathered.append(sum(w * value[k, m, own] for w, (k, m) in zip(weights, seen, strict=True)))
            result[i, j] = out @ np.concatenate(gathered)
    return result
