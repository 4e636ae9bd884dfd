"""What runs on the device for `triton_kernel.py`, the only one to import this, as triton is not everywhere.

Each function says what one of its programs does. A cell is what lies in a row between the same two columns of the
source: some pixels, or none, which are its slots. A thread has a cell or more and goes through channels, so that the
pixels between four logits are made of the same registers, and that hardly any thread waits for the numbers of another.
Nothing is added by two threads in no order, so that the results are the same bits each time.

Pointers come first, then sizes, then what is compiled in. A function that nobody waits for cannot raise: labels that
are no class are taken for void, and counted.
"""

from typing import Any

import triton
import triton.language as tl

ALL = tl.constexpr(0)
LOOK = tl.constexpr(1)
CHOSEN = tl.constexpr(2)
FIRST_MEAN = tl.constexpr(3)
"""Before the sums of the means come the pixels that are correct, those that count, and labels that are no class."""
OUT = tl.constexpr(-1)
"""The target of a pixel that is void. That of one that counts is its class `c`; that of another is `-2 - c`."""


@triton.jit
def pixels(
    logits: "Any",
    labels: "Any",
    surprises: "Any",
    lower: "Any",
    upper: "Any",
    row_places: "Any",
    row_shares: "Any",
    column_starts: "Any",
    column_shares: "Any",
    gammas: "Any",
    mean_weights: "Any",
    mean_slopes: "Any",
    powers: "Any",
    overlap_weights: "Any",
    overlap_slopes: "Any",
    targets: "Any",
    peaks: "Any",
    inverses: "Any",
    slopes: "Any",
    bases: "Any",
    parts: "Any",
    ignored: "Any",
    low_height: "Any",
    low_width: "Any",
    height: "Any",
    width: "Any",
    blocks: "Any",
    cell_blocks: "Any",
    mode: tl.constexpr,
    has_upper: tl.constexpr,
    has_gradient: tl.constexpr,
    has_gammas: tl.constexpr,
    means: tl.constexpr,
    overlaps: tl.constexpr,
    channels: tl.constexpr,
    lowest: tl.constexpr,
    least: tl.constexpr,
    block_channels: tl.constexpr,
    block_slots: tl.constexpr,
    block_cells: tl.constexpr,
) -> None:
    """Some pixels of a row: which of them count, the sums of the means, and what the other functions want to know.

    Of a pixel that counts that is its highest logit, one over the sum of its exponentials, and, for the gradient, its
    slope in the logit of the true class and the same less the mean slope of the probabilities.
    """
    image = tl.program_id(1)
    y = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    column = block % cell_blocks * block_cells + tl.arange(0, block_cells)
    x, inside = _slots(column_starts, column, block // cell_blocks * block_slots, low_width, block_slots)
    at = (image.to(tl.int64) * height + y) * width + x
    dtype = logits.dtype.element_ty
    program = image.to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    programs = tl.num_programs(1).to(tl.int64) * tl.num_programs(0)

    label = tl.load(labels + at, mask=inside, other=0)
    known = inside & (label != ignored)
    valid = known & (label >= 0) & (label < channels)
    tl.store(parts + 2 * programs + program, _number(known & (valid == 0)).to(dtype))
    own = tl.where(valid, label, 0).to(tl.int32)
    counted = valid
    if mode == CHOSEN:
        ranked = tl.load(surprises + at, mask=valid, other=0.0)
        counted = valid & _chosen(ranked, lower, upper, has_upper)
    if mode == LOOK:
        tl.store(surprises + at, tl.full([block_slots, block_cells], -1.0, dtype), mask=inside & (valid == 0))

    if _number(counted) > 0:
        source = logits + image.to(tl.int64) * channels * low_height * low_width
        source += tl.load(row_places + y) * low_width + column
        down = tl.load(row_shares + y)
        right = tl.load(column_shares + x, mask=inside, other=0.0)

        peak = tl.full([block_slots, block_cells], lowest, dtype)
        total = tl.full([block_slots, block_cells], 0.0, dtype)
        true = tl.full([block_slots, block_cells], 0.0, dtype)
        for start in range(0, channels, block_channels):
            c = start + tl.arange(0, block_channels)
            made = _made(source, c, column, down, right, low_height, low_width, channels)
            higher = tl.maximum(peak, tl.max(made, axis=0))
            total = total * tl.exp(peak - higher) + tl.sum(tl.exp(made - higher[None, :, :]), axis=0)
            true += tl.sum(tl.where(c[:, None, None] == own[None, :, :], made, 0.0), axis=0)
            peak = higher
        behind = peak - true
        surprise = tl.log(total) + behind
        inverse = 1 / total
        if mode != CHOSEN:
            # A surprise that is no number is not above zero either.
            correct = valid & (behind <= 0) & (surprise >= 0)
            tl.store(parts + program, _number(correct).to(dtype))
        if mode == LOOK:
            ranked = tl.where(surprise >= 0, surprise, float("inf"))
            tl.store(surprises + at, ranked, mask=valid)
            counted = valid & _chosen(ranked, lower, upper, has_upper)
        tl.store(parts + programs + program, _number(counted).to(dtype))

        slope = tl.full([block_slots, block_cells], 0.0, dtype)
        for i in tl.static_range(means):
            weight = tl.load(mean_weights + i * channels + own)
            value = surprise
            of_value = tl.full([block_slots, block_cells], 1.0, dtype)
            if has_gammas:
                value, of_value = _faded(surprise, tl.load(gammas + i), least)
            part = tl.sum(tl.sum(tl.where(counted, weight * value, 0.0), axis=0), axis=0)
            tl.store(parts + (FIRST_MEAN + i) * programs + program, part)
            if has_gradient:
                slope += tl.load(mean_slopes + i) * weight * of_value

        if has_gradient or overlaps > 0:
            tl.store(peaks + at, peak, mask=counted)
            tl.store(inverses + at, inverse, mask=counted)
        if has_gradient:
            if overlaps > 0:
                table = overlap_slopes + image * overlaps * 2 * channels
                right_part = tl.exp(-behind) * inverse
                for i in tl.static_range(overlaps):
                    weight = tl.load(overlap_weights + i * channels + own)
                    slope -= tl.load(table + 2 * i * channels + own) * weight * right_part
                mean = tl.full([block_slots, block_cells], 0.0, dtype)
                for start in range(0, channels, block_channels):
                    c = start + tl.arange(0, block_channels)
                    made = _made(source, c, column, down, right, low_height, low_width, channels)
                    p = tl.exp(made - peak[None, :, :]) * inverse[None, :, :]
                    of_p = _of_overlaps(
                        p, c[:, None, None], own[None, :, :], powers, overlap_weights, table, overlaps, channels
                    )
                    mean += tl.sum(of_p * p, axis=0)
                tl.store(bases + at, slope - mean, mask=counted)
            tl.store(slopes + at, slope, mask=counted)
    tl.store(targets + at, tl.where(counted, own, tl.where(valid, -2 - own, OUT)), mask=inside)


@triton.jit
def counts(
    targets: "Any", found: "Any", plane: "Any", channels: tl.constexpr, bins: tl.constexpr, block: tl.constexpr
) -> None:
    """Of some pixels of an image, how many of each class do not count and do: two numbers for each."""
    image = tl.program_id(1)
    places = tl.program_id(0) * block + tl.arange(0, block)
    target = tl.load(targets + image.to(tl.int64) * plane + places, mask=places < plane, other=OUT)
    number = tl.where(target >= 0, 2 * target + 1, -2 * (target + 2))
    # Histograms take no negative numbers, and the last bin is of no class.
    number = tl.where(target == OUT, bins - 1, number)
    program = image.to(tl.int64) * tl.num_programs(0) + tl.program_id(0)
    tl.store(found + program * bins + tl.arange(0, bins), tl.histogram(number, bins))


@triton.jit
def classes(
    logits: "Any",
    row_places: "Any",
    row_shares: "Any",
    column_starts: "Any",
    column_shares: "Any",
    powers: "Any",
    weights: "Any",
    targets: "Any",
    peaks: "Any",
    inverses: "Any",
    row_counts: "Any",
    found: "Any",
    low_height: "Any",
    low_width: "Any",
    height: "Any",
    width: "Any",
    blocks: "Any",
    cell_blocks: "Any",
    rows: "Any",
    channel_blocks: "Any",
    overlaps: tl.constexpr,
    channels: tl.constexpr,
    block_channels: tl.constexpr,
    block_slots: tl.constexpr,
    block_cells: tl.constexpr,
) -> None:
    """Some pixels of some rows, some channels, one overlap: its two sums of each."""
    image = tl.program_id(1)
    # Programs for the same pixels follow each other, so that what they read is near.
    tile = tl.program_id(0) // (overlaps * channel_blocks)
    i = tl.program_id(0) // channel_blocks % overlaps
    c = tl.program_id(0) % channel_blocks * block_channels + tl.arange(0, block_channels)
    first = tile // blocks * rows
    block = tile % blocks
    column = block % cell_blocks * block_cells + tl.arange(0, block_cells)
    x, inside = _slots(column_starts, column, block // cell_blocks * block_slots, low_width, block_slots)
    dtype = logits.dtype.element_ty
    source = logits + image.to(tl.int64) * channels * low_height * low_width + column
    right = tl.load(column_shares + x, mask=inside, other=0.0)
    is_squared = tl.load(powers + i) == 2
    of_right = tl.full([block_channels, block_cells], 0.0, dtype)
    of_powers = tl.full([block_channels, block_cells], 0.0, dtype)
    for y in range(first, tl.minimum(first + rows, height)):
        if tl.load(row_counts + image * height + y) > 0:
            at = (image.to(tl.int64) * height + y) * width + x
            target = tl.load(targets + at, mask=inside, other=OUT)
            counted = target >= 0
            peak = tl.load(peaks + at, mask=counted, other=0.0)
            inverse = tl.load(inverses + at, mask=counted, other=0.0)
            weight = tl.load(weights + i * channels + target, mask=counted, other=0.0)
            upper = source + tl.load(row_places + y) * low_width
            made = _made(upper, c, column, tl.load(row_shares + y), right, low_height, low_width, channels)
            # What does not count may be no number.
            p = tl.where(counted[None, :, :], tl.exp(made - peak[None, :, :]) * inverse[None, :, :], 0.0)
            weighted = p * weight[None, :, :]
            of_right += tl.sum(tl.where(c[:, None, None] == target[None, :, :], weighted, 0.0), axis=1)
            of_powers += tl.sum(tl.where(is_squared, p, 1.0) * weighted, axis=1)
    tiles = tl.num_programs(0) // (overlaps * channel_blocks)
    own = found + ((image.to(tl.int64) * overlaps + i) * tiles + tile) * 2 * channels + c
    tl.store(own, tl.sum(of_right, axis=1), mask=c < channels)
    tl.store(own + channels, tl.sum(of_powers, axis=1), mask=c < channels)


@triton.jit
def gradient(
    logits: "Any",
    row_starts: "Any",
    row_shares: "Any",
    column_starts: "Any",
    column_shares: "Any",
    powers: "Any",
    overlap_weights: "Any",
    overlap_slopes: "Any",
    targets: "Any",
    peaks: "Any",
    inverses: "Any",
    slopes: "Any",
    bases: "Any",
    row_counts: "Any",
    total: "Any",
    low_height: "Any",
    low_width: "Any",
    height: "Any",
    width: "Any",
    blocks: "Any",
    rows: "Any",
    slots: "Any",
    channel_blocks: "Any",
    is_sparse: tl.constexpr,
    overlaps: tl.constexpr,
    channels: tl.constexpr,
    block_channels: tl.constexpr,
    block_cells: tl.constexpr,
) -> None:
    """Some rows and columns of the source and some channels: adds the gradient there, of all the pixels near them.

    From a row of the source to the next, all pixels between them share four logits. Cells are one more than columns,
    those before the first column and above the first row being there for what they add to these.
    """
    image = tl.program_id(1)
    tile = tl.program_id(0) // channel_blocks
    c = tl.program_id(0) % channel_blocks * block_channels + tl.arange(0, block_channels)
    first = tile // blocks * rows
    end = tl.minimum(first + rows, low_height)
    cell = tl.arange(0, block_cells)
    column = tile % blocks * (block_cells - 1) - 1 + cell
    inside = (column >= 0) & (column < low_width)
    has_next = inside & (column + 1 < low_width)
    dtype = logits.dtype.element_ty
    is_class = (c < channels)[:, None]
    places = image.to(tl.int64) * channels * low_height * low_width
    places += c.to(tl.int64)[:, None] * low_height * low_width + column[None, :]
    start = tl.load(column_starts + column, mask=inside, other=0)
    stop = tl.load(column_starts + column + 1, mask=inside, other=0)
    table = overlap_slopes
    if overlaps > 0:
        table += image * overlaps * 2 * channels

    before = tl.maximum(first - 1, 0)
    near = places + before * low_width
    left_upper = tl.load(logits + near, mask=is_class & inside[None, :], other=0.0)
    right_upper = tl.load(logits + near + 1, mask=is_class & has_next[None, :], other=0.0)
    of_left_upper = tl.full([block_channels, block_cells], 0.0, dtype)
    of_right_upper = tl.full([block_channels, block_cells], 0.0, dtype)
    for row in range(before, end):
        below = (c < tl.where(row + 1 < low_height, channels, 0))[:, None]
        near = places + row * low_width
        left_lower = tl.load(logits + near + low_width, mask=below & inside[None, :], other=0.0)
        right_lower = tl.load(logits + near + low_width + 1, mask=below & has_next[None, :], other=0.0)
        of_left_lower = tl.full([block_channels, block_cells], 0.0, dtype)
        of_right_lower = tl.full([block_channels, block_cells], 0.0, dtype)
        for y in range(tl.load(row_starts + row), tl.load(row_starts + row + 1)):
            if tl.load(row_counts + image * height + y) > 0:
                down = tl.load(row_shares + y)
                left = _between(left_upper, left_lower, down)
                right = _between(right_upper, right_lower, down)
                of_left = tl.full([block_channels, block_cells], 0.0, dtype)
                of_right = tl.full([block_channels, block_cells], 0.0, dtype)
                for slot in range(0, slots):
                    x = start + slot
                    at = (image.to(tl.int64) * height + y) * width + x
                    target = tl.load(targets + at, mask=x < stop, other=OUT)
                    counted = target >= 0
                    is_needed = True
                    if is_sparse:
                        is_needed = tl.max(target, axis=0) >= 0
                    if is_needed:
                        share = tl.load(column_shares + x, mask=counted, other=0.0)
                        peak = tl.load(peaks + at, mask=counted, other=0.0)
                        inverse = tl.load(inverses + at, mask=counted, other=0.0)
                        slope = tl.load(slopes + at, mask=counted, other=0.0)
                        made = _between(left, right, share[None, :])
                        p = tl.exp(made - peak[None, :]) * inverse[None, :]
                        of_made = slope[None, :]
                        if overlaps > 0:
                            own = tl.where(counted, target, 0)
                            base = tl.load(bases + at, mask=counted, other=0.0)
                            of_made = base[None, :] + _of_overlaps(
                                p, c[:, None], own[None, :], powers, overlap_weights, table, overlaps, channels
                            )
                        of_made = p * of_made - tl.where(c[:, None] == target[None, :], slope[None, :], 0.0)
                        # What does not count may be no number.
                        of_made = tl.where(counted[None, :], of_made, 0.0)
                        of_left += of_made * (1 - share[None, :])
                        of_right += of_made * share[None, :]
                of_left_upper += of_left * (1 - down)
                of_right_upper += of_right * (1 - down)
                of_left_lower += of_left * down
                of_right_lower += of_right * down
        if row >= first:
            # A column belongs to its cell and to the one before.
            previous = tl.broadcast_to(tl.maximum(cell - 1, 0)[None, :], [block_channels, block_cells])
            of_column = of_left_upper + tl.gather(of_right_upper, previous, 1)
            is_own = is_class & (inside & (cell > 0))[None, :]
            target_place = total + near
            tl.store(target_place, tl.load(target_place, mask=is_own, other=0.0) + of_column, mask=is_own)
        left_upper = left_lower
        right_upper = right_lower
        of_left_upper = of_left_lower
        of_right_upper = of_right_lower


@triton.jit
def _chosen(ranked: "Any", lower: "Any", upper: "Any", has_upper: tl.constexpr) -> "Any":
    """Where a surprise is in range; no limit that is no number keeps it out."""
    out = ranked < tl.load(lower)
    if has_upper:
        out = out | (ranked >= tl.load(upper))
    return out == 0


@triton.jit
def _between(near: "Any", far: "Any", share: "Any") -> "Any":
    """A share of the way from one value to the other; the other is not looked at if there is none, as it may be inf."""
    return near * (1 - share) + tl.where(share != 0, far, 0.0) * share


@triton.jit
def _made(
    source: "Any",
    c: "Any",
    column: "Any",
    down: "Any",
    right: "Any",
    low_height: "Any",
    low_width: "Any",
    channels: tl.constexpr,
) -> "Any":
    """The logits of pixels, by channel, slot and cell; minus infinity at channels that there are not.

    The pointers are to the upper left one of the four logits that a cell is made of, in channel 0.
    """
    is_class = (c < channels)[:, None]
    has_left = is_class & (column < low_width)[None, :]
    has_right = is_class & (column + 1 < low_width)[None, :]
    has_lower = (c < tl.where(down != 0, channels, 0))[:, None]
    near = source[None, :] + c.to(tl.int64)[:, None] * low_height * low_width
    left_upper = tl.load(near, mask=has_left, other=0.0)
    left_lower = tl.load(near + low_width, mask=has_left & has_lower, other=0.0)
    right_upper = tl.load(near + 1, mask=has_right, other=0.0)
    right_lower = tl.load(near + low_width + 1, mask=has_right & has_lower, other=0.0)
    # Rows first, as in `native.cpp`.
    left = _between(left_upper, left_lower, down)
    beside = _between(right_upper, right_lower, down)
    made = _between(left[:, None, :], beside[:, None, :], right[None, :, :])
    return tl.where(is_class[:, :, None], made, float("-inf"))


@triton.jit
def _slots(
    starts: "Any", column: "Any", first: "Any", low_width: "Any", block_slots: tl.constexpr
) -> "tuple[Any, Any]":
    """The places in their row of the pixels of cells from a slot on, and whether there are such."""
    is_column = column < low_width
    start = tl.load(starts + column, mask=is_column, other=0)
    stop = tl.load(starts + column + 1, mask=is_column, other=0)
    x = start[None, :] + (first + tl.arange(0, block_slots))[:, None]
    return x, x < stop[None, :]


@triton.jit
def _number(where: "Any") -> "Any":
    """Of pixels."""
    return tl.sum(tl.sum(where.to(tl.int32), axis=0), axis=0)


@triton.jit
def _faded(surprise: "Any", gamma: "Any", least: tl.constexpr) -> "tuple[Any, Any]":
    """(1 - p)^gamma s and its derivative in s = -log p; see `fade` of `native.cpp`."""
    p = tl.exp(-surprise)
    # Of a small surprise 1 - p has few digits; log p knows by how much p was rounded (W. Kahan).
    is_small = (surprise < 0.5) & (p < 1)
    difference = tl.where(is_small, (1 - p) * surprise / -tl.log(tl.where(is_small, p, 0.5)), 1 - p)
    difference = tl.where(p == 1, surprise, difference)
    wrong = tl.where(difference < least, least, difference)
    power = tl.exp(gamma * tl.log(wrong))
    slope = power * (1 + gamma * (1 - wrong) * surprise / wrong)
    return tl.where(gamma == 0, surprise, power * surprise), tl.where(gamma == 0, 1.0, slope)


@triton.jit
def _of_overlaps(
    p: "Any",
    c: "Any",
    own: "Any",
    powers: "Any",
    weights: "Any",
    table: "Any",
    overlaps: tl.constexpr,
    channels: tl.constexpr,
) -> "Any":
    """The slopes of the probabilities of pixels whose classes are `own`, by channel; `c` and `own` as for products."""
    slope = tl.full(p.shape, 0.0, p.dtype)
    for i in tl.static_range(overlaps):
        weight = tl.load(weights + i * channels + own)
        factor = tl.load(table + (2 * i + 1) * channels + c, mask=c < channels, other=0.0)
        of_power = tl.where(tl.load(powers + i) == 2, 2 * p, 1.0)
        slope += factor * weight * of_power
    return slope
