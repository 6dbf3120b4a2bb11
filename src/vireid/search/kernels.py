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


_BLOCK = 256  # rows that stay in the second-level cache while all queries pass over them


@_compiled
def scan_half(rows, slots, queries, scores, found, counts):  # type: ignore[no-untyped-def]
    """The best of some float16 rows for each query.

    Args:
        rows: (n, D) uint16, the bits of float16 vectors.
        slots: (m,) int32 rows to look at.
        queries: (Q, D) float32.
        scores: (Q, k) float32, out: a heap of the best dot products.
        found: (Q, k) int32, out: their rows.
        counts: (Q,) int64, in and out: filled entries of each heap.
    """
    size = scores.shape[1]
    dim = queries.shape[1]
    for start in range(0, len(slots), _BLOCK):
        stop = min(start + _BLOCK, len(slots))
        for q in range(len(queries)):
            count = counts[q]
            for i in range(start, stop):
                slot = slots[i]
                total = np.float32(0)
                for j in range(dim):
                    total += _half(rows[slot, j]) * queries[q, j]  # type: ignore[call-arg]
                if count < size or total > scores[q, 0]:
                    count = _sift(scores[q], found[q], count, total, slot)
            counts[q] = count


@_compiled
def scan_codes(codes, slots, queries, scores, found, counts):  # type: ignore[no-untyped-def]
    """As `scan_half`, for (n, d) int8 codes, (Q, d) int16 queries and (Q, k) int32 scores."""
    size = scores.shape[1]
    dim = queries.shape[1]
    for start in range(0, len(slots), _BLOCK):
        stop = min(start + _BLOCK, len(slots))
        for q in range(len(queries)):
            count = counts[q]
            for i in range(start, stop):
                slot = slots[i]
                total = np.int32(0)
                for j in range(dim):
                    total += np.int32(codes[slot, j]) * np.int32(queries[q, j])
                if count < size or total > scores[q, 0]:
                    count = _sift(scores[q], found[q], count, total, slot)
            counts[q] = count


@_compiled
def widen(rows, slots, out):  # type: ignore[no-untyped-def]
    """Gather float16 `rows[slots]` (uint16 bits) into `out` (m, D) float32."""
    dim = rows.shape[1]
    for i in range(len(slots)):
        slot = slots[i]
        for j in range(dim):
            out[i, j] = _half(rows[slot, j])  # type: ignore[call-arg]


@_compiled
def keep_best(block, slots, scores, found, counts):  # type: ignore[no-untyped-def]
    """Put a (Q, m) float32 block of similarities to the rows `slots` into the heaps."""
    size = scores.shape[1]
    for q in range(block.shape[0]):
        count = counts[q]
        for i in range(len(slots)):
            if count < size or block[q, i] > scores[q, 0]:
                count = _sift(scores[q], found[q], count, block[q, i], slots[i])
        counts[q] = count
