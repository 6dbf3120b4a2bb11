"""Kernels of the heterogeneous shift, for maps that lie channels last.

A program has some channels of an image and goes down the map's rows, so one reading gives what is
taken over rows and what is taken over columns; `WIDE` and `CHANNELS` are the sides of its tile, a
row. Lines (B, H + W, C) have a number for each row of a map and then for each column.

Names: x is a map, p its profile: for each row its mean plus 1 / W times the softmax over rows of
its largest value, and for each column likewise. y = x·σ(a)·σ(b), with a (B, H, C) for the gates of
rows and b (B, W, C) for those of columns.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vireid.models.launches import kernel


@triton.jit
def _tile(high, wide, channels, WIDE: tl.constexpr, CHANNELS: tl.constexpr):
    """Where the numbers of a map's first row lie, which exist, which of its places do; and where
    the channels of an image's first line lie, and which exist."""
    image = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDE)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = channel < channels
    place = image * high * wide + column
    at = place[:, None] * channels + channel[None, :]
    places = (column < wide)[:, None]
    return at, places & inside[None, :], places, channel, inside


@triton.jit
def _columns(channel, channels, WIDE: tl.constexpr):
    """Where lines of columns lie, from that of the first one."""
    return tl.arange(0, WIDE)[:, None] * channels + channel[None, :]


@triton.jit
def _load(pointer, at, there):
    return tl.load(pointer + at, mask=there, other=0).to(tl.float32)


@triton.jit
def _or_none(most, total, into):
    """The largest value, as it is stored; NaN where one of the values is: maxima pass it over."""
    return tl.where(total == total, most, total).to(into.dtype.element_ty)


@kernel(do_not_specialize=["high", "wide"])
def peaks(
    x, mean, largest, winners, high, wide, channels,
    WIDE: tl.constexpr, CHANNELS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Lines of x: means, largest values, and at how many places those stand."""
    at, there, places, channel, inside = _tile(high, wide, channels, WIDE, CHANNELS)
    line = tl.program_id(0).to(tl.int64) * (high + wide) * channels
    total = tl.zeros([WIDE, CHANNELS], tl.float32)
    top = tl.full([WIDE, CHANNELS], float("-inf"), tl.float32)
    count = tl.zeros([WIDE, CHANNELS], tl.float32)
    for row in tl.range(0, high, num_stages=STAGES):
        value = _load(x, at + row * wide * channels, there)
        total += value
        count = tl.where(value > top, 1.0, count + (value == top).to(tl.float32))
        top = tl.maximum(top, value)
        here = tl.where(places, value, float("-inf"))
        most, middle = tl.max(here, 0), tl.sum(value, 0) / wide
        into = line + row * channels + channel
        tl.store(mean + into, middle, mask=inside)
        tl.store(largest + into, _or_none(most, middle, largest), mask=inside)
        won = tl.sum((here == most[None, :]).to(tl.float32), 0)
        tl.store(winners + into, won.to(winners.dtype.element_ty), mask=inside)
    into = line + high * channels + _columns(channel, channels, WIDE)
    tl.store(mean + into, total / high, mask=there)
    tl.store(largest + into, _or_none(top, total, largest), mask=there)
    tl.store(winners + into, count.to(winners.dtype.element_ty), mask=there)


@triton.jit
def _lines(first, count, high, wide, channels, LINES: tl.constexpr, CHANNELS: tl.constexpr):
    """Where `count` lines of an image lie, which numbers exist, and which lines do."""
    line = tl.arange(0, LINES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    at = (tl.program_id(0).to(tl.int64) * (high + wide) + first + line)[:, None] * channels
    lines = (line < count)[:, None]
    return at + channel[None, :], lines & (channel < channels)[None, :], lines


@triton.jit
def _shares(largest, at, there, lines):
    """The softmax over lines."""
    value = tl.where(lines, _load(largest, at, there), float("-inf"))
    away = tl.exp(value - tl.max(value, 0)[None, :])
    return away / tl.sum(away, 0)[None, :]


@kernel(do_not_specialize=["high", "wide"])
def profile(
    mean, largest, p, high, wide, channels,
    HIGH: tl.constexpr, WIDE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """p of the lines of a map."""
    at, there, lines = _lines(0, high, high, wide, channels, HIGH, CHANNELS)
    found = _load(mean, at, there) + _shares(largest, at, there, lines) / wide
    tl.store(p + at, found.to(p.dtype.element_ty), mask=there)
    at, there, lines = _lines(high, wide, high, wide, channels, WIDE, CHANNELS)
    found = _load(mean, at, there) + _shares(largest, at, there, lines) / high
    tl.store(p + at, found.to(p.dtype.element_ty), mask=there)


@triton.jit
def _of_lines(dp, largest, winners, of_all, of_peaks, at, there, lines, others):
    g = _load(dp, at, there) / others
    share = _shares(largest, at, there, lines)
    of_largest = share * (g - tl.sum(share * g, 0)[None, :])
    tl.store(of_all + at, g, mask=there)
    many = tl.maximum(_load(winners, at, there), 1.0)
    tl.store(of_peaks + at, of_largest / many, mask=there)


@kernel(do_not_specialize=["high", "wide"])
def profile_gradient(
    dp, largest, winners, of_all, of_peaks, high, wide, channels,
    HIGH: tl.constexpr, WIDE: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Lines of what the gradient of p gives to each place of a row or column, and what it gives
    besides to each place that has its largest value: they share it evenly, as in PyTorch."""
    at, there, lines = _lines(0, high, high, wide, channels, HIGH, CHANNELS)
    _of_lines(dp, largest, winners, of_all, of_peaks, at, there, lines, wide)
    at, there, lines = _lines(high, wide, high, wide, channels, WIDE, CHANNELS)
    _of_lines(dp, largest, winners, of_all, of_peaks, at, there, lines, high)


@kernel(do_not_specialize=["high", "wide"])
def peaks_gradient(
    x, largest, of_all, of_peaks, dx_more, dx, high, wide, channels,
    WIDE: tl.constexpr, CHANNELS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The gradient of x from its lines, plus another one."""
    at, there, _, channel, inside = _tile(high, wide, channels, WIDE, CHANNELS)
    line = tl.program_id(0).to(tl.int64) * (high + wide) * channels
    column = line + high * channels + _columns(channel, channels, WIDE)
    top, more = _load(largest, column, there), _load(of_peaks, column, there)
    always = _load(of_all, column, there)
    for row in tl.range(0, high, num_stages=STAGES):
        here = at + row * wide * channels
        value = _load(x, here, there)
        g = _load(dx_more, here, there) + always
        lies = line + row * channels + channel
        g += _load(of_all, lies, inside)[None, :]
        g += tl.where(value == _load(largest, lies, inside)[None, :],
                      _load(of_peaks, lies, inside)[None, :], 0.0)  # fmt: skip
        g += tl.where(value == top, more, 0.0)
        tl.store(dx + here, g.to(dx.dtype.element_ty), mask=there)


@kernel(do_not_specialize=["high", "wide"])
def gate(
    x, a, b, y, high, wide, channels,
    WIDE: tl.constexpr, CHANNELS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """y of x, a and b."""
    at, there, _, channel, inside = _tile(high, wide, channels, WIDE, CHANNELS)
    image = tl.program_id(0).to(tl.int64) * channels
    columns = tl.sigmoid(_load(b, image * wide + _columns(channel, channels, WIDE), there))
    for row in tl.range(0, high, num_stages=STAGES):
        here = at + row * wide * channels
        rows = tl.sigmoid(_load(a, image * high + row * channels + channel, inside))
        value = _load(x, here, there) * columns * rows[None, :]
        tl.store(y + here, value.to(y.dtype.element_ty), mask=there)


@kernel(do_not_specialize=["high", "wide"])
def gate_gradient(
    dy, x, a, b, dx, da, db, high, wide, channels,
    WIDE: tl.constexpr, CHANNELS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Gradients of x, where it is multiplied, of a and of b."""
    at, there, _, channel, inside = _tile(high, wide, channels, WIDE, CHANNELS)
    image = tl.program_id(0).to(tl.int64) * channels
    column = image * wide + _columns(channel, channels, WIDE)
    columns = tl.sigmoid(_load(b, column, there))
    total = tl.zeros([WIDE, CHANNELS], tl.float32)
    for row in tl.range(0, high, num_stages=STAGES):
        here = at + row * wide * channels
        lies = image * high + row * channels + channel
        rows = tl.sigmoid(_load(a, lies, inside))
        g = _load(dy, here, there)
        along = g * _load(x, here, there)
        tl.store(dx + here, (g * columns * rows[None, :]).to(dx.dtype.element_ty), mask=there)
        total += along * rows[None, :]
        of_row = tl.sum(along * columns, 0) * rows * (1.0 - rows)
        tl.store(da + lies, of_row.to(da.dtype.element_ty), mask=inside)
    total = total * columns * (1.0 - columns)
    tl.store(db + column, total.to(db.dtype.element_ty), mask=there)
