"""From a net and an image to class scores: whole image or sliding window, flips and scales."""

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seglit.segmentor import DECODE


class Inference:
    """How a net reads an image: how much of it at once, and in how many views.

    A view is the image at one of `scales`, mirrored or not. Within a view, the net sees the whole image or, with
    `window`, one window after the other: where windows overlap their logits are averaged, and the last window of a
    row or column is shifted back inside the image. A window larger than the image is cut to the image.

    One view gives logits. Several views give probabilities, the mean of each view's softmax, or sigmoid where the
    net has a single channel: logits of different views have no common scale.

    Args:
        window: Height and width in pixels of the window; None for the whole image at once.
        stride: Vertical and horizontal step of the window; by default two thirds of it.
        flip: Also look at each scale's mirror image, left to right.
        scales: Factors of the image's size; the window keeps its size. `(1.0,)` is the image as it comes.

    Raises:
        ValueError: If a number is not positive, a stride comes without a window or exceeds it, which would leave
            pixels unseen, or there is no scale.
    """

    def __init__(
        self,
        window: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        if stride is not None and window is None:
            raise ValueError(f"stride needs a window, got stride={stride} with window=None")
        self.window = None if window is None else pixel_pair("window", window)
        self.stride: tuple[int, int] | None = None
        if self.window is not None:
            height, width = self.window
            default = (math.ceil(height * 2 / 3), math.ceil(width * 2 / 3))
            self.stride = default if stride is None else pixel_pair("stride", stride)
            if self.stride[0] > height or self.stride[1] > width:
                raise ValueError(
                    f"stride must not exceed the window, or pixels between windows are left out; "
                    f"got stride={self.stride} with window={self.window}"
                )
        if len(scales) == 0 or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(f"scales must be one or more positive numbers, got {list(scales)}")
        self.flip = flip
        self.scales = tuple(float(scale) for scale in scales)

    @property
    def single_view(self) -> bool:
        """Whether the scores are logits, of one view, and not mean probabilities of several."""
        return len(self.scales) == 1 and not self.flip

    def __call__(
        self, net: nn.Module, image: Float[Tensor, "batch 3 height width"], size: tuple[int, int]
    ) -> Float[Tensor, "batch channels _ _"]:
        """Class scores at `size`, without gradient: logits of a single view, or mean probabilities of several.

        Args:
            net: In eval mode, with its logits under "decode" and with `decode_head.align_corners`.
            image: Normalised as the net expects it.
            size: Height and width of the scores, commonly those of the label map.

        Raises:
            ValueError: If the net is in training mode, in which dropout and batch statistics blur the scores.
        """
        if net.training:
            raise ValueError("the net is in training mode; call net.eval() before inference")
        with torch.no_grad():
            if self.single_view:
                return self._view(net, image, self.scales[0], False, size)
            flips = (False, True) if self.flip else (False,)
            views = [(scale, flipped) for scale in self.scales for flipped in flips]
            total = probabilities(self._view(net, image, *views[0], size))
            for scale, flipped in views[1:]:
                total += probabilities(self._view(net, image, scale, flipped, size))
            return total.div_(len(views))

    def labels(self, scores: Float[Tensor, "batch channels height width"]) -> Int64[Tensor, "batch height width"]:
        """The class of each pixel, from the scores that this object's call gave."""
        return predict_labels(scores, threshold=0.0 if self.single_view else 0.5)

    def predict(
        self, net: nn.Module, image: Float[Tensor, "batch 3 height width"], size: tuple[int, int]
    ) -> Int64[Tensor, "batch _ _"]:
        """The class of each pixel at `size`; arguments as for the call."""
        return self.labels(self(net, image, size))

    def _view(
        self,
        net: nn.Module,
        image: Float[Tensor, "batch 3 height width"],
        scale: float,
        flipped: bool,
        size: tuple[int, int],
    ) -> Float[Tensor, "batch channels _ _"]:
        """Logits of one view, in the geometry of the unflipped image."""
        align_corners = cast(bool, cast(nn.Module, net.decode_head).align_corners)
        height, width = image.shape[-2:]
        scaled = (max(round(height * scale), 1), max(round(width * scale), 1))
        # Pixel centres of images lie half a pixel inside the border, whatever the head does with its logits.
        view = resized(image, scaled, align_corners=False)
        if flipped:
            view = view.flip(-1)
        if self.window is None or self.stride is None:
            logits = net_logits(net, view)
        else:
            logits = self._slide(net, view, self.window, self.stride, align_corners)
        logits = resized(logits, size, align_corners)
        return logits.flip(-1) if flipped else logits

    def _slide(
        self,
        net: nn.Module,
        image: Float[Tensor, "batch 3 height width"],
        window: tuple[int, int],
        stride: tuple[int, int],
        align_corners: bool,
    ) -> Float[Tensor, "batch channels _ _"]:
        """Logits averaged over windows, at the size of the image; the net's own if one window covers the image."""
        height, width = image.shape[-2:]
        window = (min(window[0], height), min(window[1], width))
        if window == (height, width):
            return net_logits(net, image)
        total: Tensor | None = None
        count = image.new_zeros((height, width), dtype=torch.float32)
        for top in window_starts(height, window[0], stride[0]):
            for left in window_starts(width, window[1], stride[1]):
                rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
                logits = resized(net_logits(net, image[:, :, rows, columns]), window, align_corners)
                if total is None:
                    total = logits.new_zeros((*logits.shape[:2], height, width))
                total[:, :, rows, columns] += logits
                count[rows, columns] += 1
        assert total is not None  # an image has at least one window
        return total.div_(count)


def predict_labels(
    scores: Float[Tensor, "batch channels height width"], threshold: float = 0.0
) -> Int64[Tensor, "batch height width"]:
    """The class with the highest score; of a single channel, class 1 where it is above `threshold`.

    Args:
        scores: Logits or probabilities.
        threshold: Of a single channel: 0 for logits, 0.5 for probabilities.
    """
    if scores.shape[1] == 1:
        return (scores[:, 0] > threshold).long()
    # The same as argmax(1), which is several times slower on the CPU.
    return scores.max(1).indices


def window_starts(length: int, window: int, stride: int) -> Iterator[int]:
    """First pixels of the windows along one side, `window <= length`; the last window ends with the image."""
    yield from range(0, length - window, stride)
    yield length - window


def net_logits(net: nn.Module, image: Float[Tensor, "batch 3 _ _"]) -> Float[Tensor, "batch channels _ _"]:
    """The decode head's logits at its own stride, in float32 at least: half precision makes ties when averaged."""
    logits: Tensor = net(image)[DECODE]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def probabilities(
    logits: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Softmax over the channels; sigmoid of a single one."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)


def resized(
    maps: Float[Tensor, "batch channels _ _"], size: tuple[int, int], align_corners: bool
) -> Float[Tensor, "batch channels _ _"]:
    """Bilinear resizing; the very maps if they have the size."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=align_corners)


def pixel_pair(name: str, value: Sequence[int]) -> tuple[int, int]:
    """Height and width from a sequence of two, such as a YAML list, or a ValueError."""
    if len(value) != 2 or not all(isinstance(side, int) and side > 0 for side in value):
        raise ValueError(f"{name} must be two whole positive numbers, height and width, got {value}")
    return value[0], value[1]
