"""The kernel for CUDA: `triton_functions.py`, compiled for the device when each of them is first wanted."""

import logging
import subprocess
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from seglit.losses.kernel import CHOSEN, Choice, Job, Slopes, Sums, mode_of
from seglit.losses.pixels import table
from seglit.upsampling import Axis

log = logging.getLogger(__name__)
CHANNELS = 8
"""That a thread has at once: in `gradient` twelve numbers for each fit its registers. For 19 or 150 classes few threads
are left over."""
SLOTS = 4
"""The most pixels that a thread has at once, which share the logits that they are made of."""
THREADS = 32
"""Of a warp. A program is as small as that, as rows of the source may be short, unless its cells have less than `SLOTS`
pixels. In `gradient` each has a cell, one of which a neighbour computes too."""
ROWS = 16
"""Of pixels that `classes` adds up before threads put their sums together, and the most of the source in a program of
`gradient`, of which one more is computed."""
PROGRAMS = 4096
"""Of `gradient` that keep a large device busy: if there are fewer, each has fewer rows."""
COUNTED = 4096
"""Pixels of a program of `counts`."""


class Samples(NamedTuple):
    """An axis on the device.

    Attributes:
        places: the lower neighbour of each sample in the source.
        shares: how far it is on the way to the next; zero where there is none.
        starts: for each sample of the source the first that has it as its lower neighbour, or one after it, or the end.
        most: samples with one lower neighbour.
    """

    places: Int32[Tensor, " samples"]
    shares: Float[Tensor, " samples"]
    starts: Int32[Tensor, " sources_and_one"]
    most: int


class TritonKernel:
    """See `Kernel`. The same bits each time, and no waiting for the device.

    So it cannot raise: a pixel whose label is no class and not void is taken for void, and the sums of all terms of its
    image are no numbers, nor are then the losses.

    Args:
        functions: `seglit.losses.triton_functions`.
    """

    def __init__(self, functions: ModuleType) -> None:
        self.functions = functions

    def __call__(self, job: Job, choice: Choice | None, slopes: Slopes | None) -> Sums:
        """See `Kernel`."""
        with torch.cuda.device(job.logits.get_device()):
            return Visit(self.functions, job, choice, slopes).sums()


class Visit:
    """One visit: what its functions have in common.

    Args:
        functions: see `TritonKernel`.
        job: see `Kernel`.
        choice: see `Kernel`.
        slopes: see `Kernel`.
    """

    def __init__(self, functions: ModuleType, job: Job, choice: Choice | None, slopes: Slopes | None) -> None:
        self.functions, self.job, self.choice, self.slopes = functions, job, choice, slopes
        logits, device = job.logits, job.logits.device
        self.dtype = logits.dtype
        self.images, self.channels, self.low_height, self.low_width = logits.shape
        self.height, self.width = job.labels.shape[1:]
        self.sizes = self.low_height, self.low_width, self.height, self.width
        self.block_channels = min(CHANNELS, power_of_two(self.channels))
        self.channel_blocks = -(-self.channels // self.block_channels)
        self.rows = samples(job.upsampling.rows, self.dtype, device)
        self.columns = samples(job.upsampling.column_axis, self.dtype, device)
        self.slots = min(SLOTS, power_of_two(self.columns.most))
        self.cells = SLOTS // self.slots * THREADS
        self.cell_blocks = -(-self.low_width // self.cells)
        self.blocks = self.cell_blocks * -(-self.columns.most // self.slots)
        self.powers = table(tuple(float(term.power) for term in job.overlaps), self.dtype, device)
        self.overlap_weights = job.weights(job.overlaps)
        # What is not wanted is neither written nor read.
        self.targets = logits.new_empty(job.labels.shape, dtype=torch.int32)
        keeps = slopes is not None, slopes is not None or len(job.overlaps) > 0
        nothing = logits.new_empty(0)
        self.peaks, self.inverses = (logits.new_empty(job.labels.shape) if keeps[1] else nothing for _ in range(2))
        self.slope = logits.new_empty(job.labels.shape) if keeps[0] else nothing
        self.base = logits.new_empty(job.labels.shape) if keeps[0] and len(job.overlaps) > 0 else nothing
        self.mean_slopes = nothing if slopes is None else slopes.means
        self.overlap_slopes = nothing if slopes is None else slopes.overlaps.contiguous()

    def sums(self) -> Sums:
        """The sums; adds the gradient to that of the slopes."""
        correct, counted, wrong, *means = self._pixels().unbind()
        row_counts = counted.sum(2).contiguous()
        overlaps = self._overlaps(row_counts)
        if self.slopes is not None:
            if self.slopes.is_fresh:
                self.slopes.total.zero_()
            self._gradient(self.slopes.total, row_counts)
        by_class = self._counts()
        number = wrong.sum((1, 2), dtype=torch.float64)
        # Nothing is added to a sum where all labels are classes.
        bad = torch.zeros_like(number).masked_fill_(number > 0, torch.nan)
        of_means = [mean.sum((1, 2), dtype=torch.float64) + bad for mean in means]
        return Sums(
            correct.sum((1, 2), dtype=torch.float64),
            torch.zeros_like(by_class[:, :, 0]) if mode_of(self.choice) == CHOSEN else by_class.sum(2),
            by_class[:, :, 1],
            torch.stack(of_means, dim=1) if of_means else bad.new_zeros(self.images, 0),
            overlaps + bad[:, None, None, None],
        )

    def _pixels(self) -> Float[Tensor, "parts batch height blocks"]:
        """Fills the maps; by program: the pixels that are correct, that count, wrong labels, and sums of the means."""
        job, choice, nothing = self.job, self.choice, self.job.logits.new_empty(0)
        finfo = torch.finfo(self.dtype)
        gammas = tuple(term.gamma for term in job.means)
        parts = job.logits.new_zeros(3 + len(gammas), self.images, self.height, self.blocks)
        upper = None if choice is None else choice.upper
        self.functions.pixels[self.height * self.blocks, self.images](
            job.logits,
            job.labels,
            nothing if choice is None else choice.surprise,
            nothing if choice is None else choice.lower,
            nothing if upper is None else upper,
            self.rows.places,
            self.rows.shares,
            self.columns.starts,
            self.columns.shares,
            table(gammas, self.dtype, parts.device),
            job.weights(job.means),
            self.mean_slopes,
            self.powers,
            self.overlap_weights,
            self.overlap_slopes,
            self.targets,
            self.peaks,
            self.inverses,
            self.slope,
            self.base,
            parts,
            job.ignore_index,
            *self.sizes,
            self.blocks,
            self.cell_blocks,
            mode=mode_of(self.choice),
            has_upper=upper is not None,
            has_gradient=self.slopes is not None,
            has_gammas=any(gammas),
            means=len(gammas),
            overlaps=len(job.overlaps),
            channels=self.channels,
            lowest=finfo.min,
            least=finfo.tiny,
            block_channels=self.block_channels,
            block_slots=self.slots,
            block_cells=self.cells,
            num_warps=SLOTS // self.slots,
        )
        return parts

    def _counts(self) -> Float[Tensor, "batch channels 2"]:
        """Of each class the pixels that are valid but do not count, and those that do."""
        plane = self.height * self.width
        chunks = -(-plane // COUNTED)
        bins = max(THREADS, power_of_two(2 * self.channels + 1))
        found = self.targets.new_empty(self.images, chunks, bins)
        self.functions.counts[chunks, self.images](
            self.targets, found, plane, channels=self.channels, bins=bins, block=COUNTED
        )
        return found.sum(1)[:, : 2 * self.channels].view(self.images, self.channels, 2).double()

    def _overlaps(self, row_counts: Float[Tensor, "batch height"]) -> Float[Tensor, "batch overlaps 2 channels"]:
        """The sums of the overlaps."""
        number, tiles = len(self.job.overlaps), -(-self.height // ROWS) * self.blocks
        found = self.job.logits.new_empty(self.images, number, tiles, 2, self.channels)
        if number > 0:
            self.functions.classes[tiles * number * self.channel_blocks, self.images](
                self.job.logits,
                self.rows.places,
                self.rows.shares,
                self.columns.starts,
                self.columns.shares,
                self.powers,
                self.overlap_weights,
                self.targets,
                self.peaks,
                self.inverses,
                row_counts,
                found,
                *self.sizes,
                self.blocks,
                self.cell_blocks,
                ROWS,
                self.channel_blocks,
                overlaps=number,
                channels=self.channels,
                block_channels=self.block_channels,
                block_slots=self.slots,
                block_cells=self.cells,
                num_warps=SLOTS // self.slots,
            )
        return found.sum(2, dtype=torch.float64)

    def _gradient(
        self, total: Float[Tensor, "batch channels low_height low_width"], row_counts: Float[Tensor, "batch height"]
    ) -> None:
        """Adds the gradient of the sums, each times its slope."""
        assert total.is_contiguous()  # as the logits are, whose places it shares
        blocks = -(-self.low_width // (THREADS - 1))
        rows = max(1, min(ROWS, self.low_height * blocks * self.images * self.channel_blocks // PROGRAMS))
        tiles = -(-self.low_height // rows) * blocks
        self.functions.gradient[tiles * self.channel_blocks, self.images](
            self.job.logits,
            self.rows.starts,
            self.rows.shares,
            self.columns.starts,
            self.columns.shares,
            self.powers,
            self.overlap_weights,
            self.overlap_slopes,
            self.targets,
            self.peaks,
            self.inverses,
            self.slope,
            self.base,
            row_counts,
            total,
            *self.sizes,
            blocks,
            rows,
            self.columns.most,
            self.channel_blocks,
            is_sparse=self.choice is not None,
            overlaps=len(self.job.overlaps),
            channels=self.channels,
            block_channels=self.block_channels,
            block_cells=THREADS,
            num_warps=1,
        )


def power_of_two(number: int) -> int:
    """The least one that is not below the number."""
    return 1 << (number - 1).bit_length()


@lru_cache(maxsize=64)
def samples(axis: Axis, dtype: torch.dtype, device: torch.device) -> Samples:
    """The axis on the device, sent there once."""
    places, shares = axis.places(0, axis.length_out)
    starts = torch.searchsorted(places, torch.arange(axis.length_in + 1))
    shares = torch.where(places + 1 < axis.length_in, shares, 0.0)
    return Samples(
        places.int().to(device),
        shares.to(dtype).to(device),
        starts.int().to(device),
        int(starts.diff().max()),
    )


@lru_cache(maxsize=1)
def triton_kernel() -> TritonKernel | None:
    """The kernel, or None, once with a line in the log, where there is no triton or nothing can be compiled by it.

    For that it needs a driver, and a compiler for C to talk to it.
    """
    try:
        # Only where it is wanted: to import triton takes its time, and on some systems it cannot be.
        from triton.runtime import driver

        from seglit.losses import triton_functions

        driver.active.get_current_target()
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        log.warning("losses: no kernel for CUDA, so that they take longer: %s", error)
        return None
    return TritonKernel(triton_functions)
