"""From a net and an image to class scores: whole image or sliding window, flips and scales."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from seglit.crops import Crops, MirroredCrops, ResizedCrops, Span, TensorCrops
from seglit.precision import full_precision
from seglit.sides import window_starts
from seglit.view import Stretch, View, net_logits
from seglit.workers import workers

BATCH_PIXELS = 2**22
"""Pixels of windows that go through the net at once by default: eight windows of 512 x 1024. On a CPU it is one."""
TILES = {"cpu": (64, 128)}
OTHER_TILES = (256, 512)
"""Rows and columns of the tiles that labels are made in, which on a CPU are to fit its cache."""


class Inference:
    """How a net reads an image: how much of it at once, and in how many views.

    A view is the image at one of `scales`, mirrored or not. Within a view, the net sees the whole image or, with
    `window`, one window after the other: where windows overlap their logits are averaged, and the last window of a
    row or column is shifted back inside the image. A window larger than the image is cut to the image.

    Scores at full size are large: a map of floats for each class. The call gives them; `predict` and `bands` never make
    them, and give the same classes. They keep logits at the head's stride, of windows only as long as a row needs
    them, and go from logits to classes tile by tile.

    One view gives logits. Several views give probabilities, the mean of each view's softmax, or sigmoid where the
    net has a single channel: logits of different views have no common scale.

    Args:
        window: Height and width in pixels of the window; None for the whole image at once.
        stride: Vertical and horizontal step of the window; by default two thirds of it.
        flip: Also look at each scale's mirror image, left to right.
        scales: Factors of the image's size; the window keeps its size. `(1.0,)` is the image as it comes.
        batch_pixels: So many pixels of windows may go through the net at once in `predict` and `bands`, which bounds
            its memory; at least one window of each image of the batch does. By default one on a CPU, where more are
            slower, and elsewhere 2^22, such as eight windows of 512 x 1024.

    Raises:
        ValueError: If a number is not positive, a stride or `batch_pixels` comes without a window, a stride exceeds
            it, which would leave pixels unseen, or there is no scale.
    """

    def __init__(
        self,
        window: Sequence[int] | None = None,
        stride: Sequence[int] | None = None,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        batch_pixels: int | None = None,
    ) -> None:
        if batch_pixels is not None and window is None:
            raise ValueError(f"batch_pixels needs a window, got batch_pixels={batch_pixels} with window=None")
        if batch_pixels is not None and batch_pixels < 1:
            raise ValueError(f"batch_pixels must be positive, got {batch_pixels}")
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
        self.batch_pixels = batch_pixels
        self.flip = flip
        self.scales = tuple(float(scale) for scale in scales)

    @property
    def single_view(self) -> bool:
        """Whether the scores are logits, of one view, and not mean probabilities of several."""
        return len(self.scales) == 1 and not self.flip

    @property
    def views(self) -> list[tuple[float, bool]]:
        """Scale of each view, and whether it is mirrored."""
        return [(scale, flipped) for scale in self.scales for flipped in ((False, True) if self.flip else (False,))]

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
        refuse_training(net)
        with torch.no_grad():
            views = self.views
            if self.single_view:
                return self._view(net, image, *views[0], size)
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
        """The class of each pixel at `size`; arguments as for the call. Makes no full-size map of scores."""
        result = torch.empty((len(image), *size), dtype=torch.int64, device=image.device)
        for top, band in self.bands(net, TensorCrops(image), size):
            result[:, top : top + band.shape[1]] = band
        return result

    def bands(
        self, net: nn.Module, image: Crops, size: tuple[int, int]
    ) -> Iterator[tuple[int, Int64[Tensor, "batch rows width"]]]:
        """The class of each pixel at `size`, by bands of rows from top to bottom, each with its first row.

        Args:
            net: As for the call.
            image: Read window by window; whole, once for each view, if there is no window.
            size: As for the call.

        Raises:
            ValueError: As for the call.
        """
        refuse_training(net)
        opened = [self._opened(net, image, scale, flipped, size) for scale, flipped in self.views]
        device = opened[0].logits(0, 0).device
        height, width = TILES.get(device.type, OTHER_TILES)
        tiles = [(number, columns) for columns in spans(size[1], width) for number in range(image.batch)]
        for rows in spans(size[0], height):
            stretches = [view.stretch(rows) for view in opened]
            band = torch.empty((image.batch, rows[1] - rows[0], size[1]), dtype=torch.int64, device=device)
            with full_precision(device), workers(device) as in_order:
                for _ in in_order(partial(self._fill, band, stretches), tiles):
                    pass
            yield rows[0], band

    def _opened(self, net: nn.Module, image: Crops, scale: float, flipped: bool, size: tuple[int, int]) -> View:
        """One view, at whose first windows the net has looked."""
        seen = scaled_size(image.size, scale)
        crops = image if seen == image.size else ResizedCrops(image, seen)
        window = seen if self.window is None else (min(self.window[0], seen[0]), min(self.window[1], seen[1]))
        default = 1 if image.device.type == "cpu" else BATCH_PIXELS
        at_once = max((self.batch_pixels or default) // (image.batch * window[0] * window[1]), 1)
        return View(
            net, MirroredCrops(crops) if flipped else crops, size, window, self.stride or window, flipped, at_once
        )

    @torch.no_grad()
    def _fill(
        self, band: Int64[Tensor, "batch rows width"], stretches: Sequence[Stretch], tile: tuple[int, Span]
    ) -> None:
        """Put the classes of one image in some columns into the band."""
        number, columns = tile
        if self.single_view:
            scores = stretches[0].scores(number, columns)
        else:
            scores = probabilities(stretches[0].scores(number, columns))
            for stretch in stretches[1:]:
                scores += probabilities(stretch.scores(number, columns))
            scores.div_(len(stretches))
        band[number : number + 1, :, slice(*columns)] = self.labels(scores)

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
        scaled = scaled_size((image.shape[2], image.shape[3]), scale)
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


def refuse_training(net: nn.Module) -> None:
    """Refuse a net in training mode.

    Raises:
        ValueError: If it is.
    """
    if net.training:
        raise ValueError("the net is in training mode; call net.eval() before inference")


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width at a scale, of one pixel at least."""
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def spans(length: int, step: int) -> list[Span]:
    """A side in stretches of `step`, the last of what is left."""
    return [(start, min(start + step, length)) for start in range(0, length, step)]


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
