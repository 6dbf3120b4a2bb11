"""Kernels of batch norm with what follows it, for maps that lie channels last.

A map (B, C, H, W) in that layout is a matrix of B·H·W rows and C columns. Sums over rows are taken
in parts that each program adds up in its own order and one more program adds up in theirs, so
results never depend on which program ends first.

Written for Triton; its interpreter runs the same lines on a CPU.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vireid.models.launches import kernel


@triton.jit
def _tile(first, column, rows, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Offsets of a tile and which of them exist."""
    row = (first + tl.arange(0, ROWS)).to(tl.int64)
    there = (row < rows)[:, None] & (column < channels)[None, :]
    return row[:, None] * channels + column[None, :], there


@triton.jit
def _place(channels, COLUMNS: tl.constexpr):
    """Which tile of rows a program of a grid of one side takes, and its columns. Neighbours take
    columns beside each other, as they lie in memory."""
    blocks = tl.cdiv(channels, COLUMNS)
    return tl.program_id(0) // blocks, tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)


@triton.jit
def _load(pointer, at, there):
    return tl.load(pointer + at, mask=there, other=0).to(tl.float32)


@kernel(do_not_specialize=["rows", "parts"])
def moments(
    x, sums, rows, parts, channels,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Sums of x and x² less the first row, (2, parts, C).

    Numbers are taken relative to the first row, or a mean far from 0 would drown the variance. The
    tiles of a part lie `parts` tiles from each other, the last first: what was written last is
    still in the cache, and what is read last will be."""
    part, column = _place(channels, COLUMNS)
    inside = column < channels
    pivot = _load(x, column, inside)[None, :]
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    squares = tl.zeros([ROWS, COLUMNS], tl.float32)
    tiles = tl.cdiv(rows, ROWS)
    for turn in tl.range(part, tiles, parts, num_stages=STAGES):
        at, there = _tile((tiles - 1 - turn) * ROWS, column, rows, channels, ROWS, COLUMNS)
        value = tl.where(there, _load(x, at, there) - pivot, 0.0)
        total += value
        squares += value * value
    into = sums + part * channels + column
    tl.store(into, tl.sum(total, 0), mask=inside)
    tl.store(into + parts * channels, tl.sum(squares, 0), mask=inside)


@triton.jit
def _sum_parts(sums, parts, column, channels, PARTS: tl.constexpr):
    """Column sums over parts."""
    total = tl.zeros([PARTS, column.shape[0]], tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        at = part[:, None] * channels + column[None, :]
        total += _load(sums, at, (part < parts)[:, None] & (column < channels)[None, :])
    return tl.sum(total, 0)


@triton.jit
def _sum_parts_of_two(sums, more, parts, column, channels, PARTS: tl.constexpr):
    """The same of two sums, both of which are asked for before the first is needed."""
    one = tl.zeros([PARTS, column.shape[0]], tl.float32)
    two = tl.zeros([PARTS, column.shape[0]], tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        at = part[:, None] * channels + column[None, :]
        there = (part < parts)[:, None] & (column < channels)[None, :]
        of_one = tl.load(sums + at, mask=there, other=0.0)
        of_two = tl.load(more + at, mask=there, other=0.0)
        one += of_one
        two += of_two
    return tl.sum(one, 0), tl.sum(two, 0)


@kernel(do_not_specialize=["parts", "count"])
def statistics(
    sums, x, weight, bias, running_mean, running_var, tracked, kept,
    parts, channels, count, momentum, eps, PARTS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """From sums to mean, 1 / deviation, and the scale and shift that normalise, kept as (4, C);
    running statistics move."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < channels
    pivot, gain, shift = (
        _load(x, column, there), _load(weight, column, there), _load(bias, column, there)
    )  # fmt: skip
    mean_before = _load(running_mean, column, there)
    var_before = _load(running_var, column, there)
    more = sums + parts * channels
    away, square = _sum_parts_of_two(sums, more, parts, column, channels, PARTS)
    away, square = away / count, square / count
    mean = pivot + away
    variance = tl.maximum(square - away * away, 0.0, propagate_nan=tl.PropagateNan.ALL)
    inverse = 1.0 / tl.sqrt(variance + eps)
    scale = gain * inverse
    tl.store(kept + column, mean, mask=there)
    tl.store(kept + channels + column, inverse, mask=there)
    tl.store(kept + 2 * channels + column, scale, mask=there)
    tl.store(kept + 3 * channels + column, shift - mean * scale, mask=there)
    now = mean_before + momentum * (mean - mean_before)
    tl.store(running_mean + column, now, mask=there)
    unbiased = variance * (count / tl.maximum(count - 1.0, 1.0))
    now = var_before + momentum * (unbiased - var_before)
    tl.store(running_var + column, now, mask=there)
    if tl.program_id(0) == 0:
        tl.store(tracked, tl.load(tracked) + 1)


@kernel()
def running(
    weight, bias, running_mean, running_var, kept, channels, eps, COLUMNS: tl.constexpr
):  # fmt: skip
    """What `statistics` keeps, of the running ones."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < channels
    mean = _load(running_mean, column, there)
    inverse = 1.0 / tl.sqrt(_load(running_var, column, there) + eps)
    scale = _load(weight, column, there) * inverse
    tl.store(kept + column, mean, mask=there)
    tl.store(kept + channels + column, inverse, mask=there)
    tl.store(kept + 2 * channels + column, scale, mask=there)
    tl.store(kept + 3 * channels + column, _load(bias, column, there) - mean * scale, mask=there)


@triton.jit
def _rows_of(kept, first, column, channels):
    """Two rows of what was kept: mean and 1 / deviation from 0, scale and shift from 2."""
    inside = column < channels
    one = _load(kept, first * channels + column, inside)
    return one[None, :], _load(kept, (first + 1) * channels + column, inside)[None, :]


@kernel(do_not_specialize=["rows"])
def normalise(
    x, kept, other, other_kept, y, rows, channels,
    OTHER: tl.constexpr, NORM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """y = ReLU(norm(x) + other), where `other` may need a norm of its own."""
    tile, column = _place(channels, COLUMNS)
    at, there = _tile(tile * ROWS, column, rows, channels, ROWS, COLUMNS)
    scale, shift = _rows_of(kept, 2, column, channels)
    value = _load(x, at, there) * scale + shift
    if NORM:
        scale, shift = _rows_of(other_kept, 2, column, channels)
        value += _load(other, at, there) * scale + shift
    elif OTHER:
        value += _load(other, at, there)
    value = tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(y + at, value.to(y.dtype.element_ty), mask=there)


@kernel(do_not_specialize=["rows", "parts"])
def gradient_sums(
    dy, dy_more, y, x, kept, other, other_kept, passed, sums, rows, parts, channels,
    MORE: tl.constexpr, FROM_Y: tl.constexpr, NORM: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Sums of g, the gradient before the ReLU, and of g times the standardised x, (2 or 3, parts,
    C), taken as in `moments`; the third of another norm's input.

    What the ReLU let pass is told by its input, made once more of x, or with FROM_Y by its output;
    then g is kept in `passed`, as it is also the gradient of what was added, and `dy_more` is added
    to the gradient with MORE."""
    part, column = _place(channels, COLUMNS)
    mean, inverse = _rows_of(kept, 0, column, channels)
    scale, shift = _rows_of(kept, 2, column, channels)
    other_mean, other_inverse = _rows_of(other_kept, 0, column, channels)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    along = tl.zeros([ROWS, COLUMNS], tl.float32)
    along_other = tl.zeros([ROWS, COLUMNS], tl.float32)
    tiles = tl.cdiv(rows, ROWS)
    for turn in tl.range(part, tiles, parts, num_stages=STAGES):
        at, there = _tile((tiles - 1 - turn) * ROWS, column, rows, channels, ROWS, COLUMNS)
        value = _load(x, at, there)
        g = _load(dy, at, there)
        if MORE:
            g += _load(dy_more, at, there)
        if FROM_Y:
            g = tl.where(_load(y, at, there) <= 0, 0.0, g).to(passed.dtype.element_ty)
            tl.store(passed + at, g, mask=there)
            g = g.to(tl.float32)
        else:
            g = tl.where(value * scale + shift <= 0, 0.0, g)
        total += g
        along += g * (value - mean)
        if NORM:
            along_other += g * (_load(other, at, there) - other_mean)
    into = sums + part * channels + column
    inside = column < channels
    tl.store(into, tl.sum(total, 0), mask=inside)
    tl.store(into + parts * channels, tl.sum(along * inverse, 0), mask=inside)
    if NORM:
        into += 2 * parts * channels
        tl.store(into, tl.sum(along_other * other_inverse, 0), mask=inside)


@kernel(do_not_specialize=["parts", "count", "which"])
def gradient_factors(
    sums, weight, kept, factors, dweight, dbias, parts, channels, count, which,
    PARTS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Gradients of weight and bias, and the factors (3, C) of dx = a·g + b·x + c."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    there = column < channels
    gain = _load(weight, column, there)
    mean, inverse = _load(kept, column, there), _load(kept, channels + column, there)
    more = sums + which * parts * channels
    total, along = _sum_parts_of_two(sums, more, parts, column, channels, PARTS)
    a = gain * inverse
    b = -a * inverse * along / count
    tl.store(dweight + column, along, mask=there)
    tl.store(dbias + column, total, mask=there)
    tl.store(factors + column, a, mask=there)
    tl.store(factors + channels + column, b, mask=there)
    tl.store(factors + 2 * channels + column, -a * total / count - b * mean, mask=there)


@triton.jit
def _gradient_of(g, value, factors, column, channels):
    """a·g + b·x + c."""
    a, b = _rows_of(factors, 0, column, channels)
    c = _load(factors, 2 * channels + column, column < channels)
    return a * g + b * value + c[None, :]


@kernel(do_not_specialize=["rows"])
def gradient(
    dy, x, kept, factors, dx, other, other_factors, dother, rows, channels,
    RELU: tl.constexpr, NORM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient of the norm's input, and that of the other norm's."""
    tile, column = _place(channels, COLUMNS)
    at, there = _tile(tile * ROWS, column, rows, channels, ROWS, COLUMNS)
    value = _load(x, at, there)
    scale, shift = _rows_of(kept, 2, column, channels)
    g = _load(dy, at, there)
    if RELU:
        g = tl.where(value * scale + shift <= 0, 0.0, g)
    found = _gradient_of(g, value, factors, column, channels)
    tl.store(dx + at, found.to(dx.dtype.element_ty), mask=there)
    if NORM:
        found = _gradient_of(g, _load(other, at, there), other_factors, column, channels)
        tl.store(dother + at, found.to(dother.dtype.element_ty), mask=there)


# The stem: norm and ReLU, then the largest of 3 x 3 places, every second place --------------------


@triton.jit
def _places(first, rows, high, wide, ROWS: tl.constexpr):
    """Image, row and column of places in a batch of maps that are `high` and `wide`."""
    row = first + tl.arange(0, ROWS)
    return row // (high * wide), row // wide % high, row % wide, row < rows


@kernel(do_not_specialize=["rows", "high", "wide", "high_out", "wide_out"])
def pool(
    x, kept, y, winner, won_by, rows, channels, high, wide, high_out, wide_out,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """y (rows, C) of ReLU(norm(x)), which of the nine places won, and its x; 9 where none was above
    0, and then the x of any."""
    tile, column = _place(channels, COLUMNS)
    image, down, right, there = _places(tile * ROWS, rows, high_out, wide_out, ROWS)
    scale, shift = _rows_of(kept, 2, column, channels)
    best = tl.zeros([ROWS, COLUMNS], tl.float32)
    won = tl.full([ROWS, COLUMNS], 9, tl.int32)
    by = tl.zeros([ROWS, COLUMNS], tl.float32)
    for place in tl.static_range(9):
        h, w = 2 * down - 1 + place // 3, 2 * right - 1 + place % 3
        inside = there & (h >= 0) & (h < high) & (w >= 0) & (w < wide)
        row = ((image * high + h) * wide + w).to(tl.int64)
        mask = inside[:, None] & (column < channels)[None, :]
        at = row[:, None] * channels + column[None, :]
        number = _load(x, at, mask)
        value = number * scale + shift
        better = mask & ((value > best) | (value != value))
        best = tl.where(better, value, best)
        any_one = (place == 4) & (won == 9)  # the middle one always exists
        by = tl.where(better | any_one, number, by)
        won = tl.where(better, place, won)
    row = (tile * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    at, mask = (
        row[:, None] * channels + column[None, :],
        there[:, None] & (column < channels)[None, :],
    )
    tl.store(y + at, best.to(y.dtype.element_ty), mask=mask)
    tl.store(winner + at, won.to(tl.uint8), mask=mask)
    tl.store(won_by + at, by.to(won_by.dtype.element_ty), mask=mask)


@triton.jit
def _gradient_through_pool(
    dy, winner, first, rows, column, channels, high, wide, high_out, wide_out,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Gradients of all windows that a place won: of one window across an even number, two across
    an odd one, either way."""
    image, h, w, there = _places(first, rows, high, wide, ROWS)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for side in tl.static_range(4):
        down, right = (h + side // 2) // 2, (w + side % 2) // 2
        inside = there & (down < high_out) & (right < wide_out)
        inside = inside & ((side // 2 == 0) | (h % 2 == 1)) & ((side % 2 == 0) | (w % 2 == 1))
        place = (h - 2 * down + 1) * 3 + w - 2 * right + 1
        row = ((image * high_out + down) * wide_out + right).to(tl.int64)
        mask = inside[:, None] & (column < channels)[None, :]
        at = row[:, None] * channels + column[None, :]
        won = tl.load(winner + at, mask=mask, other=9).to(tl.int32)
        total += tl.where(won == place[:, None], _load(dy, at, mask), 0.0)
    return total


@kernel(do_not_specialize=["rows", "high", "wide", "high_out", "wide_out"])
def pool_gradient(
    dy, winner, x, factors, dx, rows, channels, high, wide, high_out, wide_out,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """As `gradient`, of a gradient that comes through the pooling."""
    tile, column = _place(channels, COLUMNS)
    first = tile * ROWS
    g = _gradient_through_pool(
        dy, winner, first, rows, column, channels, high, wide, high_out, wide_out, ROWS, COLUMNS
    )
    at, there = _tile(first, column, rows, channels, ROWS, COLUMNS)
    value = _gradient_of(g, _load(x, at, there), factors, column, channels)
    tl.store(dx + at, value.to(dx.dtype.element_ty), mask=there)


# Weights ------------------------------------------------------------------------------------------


@kernel(do_not_specialize=["count0", "count1", "count2", "count3"])
def cast(
    from0, from1, from2, from3, to0, to1, to2, to3, count0, count1, count2, count3,
    NUMBERS: tl.constexpr,
):  # fmt: skip
    """Numbers of up to four tensors in another format, a tensor for each program of the grid's
    second side."""
    which = tl.program_id(1)
    at = tl.program_id(0) * NUMBERS + tl.arange(0, NUMBERS)
    if which == 0:
        tl.store(to0 + at, tl.load(from0 + at, mask=at < count0), mask=at < count0)
    elif which == 1:
        tl.store(to1 + at, tl.load(from1 + at, mask=at < count1), mask=at < count1)
    elif which == 2:
        tl.store(to2 + at, tl.load(from2 + at, mask=at < count2), mask=at < count2)
    else:
        tl.store(to3 + at, tl.load(from3 + at, mask=at < count3), mask=at < count3)
