"""Kernels of the non-local block with one channel and of pooling, for maps that lie channels last.

As in `norm_kernels`, a map is a matrix of rows and columns, and sums are taken in parts that don't
depend on which program ends first. A program of the non-local block has whole rows, so that one
reading gives sums over rows and over columns; `ROWS` and `COLUMNS` are of its tile.

Names in the non-local block: θ, φ and g are what x is projected to, one number a row. s = mean(φg)
is one number an image, y = θ·s. Its batch norm takes V, the variance of y, and t = y - mean(y):
with r = 1 / √(w²V + eps), out = x + γwr·t + bias.
"""

from __future__ import annotations

import triton
import triton.language as tl

from vireid.models.launches import kernel
from vireid.models.norm_kernels import _load, _sum_parts, _sum_parts_of_two, _tile

# The non-local block, forward ---------------------------------------------------------------------


@kernel(do_not_specialize=["rows", "each"])
def project(
    x, weight, bias, projected, rows, channels, each,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """θ, φ and g, (3, rows), of weights (3, C)."""
    column = tl.arange(0, COLUMNS)
    inside = column < channels
    theta = _load(weight, column, inside)
    phi = _load(weight, channels + column, inside)
    g = _load(weight, 2 * channels + column, inside)
    start = tl.program_id(0) * each
    for first in range(start, min(start + each, rows), ROWS):
        at, there = _tile(first, column, rows, channels, ROWS, COLUMNS)
        value = _load(x, at, there)
        row = first + tl.arange(0, ROWS)
        into = projected + row
        tl.store(into, tl.sum(value * theta[None, :], 1) + tl.load(bias), mask=row < rows)
        into += rows
        tl.store(into, tl.sum(value * phi[None, :], 1) + tl.load(bias + 1), mask=row < rows)
        into += rows
        tl.store(into, tl.sum(value * g[None, :], 1) + tl.load(bias + 2), mask=row < rows)


@kernel(do_not_specialize=["rows", "positions"])
def pair(projected, pairs, rows, positions, POSITIONS: tl.constexpr):
    """s of each image, the mean of its y, and the sum of squares of y about it, (3, B)."""
    image, images = tl.program_id(0), tl.num_programs(0)
    theta = projected + image * positions
    total = tl.zeros([POSITIONS], tl.float32)
    products = tl.zeros([POSITIONS], tl.float32)
    for first in range(0, positions, POSITIONS):
        at = first + tl.arange(0, POSITIONS)
        there = at < positions
        total += _load(theta, at, there)
        products += _load(theta, rows + at, there) * _load(theta, 2 * rows + at, there)
    mean, s = tl.sum(total, 0) / positions, tl.sum(products, 0) / positions
    squares = tl.zeros([POSITIONS], tl.float32)
    for first in range(0, positions, POSITIONS):
        at = first + tl.arange(0, POSITIONS)
        away = tl.where(at < positions, _load(theta, at, at < positions) - mean, 0.0)
        squares += away * away
    tl.store(pairs + image, s)
    tl.store(pairs + images + image, s * mean)
    tl.store(pairs + 2 * images + image, s * s * tl.sum(squares, 0))


@kernel(do_not_specialize=["images", "positions"])
def scale(
    pairs, w, w_bias, weight, running_mean, running_var, tracked, middle, kept,
    images, positions, channels, momentum, eps, IMAGES: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The mean of y, and γwr and r, kept as (2, C); running statistics move."""
    total = tl.zeros([IMAGES], tl.float32)
    for first in range(0, images, IMAGES):
        image = first + tl.arange(0, IMAGES)
        total += _load(pairs, images + image, image < images)
    mean = tl.sum(total, 0) / images
    within = tl.zeros([IMAGES], tl.float32)
    between = tl.zeros([IMAGES], tl.float32)
    for first in range(0, images, IMAGES):
        image = first + tl.arange(0, IMAGES)
        there = image < images
        away = tl.where(there, _load(pairs, images + image, there) - mean, 0.0)
        within += _load(pairs, 2 * images + image, there)
        between += away * away
    count = (images * positions).to(tl.float32)
    variance = tl.sum(within, 0) / count + tl.sum(between, 0) / images
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < channels
    factor = _load(w, column, inside)
    spread = factor * factor * variance
    inverse = 1.0 / tl.sqrt(spread + eps)
    tl.store(kept + column, _load(weight, column, inside) * factor * inverse, mask=inside)
    tl.store(kept + channels + column, inverse, mask=inside)
    before = _load(running_mean, column, inside)
    now = factor * mean + _load(w_bias, column, inside)
    tl.store(running_mean + column, before + momentum * (now - before), mask=inside)
    before = _load(running_var, column, inside)
    now = spread * (count / tl.maximum(count - 1.0, 1.0))
    tl.store(running_var + column, before + momentum * (now - before), mask=inside)
    if tl.program_id(0) == 0:
        tl.store(middle, mean)
        tl.store(tracked, tl.load(tracked) + 1)


@triton.jit
def _from_mean(theta, pairs, middle, row, rows, positions):
    """t of some rows."""
    s = _load(pairs, row // positions, row < rows)
    return _load(theta, row, row < rows) * s - tl.load(middle)


@kernel(do_not_specialize=["rows", "each", "positions"])
def add(
    x, projected, pairs, middle, kept, bias, out, rows, channels, each, positions,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out = x + γwr·t + bias."""
    column = tl.arange(0, COLUMNS)
    factor = _load(kept, column, column < channels)
    shift = _load(bias, column, column < channels)
    start = tl.program_id(0) * each
    for first in range(start, min(start + each, rows), ROWS):
        at, there = _tile(first, column, rows, channels, ROWS, COLUMNS)
        row = first + tl.arange(0, ROWS)
        t = _from_mean(projected, pairs, middle, row, rows, positions)
        value = _load(x, at, there) + factor[None, :] * t[:, None] + shift[None, :]
        tl.store(out + at, value.to(out.dtype.element_ty), mask=there)


# The non-local block, backward --------------------------------------------------------------------


@kernel(do_not_specialize=["rows", "each", "positions"])
def scale_gradient_sums(
    dy, dy_more, projected, pairs, middle, kept, dt, sums, rows, channels, each, positions,
    MORE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient of t, and sums over rows of the map's gradient and of it times t,
    (2, parts, C)."""
    part = tl.program_id(0)
    column = tl.arange(0, COLUMNS)
    inside = column < channels
    factor = _load(kept, column, inside)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    along = tl.zeros([ROWS, COLUMNS], tl.float32)
    start = part * each
    for first in range(start, min(start + each, rows), ROWS):
        at, there = _tile(first, column, rows, channels, ROWS, COLUMNS)
        value = _load(dy, at, there)
        if MORE:
            value += _load(dy_more, at, there)
        row = first + tl.arange(0, ROWS)
        tl.store(dt + row, tl.sum(value * factor[None, :], 1), mask=row < rows)
        t = _from_mean(projected, pairs, middle, row, rows, positions)
        total += value
        along += value * t[:, None]
    into, next_sum = sums + part * channels + column, tl.num_programs(0) * channels
    tl.store(into, tl.sum(total, 0), mask=inside)
    tl.store(into + next_sum, tl.sum(along, 0), mask=inside)


@kernel(do_not_specialize=["parts"])
def scale_gradient(
    sums, w, weight, kept, dw, dweight, dbias, shared, parts, channels, eps,
    PARTS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Gradients of w and the batch norm's weight and bias; and, each as numbers (programs,) to add
    up, the sum of t's gradient over rows and the gradient of V."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < channels
    more = sums + parts * channels
    total, along = _sum_parts_of_two(sums, more, parts, column, channels, PARTS)
    factor, gain = _load(w, column, inside), _load(weight, column, inside)
    inverse = _load(kept, channels + column, inside)
    cubed = inverse * inverse * inverse
    tl.store(dbias + column, total, mask=inside)
    tl.store(dweight + column, along * factor * inverse, mask=inside)
    of_w = along * gain * eps * cubed  # γr - γw²Vr³, without taking close numbers from each other
    tl.store(dw + column, of_w, mask=inside)
    into = shared + tl.program_id(0)
    tl.store(into, tl.sum(total * _load(kept, column, inside), 0))
    of_variance = -0.5 * along * gain * factor * factor * factor * cubed
    tl.store(into + tl.num_programs(0), tl.sum(of_variance, 0))


@kernel(do_not_specialize=["programs", "rows", "positions"])
def projected_gradient(
    shared, dt, projected, pairs, middle, gradients, totals, programs, rows, positions,
    PROGRAMS: tl.constexpr, POSITIONS: tl.constexpr,
):  # fmt: skip
    """Gradients of θ, φ and g, (3, rows), of an image each program; their sums, (3, B)."""
    image, images = tl.program_id(0), tl.num_programs(0)
    of_rows = tl.zeros([PROGRAMS], tl.float32)
    of_variance = tl.zeros([PROGRAMS], tl.float32)
    for first in range(0, programs, PROGRAMS):
        program = first + tl.arange(0, PROGRAMS)
        of_rows += _load(shared, program, program < programs)
        of_variance += _load(shared, programs + program, program < programs)
    mean, slope = tl.sum(of_rows, 0) / rows, 2.0 * tl.sum(of_variance, 0) / rows
    s, start = tl.load(pairs + image), image * positions
    total = tl.zeros([POSITIONS], tl.float32)
    along = tl.zeros([POSITIONS], tl.float32)
    for first in range(0, positions, POSITIONS):
        at = first + tl.arange(0, POSITIONS)
        there, row = at < positions, start + at
        theta = _load(projected, row, there)
        dy = _load(dt, row, there) - mean + slope * (theta * s - tl.load(middle))
        dy = tl.where(there, dy, 0.0)
        tl.store(gradients + row, dy * s, mask=there)
        total += dy * s
        along += dy * theta
    of_pair = tl.sum(along, 0) / positions
    of_phi = tl.zeros([POSITIONS], tl.float32)
    of_g = tl.zeros([POSITIONS], tl.float32)
    for first in range(0, positions, POSITIONS):
        at = first + tl.arange(0, POSITIONS)
        there, row = at < positions, start + at
        dphi = _load(projected, 2 * rows + row, there) * of_pair
        dg = _load(projected, rows + row, there) * of_pair
        tl.store(gradients + rows + row, dphi, mask=there)
        tl.store(gradients + 2 * rows + row, dg, mask=there)
        of_phi += dphi
        of_g += dg
    tl.store(totals + image, tl.sum(total, 0))
    tl.store(totals + images + image, tl.sum(of_phi, 0))
    tl.store(totals + 2 * images + image, tl.sum(of_g, 0))


@kernel(do_not_specialize=["rows", "each"])
def project_gradient(
    dy, dy_more, x, gradients, weight, dx, sums, rows, channels, each,
    MORE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient of x, and sums over rows of x times the gradients of θ, φ and g,
    (3, parts, C)."""
    part = tl.program_id(0)
    column = tl.arange(0, COLUMNS)
    inside = column < channels
    theta = _load(weight, column, inside)
    phi = _load(weight, channels + column, inside)
    g = _load(weight, 2 * channels + column, inside)
    of_theta = tl.zeros([ROWS, COLUMNS], tl.float32)
    of_phi = tl.zeros([ROWS, COLUMNS], tl.float32)
    of_g = tl.zeros([ROWS, COLUMNS], tl.float32)
    start = part * each
    for first in range(start, min(start + each, rows), ROWS):
        at, there = _tile(first, column, rows, channels, ROWS, COLUMNS)
        row = first + tl.arange(0, ROWS)
        dtheta = _load(gradients, row, row < rows)[:, None]
        dphi = _load(gradients, rows + row, row < rows)[:, None]
        dg = _load(gradients, 2 * rows + row, row < rows)[:, None]
        value = _load(dy, at, there)
        if MORE:
            value += _load(dy_more, at, there)
        value += dtheta * theta[None, :] + dphi * phi[None, :] + dg * g[None, :]
        tl.store(dx + at, value.to(dx.dtype.element_ty), mask=there)
        here = _load(x, at, there)
        of_theta += dtheta * here
        of_phi += dphi * here
        of_g += dg * here
    into, next_sum = sums + part * channels + column, tl.num_programs(0) * channels
    tl.store(into, tl.sum(of_theta, 0), mask=inside)
    tl.store(into + next_sum, tl.sum(of_phi, 0), mask=inside)
    tl.store(into + 2 * next_sum, tl.sum(of_g, 0), mask=inside)


@kernel(do_not_specialize=["parts", "images"])
def add_project_gradient(
    sums, totals, dweight, dbias, parts, channels, images,
    PARTS: tl.constexpr, COLUMNS: tl.constexpr, IMAGES: tl.constexpr,
):  # fmt: skip
    """Gradients of the projections' weights (3, C) and biases, of one projection each program of
    the grid's second side."""
    which = tl.program_id(1)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    value = _sum_parts(sums + which * parts * channels, parts, column, channels, PARTS)
    tl.store(dweight + which * channels + column, value, mask=column < channels)
    if tl.program_id(0) == 0:
        total = tl.zeros([IMAGES], tl.float32)
        for first in range(0, images, IMAGES):
            image = first + tl.arange(0, IMAGES)
            total += _load(totals, which * images + image, image < images)
        tl.store(dbias + which, tl.sum(total, 0))


# Pooling ------------------------------------------------------------------------------------------


@kernel(do_not_specialize=["positions"])
def pool(
    x, y, positions, channels,
    CUBED: tl.constexpr, SIGNED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Mean over the positions of an image, (B, C); with CUBED, the generalised mean."""
    image = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    x += image.to(tl.int64) * positions * channels
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, positions, ROWS):
        at, there = _tile(first, column, positions, channels, ROWS, COLUMNS)
        value = _load(x, at, there)
        if SIGNED:
            value = tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL)
        if CUBED:
            value = value * value * value
        total += value
    mean = tl.sum(total, 0) / positions
    if CUBED:
        mean = tl.exp2(tl.log2(mean + 1e-12) / 3.0)
    tl.store(y + image * channels + column, mean, mask=column < channels)


@kernel(do_not_specialize=["positions"])
def pool_gradient(
    dy, y, x, dx, positions, channels,
    CUBED: tl.constexpr, SIGNED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient of the pooled map, dy·x² / (N·y²) or dy / N."""
    image = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < channels
    factor = _load(dy, image * channels + column, inside) / positions
    if CUBED:
        mean = tl.load(y + image * channels + column, mask=inside, other=1.0)
        factor = factor / (mean * mean)
    before = image.to(tl.int64) * positions * channels
    for first in range(0, positions, ROWS):
        at, there = _tile(first, column, positions, channels, ROWS, COLUMNS)
        value = tl.zeros([ROWS, COLUMNS], tl.float32) + factor[None, :]
        if CUBED:
            here = _load(x, before + at, there)
            if SIGNED:
                here = tl.maximum(here, 0.0)
            value = value * here * here
        tl.store(dx + before + at, value.to(dx.dtype.element_ty), mask=there)
