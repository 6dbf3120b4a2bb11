"""Kernels of a ResNet's first convolution: 7 x 7 over 3 channels, every second place.

Libraries have no good kernel for so few channels. Here an image is packed first: 2 x 2 places of 3
channels become one place of 12, and 4 zeros fill it up to 16, so the convolution is one of 4 x 4
over every place, with a row and column of zero weights before the first. Of a packed row, 4 places
of 16 numbers lie beside each other: 64 numbers that a matrix product takes as they are.

Output place (i, j) sees packed places (i + a, j + b) with a and b from 0 to 3; channel
6·p + 3·q + c of a packed place (I, J) is channel c of the image at (2·(I - 2) + p, 2·(J - 2) + q).
"""

from __future__ import annotations

import triton
import triton.language as tl

from vireid.models.launches import kernel

_WIDE = tl.constexpr(16)  # channels of a packed place
_TAPS = tl.constexpr(64)  # numbers of 4 packed places


@kernel(do_not_specialize=["count"])
def normalise(
    images, y, count, mean0, mean1, mean2, std0, std1, std2, NUMBERS: tl.constexpr
):  # fmt: skip
    """Numbers of images (B, H, W, 3), 0 to 255, less a mean and by a deviation of each channel."""
    at = tl.program_id(0).to(tl.int64) * NUMBERS + tl.arange(0, NUMBERS)
    channel = at % 3
    mean = tl.where(channel == 0, mean0, tl.where(channel == 1, mean1, mean2))
    std = tl.where(channel == 0, std0, tl.where(channel == 1, std1, std2))
    value = tl.load(images + at, mask=at < count, other=0).to(tl.float32)
    value = (value / 255 - mean) / std
    tl.store(y + at, value.to(y.dtype.element_ty), mask=at < count)


@kernel(
    do_not_specialize=[
        "high",
        "wide",
        "high_packed",
        "wide_packed",
        "by_image",
        "by_row",
        "by_column",
    ]
)
def pack(
    x, packed, high, wide, high_packed, wide_packed, by_image, by_channel, by_row, by_column,
    PLACES: tl.constexpr,
):  # fmt: skip
    """Images (B, 3, H, W), which lie as their strides say, to (B, H', W', 16); a program makes some
    places of a row."""
    image, down = tl.program_id(0) // high_packed, tl.program_id(0) % high_packed
    right = tl.program_id(1) * PLACES + tl.arange(0, PLACES)
    channel = tl.arange(0, _WIDE)
    p, q, c = channel // 6, channel // 3 % 2, channel % 3
    row = (2 * (down - 2) + p)[None, :]
    column = 2 * (right - 2)[:, None] + q[None, :]
    inside = (row >= 0) & (row < high) & (column >= 0) & (column < wide)
    inside = inside & (channel < 12)[None, :] & (right < wide_packed)[:, None]
    at_image = x + image.to(tl.int64) * by_image
    at = (c * by_channel)[None, :] + row * by_row + column * by_column
    value = tl.load(at_image + at, mask=inside, other=0.0)
    place = (tl.program_id(0) * wide_packed + right).to(tl.int64)
    at = place[:, None] * _WIDE + channel[None, :]
    tl.store(packed + at, value.to(packed.dtype.element_ty), mask=(right < wide_packed)[:, None])


@triton.jit
def _weight_place(a, tap):
    """Channel, row and column of the weights at one of 64 numbers, and whether there are any."""
    b, channel = tap // _WIDE, tap % _WIDE
    p, q, c = channel // 6, channel // 3 % 2, channel % 3
    down, right = 2 * a + p - 1, 2 * b + q - 1  # up to 6
    return c, down, right, (channel < 12) & (down >= 0) & (right >= 0)


@kernel()
def pack_weight(
    weight, packed, channels, by_out, by_channel, by_row, by_column, CHANNELS: tl.constexpr
):  # fmt: skip
    """Weights (C, 3, 7, 7) to (4, 64, CHANNELS); a program makes one of the four."""
    a, tap, out = tl.program_id(0), tl.arange(0, _TAPS), tl.arange(0, CHANNELS)
    c, down, right, there = _weight_place(a, tap)
    at = (c * by_channel + down * by_row + right * by_column)[:, None] + (out * by_out)[None, :]
    value = tl.load(weight + at, mask=there[:, None] & (out < channels)[None, :], other=0.0)
    into = (a * _TAPS + tap)[:, None] * CHANNELS + out[None, :]
    tl.store(packed + into, value.to(packed.dtype.element_ty))


@triton.jit
def _add_product(a, b, total, WIDEN: tl.constexpr):
    """total + a @ b, widened for Triton's interpreter, which knows no products of bfloat16."""
    if WIDEN:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total)
    return tl.dot(a, b, total)


@triton.jit
def _seen(row, rows, high, wide):
    """The first of 64 numbers that output places see in the first of 4 packed rows."""
    image, down, right = row // (high * wide), row // wide % high, row % wide
    place = (image * (high + 3) + down) * (wide + 3) + right
    return (tl.where(row < rows, place, 0).to(tl.int64) * _WIDE)[:, None] + tl.arange(0, _TAPS)


@kernel(do_not_specialize=["rows", "high", "wide"])
def convolve(
    packed, weight, y, rows, channels, high, wide,
    WIDEN: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """y (rows, C) of packed images and weights; `high` and `wide` are y's."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    seen = packed + _seen(row, rows, high, wide)
    out = tl.arange(0, CHANNELS)
    taps = weight + tl.arange(0, _TAPS)[:, None] * CHANNELS + out[None, :]
    total = tl.zeros([ROWS, CHANNELS], tl.float32)
    for a in tl.static_range(4):
        given = tl.load(seen + a * (wide + 3) * _WIDE)
        total = _add_product(given, tl.load(taps + a * _TAPS * CHANNELS), total, WIDEN)
    at = row.to(tl.int64)[:, None] * channels + out[None, :]
    there = (row < rows)[:, None] & (out < channels)[None, :]
    tl.store(y + at, total.to(y.dtype.element_ty), mask=there)


@kernel(do_not_specialize=["rows", "each", "high", "wide"])
def weight_gradient(
    packed, dy, sums, rows, channels, each, high, wide,
    WIDEN: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Sums over rows, (parts, 4, 64, CHANNELS), of what was seen times the gradient of y."""
    out = tl.arange(0, CHANNELS)
    sum0 = tl.zeros([_TAPS, CHANNELS], tl.float32)
    sum1 = tl.zeros([_TAPS, CHANNELS], tl.float32)
    sum2 = tl.zeros([_TAPS, CHANNELS], tl.float32)
    sum3 = tl.zeros([_TAPS, CHANNELS], tl.float32)
    start = tl.program_id(0) * each
    down = (wide + 3) * _WIDE
    for first in range(start, min(start + each, rows), ROWS):
        row = first + tl.arange(0, ROWS)
        seen = packed + _seen(row, rows, high, wide)
        there = (row < rows)[:, None] & (out < channels)[None, :]
        g = tl.load(dy + row.to(tl.int64)[:, None] * channels + out[None, :], mask=there, other=0.0)
        sum0 = _add_product(tl.trans(tl.load(seen)), g, sum0, WIDEN)
        sum1 = _add_product(tl.trans(tl.load(seen + down)), g, sum1, WIDEN)
        sum2 = _add_product(tl.trans(tl.load(seen + 2 * down)), g, sum2, WIDEN)
        sum3 = _add_product(tl.trans(tl.load(seen + 3 * down)), g, sum3, WIDEN)
    into = tl.program_id(0) * 4 * _TAPS * CHANNELS
    into += tl.arange(0, _TAPS)[:, None] * CHANNELS + out[None, :]
    tl.store(sums + into, sum0)
    tl.store(sums + into + _TAPS * CHANNELS, sum1)
    tl.store(sums + into + 2 * _TAPS * CHANNELS, sum2)
    tl.store(sums + into + 3 * _TAPS * CHANNELS, sum3)


@kernel(do_not_specialize=["parts"])
def add_weight_gradient(
    sums, dweight, parts, channels, by_out, by_channel, by_row, by_column,
    CHANNELS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Gradients of weights (C, 3, 7, 7) of the sums; a program makes those of one of 64 numbers."""
    a, tap, out = tl.program_id(0) // _TAPS, tl.program_id(0) % _TAPS, tl.arange(0, CHANNELS)
    total = tl.zeros([PARTS, CHANNELS], tl.float32)
    for first in range(0, parts, PARTS):
        part = first + tl.arange(0, PARTS)
        at = (part * 4 * _TAPS + tl.program_id(0))[:, None] * CHANNELS + out[None, :]
        total += tl.load(sums + at, mask=(part < parts)[:, None], other=0.0)
    c, down, right, there = _weight_place(a, tap)
    into = dweight + c * by_channel + down * by_row + right * by_column + out * by_out
    tl.store(into, tl.sum(total, 0), mask=there & (out < channels))
