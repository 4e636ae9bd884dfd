"""How the samples of one side of a label map come from the logits of windows: a small matrix for each stretch of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from seglit.upsampling import Axis


class Part(NamedTuple):
    """What one window gives to a stretch of a side.

    Attributes:
        window: its number along the side.
        first: the first of its samples that have a say.
        end: one past the last.
        matrix: what makes the stretch out of them; empty where that is nothing, see `Side.is_plain`.
    """

    window: int
    first: int
    end: int
    matrix: Float[Tensor, "stretch _"]


@dataclass(frozen=True)
class Side:
    """One side, rows or columns, of a view that is read window by window.

    Resizing and averaging windows are linear and separable, so that along one side all of it is a matrix: each
    window's logits are resized to the window, averaged where windows overlap, and resized to the label map.

    Attributes:
        length: pixels of the view.
        window: pixels of a window.
        stride: its step.
        samples: of a window's logits.
        length_out: pixels of the label map.
        align_corners: see `Axis`.
        covered: whether the one window is all of the view, on both sides; its logits then go straight to the label
            map, and are not resized twice.
        mirrored: whether the view is mirrored along this side, which the label map is not.
    """

    length: int
    window: int
    stride: int
    samples: int
    length_out: int
    align_corners: bool
    covered: bool
    mirrored: bool

    @property
    def is_plain(self) -> bool:
        """Whether the logits are the label map's scores along this side, sample by sample."""
        return self.covered and self.samples == self.length_out and not self.mirrored

    def parts(self, start: int, stop: int) -> list[Part]:
        """What makes the stretch from `start` to `stop`, in the order of the windows, in float64 on the CPU."""
        if not self.mirrored:
            return list(self._parts(start, stop))
        opposite = self._parts(self.length_out - stop, self.length_out - start)
        return [part._replace(matrix=part.matrix.flip(0)) for part in opposite]

    def _parts(self, start: int, stop: int) -> Iterator[Part]:
        if self.is_plain:
            yield Part(0, start, stop, torch.empty(stop - start, 0, dtype=torch.float64))
        elif self.covered:
            straight = Axis(self.samples, self.length_out, self.align_corners)
            yield Part(0, *straight.sources(start, stop), _matrix(straight, start, stop))
        else:
            yield from self._windows(start, stop)

    def _windows(self, start: int, stop: int) -> Iterator[Part]:
        last = Axis(self.length, self.length_out, self.align_corners)
        low, high = last.sources(start, stop)
        resized = _matrix(last, start, stop)
        inside = Axis(self.samples, self.window, self.align_corners)
        over = [
            (number, max(low - begin, 0), min(high - begin, self.window), begin - low)
            for number, begin in enumerate(window_starts(self.length, self.window, self.stride))
            if begin < high and begin + self.window > low
        ]
        count = torch.zeros(high - low, dtype=torch.float64)
        for _, a, b, shift in over:
            count[a + shift : b + shift] += 1
        share = resized / count
        for number, a, b, shift in over:
            yield Part(number, *inside.sources(a, b), share[:, a + shift : b + shift] @ _matrix(inside, a, b))


def _matrix(axis: Axis, start: int, stop: int) -> Float[Tensor, "stretch samples"]:
    return axis.matrix(start, stop, torch.float64, torch.device("cpu"))


def window_starts(length: int, window: int, stride: int) -> Iterator[int]:
    """First pixels of the windows along one side, `window <= length`; the last window ends with the image."""
    yield from range(0, length - window, stride)
    yield length - window
