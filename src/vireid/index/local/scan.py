"""Scans over many rows, split among this machine's cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from vireid.cores import usable_cores
from vireid.index.local import kernels

_MANY = 4  # from so many queries on, widening rows once for all of them is quicker
_SPLIT_BELOW = 2048  # fewer rows than this are not worth a second thread


def best_exact(
    rows: np.ndarray, slots: np.ndarray, queries: np.ndarray, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """The largest dot products of each query with some float16 rows.

    Args:
        rows: (n, D) float16.
        slots: (m,) int32 rows to look at.
        queries: (Q, D) float32.
        top: how many.

    Returns:
        (Q, min(top, m)) float32 dot products, best first, and (Q, min(top, m)) int32 rows;
        equal ones by row.
    """
    kernel = kernels.scan_half_many if len(queries) >= _MANY else kernels.scan_half
    return _split(kernel, rows.view(np.uint16), slots, queries, top, np.float32)


def best_codes(
    codes: np.ndarray, slots: np.ndarray, queries: np.ndarray, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `best_exact`, for (n, d) int8 codes and (Q, d) int16 queries; int32 scores."""
    return _split(kernels.scan_codes, codes, slots, queries, top, np.int32)


def dots(rows: np.ndarray, slots: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(m,) float32 dot products of one query (D,) with the float16 rows `slots`."""
    gathered = np.empty((len(slots), rows.shape[1]), dtype=np.float32)
    kernels.widen(rows.view(np.uint16), slots, gathered)
    return gathered @ query


def _split(
    kernel: Callable, rows: np.ndarray, slots: np.ndarray, queries: np.ndarray, top: int, kind: Any
) -> tuple[np.ndarray, np.ndarray]:
    size = min(top, len(slots))
    queries = np.ascontiguousarray(queries)

    def part(mine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores = np.empty((len(queries), min(size, len(mine))), dtype=kind)
        best = np.empty(scores.shape, dtype=np.int32)
        counts = np.zeros(len(queries), dtype=np.int64)
        if size:
            kernel(rows, mine, queries, scores, best, counts)
        return scores, best, counts

    threads = _threads() if len(slots) > _SPLIT_BELOW else 1
    if threads == 1:
        parts = [part(slots)]
    else:
        # More parts than threads, so that a core that is held up costs little.
        parts = list(_pool().map(part, np.array_split(slots, 4 * threads)))
    scores = np.concatenate([scores for scores, _, _ in parts], axis=1)
    best = np.concatenate([best for _, best, _ in parts], axis=1)
    return sorted_best(scores, best, size)


def sorted_best(scores: np.ndarray, best: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The `size` largest of (Q, m) scores and their rows, best first; equal ones by row."""
    order = np.lexsort((best, -scores.astype(np.float64)), axis=1)[:, :size]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(best, order, axis=1)


_threads = cache(usable_cores)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads(), thread_name_prefix="vireid-scan")
