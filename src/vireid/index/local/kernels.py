"""Compiled scans: dot products with stored rows, and the best of them.

Rows stay as they lie in the memory-mapped files (float16 or 8-bit codes) and are widened in
registers, so a scan reads each stored byte once and is bound by the memory's speed. The
functions release Python's lock; callers split the rows among threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _compiled(function: Callable) -> Callable:
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep compiled code in: compile in each process
        return njit(**options)(function)


@intrinsic
def _half(_context: Any, _bits: Any) -> Any:
    """The float32 whose float16 has these bits (one instruction where the processor has it)."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@_compiled
def _sift(scores, slots, count, score, slot):  # type: ignore[no-untyped-def]
    """Put (score, slot) into a heap of the best `len(scores)`, whose worst is at 0."""
    size = len(scores)
    if count < size:
        i = count
        while i > 0:
            parent = (i - 1) >> 1
            if scores[parent] <= score:
                break
            scores[i] = scores[parent]
            slots[i] = slots[parent]
            i = parent
        scores[i] = score
        slots[i] = slot
        return count + 1
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and scores[child + 1] < scores[child]:
            child += 1
        if scores[child] >= score:
            break
        scores[i] = scores[child]
        slots[i] = slots[child]
        i = child
    scores[i] = score
    slots[i] = slot
    return count


@_compiled
def _keep(values, slots, scores, best, count):  # type: ignore[no-untyped-def]
    """Put those of some values that are good enough into a heap; returns its new count."""
    size = len(scores)
    for i in range(len(slots)):
        if count < size or values[i] > scores[0]:
            count = _sift(scores, best, count, values[i], slots[i])
    return count


_BLOCK = 256  # rows that stay in the second-level cache while all queries pass over them


@_compiled
def scan_half(rows, slots, queries, scores, best, counts):  # type: ignore[no-untyped-def]
    """The best of some float16 rows for each query.

    Args:
        rows: (n, D) uint16, the bits of float16 vectors.
        slots: (m,) int32 rows to look at.
        queries: (Q, D) float32.
        scores: (Q, k) float32, out: a heap of the best dot products.
        best: (Q, k) int32, out: their rows.
        counts: (Q,) int64, in and out: filled entries of each heap.
    """
    dim = queries.shape[1]
    block = np.empty(_BLOCK, dtype=np.float32)
    for start in range(0, len(slots), _BLOCK):
        stop = min(start + _BLOCK, len(slots))
        for q in range(len(queries)):
            # Two loops, and an unsigned row: else the compiler leaves the sum unvectorised.
            query = queries[q]
            for i in range(start, stop):
                row = np.uint64(slots[i])
                total = np.float32(0)
                for j in range(dim):
                    total += _half(rows[row, j]) * query[j]  # type: ignore[call-arg]
                block[i - start] = total
            counts[q] = _keep(
                block[: stop - start], slots[start:stop], scores[q], best[q], counts[q]
            )


_ROWS, _PART = 32, 1024  # a tile: so many rows, so many of their dimensions, widened


@_compiled
def _add_tile(x, y, a, b, c, d, out):  # type: ignore[no-untyped-def]
    """Add the dot products of two rows with four queries to `out` (4, 2)."""
    xa = xb = xc = xd = np.float32(0)
    ya = yb = yc = yd = np.float32(0)
    for j in range(len(a)):
        xa += x[j] * a[j]
        xb += x[j] * b[j]
        xc += x[j] * c[j]
        xd += x[j] * d[j]
        ya += y[j] * a[j]
        yb += y[j] * b[j]
        yc += y[j] * c[j]
        yd += y[j] * d[j]
    out[0, 0] += xa
    out[1, 0] += xb
    out[2, 0] += xc
    out[3, 0] += xd
    out[0, 1] += ya
    out[1, 1] += yb
    out[2, 1] += yc
    out[3, 1] += yd


@_compiled
def scan_half_many(rows, slots, queries, scores, best, counts):  # type: ignore[no-untyped-def]
    """As `scan_half`, quicker for many queries: rows are widened once for all of them.

    Not a library's matrix product, whose threads wait for each other on a busy machine.
    """
    dim = queries.shape[1]
    last = len(queries) - 1
    block = np.empty(((len(queries) + 3) // 4 * 4, _ROWS), dtype=np.float32)
    wide = np.zeros((_ROWS, min(_PART, dim)), dtype=np.float32)
    for start in range(0, len(slots), _ROWS):
        stop = min(start + _ROWS, len(slots))
        block[:] = 0
        for first in range(0, dim, _PART):
            end = min(first + _PART, dim)
            for i in range(start, stop):
                row = rows[np.uint64(slots[i]), first:end]
                out = wide[i - start, : end - first]
                for j in range(len(out)):
                    out[j] = _half(row[j])  # type: ignore[call-arg]
            for q in range(0, len(queries), 4):
                a = queries[q, first:end]
                b = queries[min(q + 1, last), first:end]
                c = queries[min(q + 2, last), first:end]
                d = queries[min(q + 3, last), first:end]
                for i in range(0, _ROWS, 2):
                    x, y = wide[i, : end - first], wide[i + 1, : end - first]
                    _add_tile(x, y, a, b, c, d, block[q : q + 4, i : i + 2])
        for q in range(len(queries)):
            counts[q] = _keep(
                block[q, : stop - start], slots[start:stop], scores[q], best[q], counts[q]
            )


@_compiled
def scan_codes(codes, slots, queries, scores, best, counts):  # type: ignore[no-untyped-def]
    """As `scan_half`, for (n, d) int8 codes, (Q, d) int16 queries and (Q, k) int32 scores."""
    dim = queries.shape[1]
    block = np.empty(_BLOCK, dtype=np.int32)
    for start in range(0, len(slots), _BLOCK):
        stop = min(start + _BLOCK, len(slots))
        for q in range(len(queries)):
            # Two loops, and an unsigned row: else the compiler leaves the sum unvectorised.
            query = queries[q]
            for i in range(start, stop):
                row = np.uint64(slots[i])
                total = np.int32(0)
                for j in range(dim):
                    total += np.int32(codes[row, j]) * np.int32(query[j])
                block[i - start] = total
            counts[q] = _keep(
                block[: stop - start], slots[start:stop], scores[q], best[q], counts[q]
            )


@_compiled
def widen(rows, slots, out):  # type: ignore[no-untyped-def]
    """Gather float16 `rows[slots]` (uint16 bits) into `out` (m, D) float32."""
    dim = rows.shape[1]
    for i in range(len(slots)):
        slot = slots[i]
        for j in range(dim):
            out[i, j] = _half(rows[slot, j])  # type: ignore[call-arg]
