"""The kernel for the CPU: `native.cpp`, compiled for this machine when it is first wanted."""

import ctypes
import math
from pathlib import Path

import torch
from torch import Tensor

from seglit.compiled import compiled
from seglit.losses.kernel import Choice, Job, Slopes, Sums, mode_of
from seglit.workers import workers

SOURCE = Path(__file__).with_suffix(".cpp")
PIXELS = 1 << 15
"""A piece of work: so few that all cores have some, and so many that to begin it is nothing."""
NUMBERS, POINTER = ctypes.c_int64, ctypes.c_void_p


class Visit(ctypes.Structure):
    """The struct of `native.cpp`: the rows of pixels of an image from `start` to `stop`.

    `row_places` and `row_shares` are the lower neighbour of each row in the source and how far it is on the way to the
    next, and so for columns. Mode `LOOK` writes `surprise`, `CHOSEN` reads it; `lower` and `upper` are those of
    `Choice`, and no number where there is none. The gradient's first row is that of row `first` of the source; it is
    written where it `is_fresh`, else added to. `is_same` says that nothing is resized.
    `found` begins with whether a label is no class, and which; then come
    `Sums`, one after the other, the first sums of all overlaps before the second.
    """

    _fields_ = (
        ("channels", NUMBERS),
        ("low_height", NUMBERS),
        ("low_width", NUMBERS),
        ("width", NUMBERS),
        ("start", NUMBERS),
        ("stop", NUMBERS),
        ("first", NUMBERS),
        ("source", POINTER),
        ("labels", POINTER),
        ("ignored", NUMBERS),
        ("row_places", POINTER),
        ("row_shares", POINTER),
        ("column_places", POINTER),
        ("column_shares", POINTER),
        ("mode", NUMBERS),
        ("lower", ctypes.c_double),
        ("upper", ctypes.c_double),
        ("surprise", POINTER),
        ("means", NUMBERS),
        ("overlaps", NUMBERS),
        ("gammas", POINTER),
        ("powers", POINTER),
        ("mean_weights", POINTER),
        ("overlap_weights", POINTER),
        ("mean_slopes", POINTER),
        ("overlap_slopes", POINTER),
        ("gradient", POINTER),
        ("gradient_stride", NUMBERS),
        ("is_fresh", NUMBERS),
        ("is_same", NUMBERS),
        ("found", POINTER),
    )


class NativeKernel:
    """See `Kernel`. The same bits for any number of threads.

    Args:
        library: compiled from `native.cpp`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.functions = {torch.float32: library.visit_float, torch.float64: library.visit_double}

    def __call__(self, job: Job, choice: Choice | None, slopes: Slopes | None) -> Sums:
        """See `Kernel`.

        Raises:
            ValueError: if a label is no class and not void.
        """
        (images, channels, low_height, low_width), width = job.logits.shape, job.labels.shape[2]
        rows, columns = job.upsampling.rows, job.upsampling.column_axis
        row_places, row_shares = rows.neighbours(job.logits.device)
        column_places, column_shares = columns.neighbours(job.logits.device)
        row_shares, column_shares = row_shares.to(job.logits.dtype), column_shares.to(job.logits.dtype)
        weights = job.weights(job.means), job.weights(job.overlaps)
        gammas = torch.tensor([term.gamma for term in job.means], dtype=torch.float64)
        powers = torch.tensor([term.power for term in job.overlaps])
        length = 3 + 2 * channels + len(job.means) + 2 * len(job.overlaps) * channels
        bands = [(image, *band) for image in range(images) for band in job.upsampling.bands(max(1, PIXELS // width))]
        found = torch.zeros(len(bands), length, dtype=torch.float64)
        function = self.functions[job.logits.dtype]
        if slopes is not None and slopes.is_fresh and not rows.is_same:
            slopes.total.zero_()
        mode = mode_of(choice)
        # No surprise is below a limit that is no number, nor at or above it.
        lower = math.nan if choice is None else choice.lower.item()
        upper = math.nan if choice is None or choice.upper is None else choice.upper.item()

        def visit(number: int) -> tuple[int, int, Tensor | None]:
            """Where the gradient of a band belongs, if it has one of its own."""
            image, start, stop = bands[number]
            visit = Visit(
                channels=channels,
                low_height=low_height,
                low_width=low_width,
                width=width,
                start=start,
                stop=stop,
                source=job.logits[image].data_ptr(),
                labels=job.labels[image].data_ptr(),
                ignored=job.ignore_index,
                row_places=row_places.data_ptr(),
                row_shares=row_shares.data_ptr(),
                column_places=column_places.data_ptr(),
                column_shares=column_shares.data_ptr(),
                mode=mode,
                lower=lower,
                upper=upper,
                means=len(job.means),
                overlaps=len(job.overlaps),
                gammas=gammas.data_ptr(),
                powers=powers.data_ptr(),
                mean_weights=weights[0].data_ptr(),
                overlap_weights=weights[1].data_ptr(),
                is_same=rows.is_same and columns.is_same,
                found=found[number].data_ptr(),
            )
            if choice is not None:
                visit.surprise = choice.surprise[image].data_ptr()
            if slopes is None:
                function(ctypes.byref(visit))
                return image, 0, None
            visit.first, end = (start, stop) if rows.is_same else rows.sources(start, stop)
            gradient = slopes.total[image, :, visit.first : end]
            if not rows.is_same:
                # The next band has a row in common with this one.
                gradient = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
            # Without resizing, each row of the source is that of one row of pixels.
            visit.is_fresh = slopes.is_fresh and rows.is_same
            visit.mean_slopes = slopes.means.data_ptr()
            visit.overlap_slopes = slopes.overlaps[image].data_ptr()
            visit.gradient, visit.gradient_stride = gradient.data_ptr(), gradient.stride(0)
            function(ctypes.byref(visit))
            return image, visit.first, None if rows.is_same else gradient

        with workers(job.logits.device) as in_order:
            for image, first, gradient in in_order(visit, range(len(bands))):
                if slopes is not None and gradient is not None:
                    slopes.total[image, :, first : first + gradient.shape[1]] += gradient
        refused = found[found[:, 0] > 0, 1]
        if len(refused):
            raise ValueError(
                f"labels: {refused[0]:.0f} is none of the {channels} classes and not ignore_index={job.ignore_index}"
            )
        return sums_of(found.view(images, -1, length).sum(1)[:, 2:], job)


def sums_of(found: Tensor, job: Job) -> Sums:
    """The numbers of each image, in the order of `Visit`."""
    channels, means, overlaps = job.logits.shape[1], len(job.means), len(job.overlaps)
    sizes = [1, channels, channels, means, overlaps * channels, overlaps * channels]
    correct, valid, counted, of_means, right, powers = torch.split(found, sizes, dim=1)
    of_overlaps = torch.stack([part.view(len(found), overlaps, channels) for part in (right, powers)], dim=2)
    return Sums(correct[:, 0], valid, counted, of_means, of_overlaps)


def native() -> NativeKernel | None:
    """The kernel, or None where it cannot be compiled."""
    library = compiled(SOURCE)
    return None if library is None else NativeKernel(library)
