"""One view of an image, read window by window; its scores tile by tile, never the full-size map."""

import math
import threading
from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seglit.crops import Crops, Span
from seglit.segmentor import DECODE
from seglit.sides import Part, Side, window_starts


class View:
    """One view of a batch of images, and where its scores go.

    Windows run through the net when their rows are first asked for, in batches, and their logits are kept, at the
    head's stride, until a stretch of rows comes that does not need them: rows must be asked for from above to below.

    Args:
        net: in eval mode, see `seglit.inference.Inference`.
        crops: the images as the net is to see them, resized and mirrored.
        size: height and width of the scores.
        window: height and width of the window, no larger than the images.
        stride: its steps.
        mirrored: whether `crops` are mirrored, which the scores are not to be.
        at_once: how many windows go through the net at once.
    """

    def __init__(
        self,
        net: nn.Module,
        crops: Crops,
        size: tuple[int, int],
        window: tuple[int, int],
        stride: tuple[int, int],
        mirrored: bool,
        at_once: int,
    ) -> None:
        self.net = net
        self.crops = crops
        self.window = window
        self.at_once = at_once
        starts = [list(window_starts(*numbers)) for numbers in zip(crops.size, window, stride, strict=True)]
        self._columns = len(starts[1])
        self._waiting = [(top, left) for top in starts[0] for left in starts[1]]
        self._seen = 0
        self._logits: dict[tuple[int, int], Float[Tensor, "batch channels _ _"]] = {}
        self._made: dict[Span, tuple[list[Part], Tensor]] = {}
        self._spaces = threading.local()
        self._run()
        first = self._logits[0, 0]
        self.channels = first.shape[1]
        align_corners = cast(bool, cast(nn.Module, net.decode_head).align_corners)
        self.rows, self.columns = (
            Side(
                crops.size[side],
                window[side],
                stride[side],
                first.shape[2 + side],
                size[side],
                align_corners,
                covered=window == crops.size,
                mirrored=mirrored and side == 1,
            )
            for side in (0, 1)
        )

    def stretch(self, rows: Span) -> "Stretch":
        """The scores of these rows; those of the rows above cannot be had any more."""
        parts = self.rows.parts(*rows)
        for place in [place for place in self._logits if place[0] < parts[0].window]:
            del self._logits[place]
        while self._seen < (parts[-1].window + 1) * self._columns:
            self._run()
        return Stretch(self, rows, parts)

    def logits(self, row: int, column: int) -> Float[Tensor, "batch channels _ _"]:
        """Those of a window at the head's stride."""
        return self._logits[row, column]

    def columns_of(self, columns: Span) -> tuple[list[Part], Tensor]:
        """What makes these columns; kept, as each stretch of rows asks for the same."""
        if columns not in self._made:
            parts = self.columns.parts(*columns)
            self._made[columns] = parts, self.joined(parts)
        return self._made[columns]

    def joined(self, parts: Sequence[Part]) -> Float[Tensor, "stretch samples"]:
        """One matrix for the samples of all windows, of the logits' type."""
        like = next(iter(self._logits.values()))
        return torch.cat([part.matrix for part in parts], dim=1).to(like.dtype).to(like.device)

    @torch.no_grad()
    def _run(self) -> None:
        """Let the net see the next windows."""
        height, width = self.window
        places = self._waiting[self._seen : self._seen + self.at_once]
        crops = [self.crops.crop((top, top + height), (left, left + width)) for top, left in places]
        logits = net_logits(self.net, torch.cat(crops) if len(crops) > 1 else crops[0])
        for number, of_window in enumerate(torch.split(logits, self.crops.batch), self._seen):
            # A window's logits of their own, so that dropping it frees its memory.
            own = of_window if len(places) == 1 else of_window.clone()
            self._logits[divmod(number, self._columns)] = own
        self._seen += len(places)

    def space(self, use: str, *shape: int) -> Tensor:
        """Memory that the thread's next call for the same use gets again: new memory costs more than what it is for."""
        count = math.prod(shape)
        spaces: dict[str, Tensor] = self._spaces.__dict__
        if use not in spaces or spaces[use].numel() < count:
            spaces[use] = next(iter(self._logits.values())).new_empty(count)
        return spaces[use][:count].view(shape)


class Stretch:
    """Some rows of a view's scores.

    Args:
        view: the view.
        rows: which.
        parts: what makes them.
    """

    def __init__(self, view: View, rows: Span, parts: Sequence[Part]) -> None:
        self.view = view
        self.rows = rows
        self.parts = parts
        self.matrix = view.joined(parts)

    @torch.no_grad()
    def scores(self, image: int, columns: Span) -> Float[Tensor, "1 channels rows columns"]:
        """The logits of one image in these columns, averaged over windows; valid until the thread asks again."""
        view, channels = self.view, self.view.channels
        parts, across = view.columns_of(columns)
        blocks = [
            [
                view.logits(row.window, column.window)[image, :, row.first : row.end, column.first : column.end]
                for column in parts
            ]
            for row in self.parts
        ]
        # Rows, channels, columns: both products are of two matrices then, without a loop over channels.
        low = torch.cat([torch.cat(line, dim=2) for line in blocks], dim=1).transpose(0, 1)
        with torch.autocast(low.device.type, enabled=False):
            if not view.columns.is_plain:
                wide = view.space("wide", len(low) * channels, len(across))
                torch.mm(low.reshape(-1, low.shape[2]), across.t(), out=wide)
                low = wide.view(len(low), channels, -1)
            if not view.rows.is_plain:
                full = view.space("full", len(self.matrix), channels * low.shape[2])
                torch.mm(self.matrix, low.reshape(len(low), -1), out=full)
                low = full.view(len(full), channels, -1)
        return low.transpose(0, 1)[None]


def net_logits(net: nn.Module, image: Float[Tensor, "batch 3 _ _"]) -> Float[Tensor, "batch channels _ _"]:
    """The decode head's logits at its own stride, in float32 at least: half precision makes ties when averaged."""
    logits: Tensor = net(image)[DECODE]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
