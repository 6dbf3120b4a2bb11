"""The nearest neighbours of every image among all, for re-ranking.

A product of all images with each other is symmetric, so a panel of rows is multiplied only by the
rows from its own first one on; what it says of later images is handed to them. Panels are as high
as memory allows: after each product the library's threads wait for the next one a while, and
would be in our way often.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from vireid.evaluation.compiled import compiled
from vireid.evaluation.products import product
from vireid.types import InputError

_PANEL_BYTES = 512 * 2**20
_BLOCK = 64
"""Similarities that are looked at together: few blocks hold a neighbour."""


class Near(NamedTuple):
    """The nearest neighbours of N images.

    Attributes:
        rows: (N, K) int64, nearest first; with the image itself.
        apart: (N, K) float32 their distances, as shares of the row's largest.
        largest: (N,) float32 the largest distance of each row.
    """

    rows: np.ndarray
    apart: np.ndarray
    largest: np.ndarray


def in_threads(work: Callable[[slice], None], total: int, most: int = 256) -> None:
    """Call `work` on slices of range(total), as many at once as torch has threads."""
    threads = torch.get_num_threads()
    size = max(1, min(most, -(-total // threads)))
    parts = [slice(at, min(at + size, total)) for at in range(0, total, size)]
    if threads == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


def unit_rows(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """(Q + G, D) float32: all rows in one array, each of length 1.

    Raises:
        InputError: a row that is zero or not finite.
    """
    joint = np.empty((len(query) + len(gallery), query.shape[1]), np.float32)
    bad = []

    def work(part: slice) -> None:
        rows = joint[part]
        inside = slice(part.start, min(part.stop, len(query)))
        if part.start < len(query):
            rows[: inside.stop - inside.start] = query[inside]
        if part.stop > len(query):
            first = max(part.start, len(query))
            rows[first - part.start :] = gallery[first - len(query) : part.stop - len(query)]
        length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        if not np.isfinite(length).all() or not length.all():
            bad.append(part)
        else:
            rows /= length

    in_threads(work, len(joint), most=1024)
    if bad:
        raise without_direction()
    return joint


def without_direction() -> InputError:
    return InputError(
        "Some embeddings are zero or hold NaN or infinite values, so they have no direction. "
        "A network whose training diverged gives such vectors."
    )


def neighbours(vectors: np.ndarray, num_queries: int, count: int) -> tuple[Near, np.ndarray]:
    """The `count` nearest neighbours of each row, and the distances (Q, G) of queries to gallery
    images as shares of each query's largest; of two at the same distance the earlier row first."""
    total = len(vectors)
    count = min(count, total)
    best = np.full((total, count), -np.inf, np.float32)
    index = np.zeros((total, count), np.int64)
    limit = np.full(total, -np.inf, np.float32)  # the last of `best`: what has to be beaten
    smallest = np.full(total, np.inf, np.float32)
    distance = np.empty((num_queries, total - num_queries), np.float32)
    height = max(1, min(total, _PANEL_BYTES // (4 * total)))
    memory = np.empty(height * total, np.float32)
    for at in range(0, total, height):
        stop = min(at + height, total)
        cosine = memory[: (stop - at) * (total - at)].reshape(stop - at, total - at)
        product(vectors[at:stop], vectors[at:], out=cosine)

        def along(rows: slice, cosine: np.ndarray = cosine, at: int = at) -> None:
            _take_along(cosine, at, rows.start, rows.stop, best, index, limit, smallest)
            _distances(cosine, at, rows.start, rows.stop, smallest, distance, num_queries)

        def across(later: slice, cosine: np.ndarray = cosine, at: int = at) -> None:
            _take_across(
                cosine, at, len(cosine) + later.start, len(cosine) + later.stop, best, index,
                limit, smallest,
            )  # fmt: skip

        in_threads(along, stop - at)
        in_threads(across, total - stop, most=total)
    # identical vectors only: every distance is 0, and 0 / 1 keeps it so
    largest = (2 - 2 * smallest) ** 2
    largest[largest == 0] = 1
    apart = (2 - 2 * best) ** 2 / largest[:, None]
    return Near(index, apart, largest), distance


@compiled
def _insert(value, row, image, best, index, limit):  # pragma: no cover - compiled
    at = best.shape[1] - 1
    while at > 0 and best[row, at - 1] < value:
        best[row, at] = best[row, at - 1]
        index[row, at] = index[row, at - 1]
        at -= 1
    best[row, at] = value
    index[row, at] = image
    limit[row] = best[row, best.shape[1] - 1]


@compiled(fastmath={"nnan", "nsz"})
def _extremes(values):  # pragma: no cover - compiled
    """The smallest and the largest one; a loop that the compiler makes wide."""
    least = most = values[0]
    for j in range(len(values)):
        least = min(least, values[j])
        most = max(most, values[j])
    return least, most


@compiled(fastmath={"nnan", "nsz"})
def _lower(values, smallest):  # pragma: no cover - compiled
    for j in range(len(values)):
        smallest[j] = min(smallest[j], values[j])


@compiled(fastmath={"nnan", "nsz"})
def _farthest_above(values, limit):  # pragma: no cover - compiled
    """By how much one of `values` is above its limit at most."""
    most = values[0] - limit[0]
    for j in range(len(values)):
        most = max(most, values[j] - limit[j])
    return most


@compiled
def _take_along(
    cosine, first, start, stop, best, index, limit, smallest
):  # pragma: no cover - compiled
    """Each of the panel's images takes its neighbours among those from `first` on."""
    one = np.float32(1)
    columns = cosine.shape[1]
    for r in range(start, stop):
        row = first + r
        for at in range(0, columns, _BLOCK):
            end = min(at + _BLOCK, columns)
            least, most = _extremes(cosine[r, at:end])
            smallest[row] = min(smallest[row], least)
            if min(most, one) > limit[row]:
                for j in range(at, end):
                    value = min(cosine[r, j], one)
                    if value > limit[row]:
                        _insert(value, row, first + j, best, index, limit)


@compiled
def _take_across(
    cosine, first, start, stop, best, index, limit, smallest
):  # pragma: no cover - compiled
    """Images behind the panel, its columns `start` to `stop`, take neighbours among the panel's."""
    one = np.float32(1)
    for r in range(cosine.shape[0]):
        _lower(cosine[r, start:stop], smallest[first + start : first + stop])
        for at in range(start, stop, _BLOCK):
            end = min(at + _BLOCK, stop)
            if _farthest_above(cosine[r, at:end], limit[first + at : first + end]) <= 0:
                continue
            for j in range(at, end):
                value = min(cosine[r, j], one)
                if value > limit[first + j]:
                    _insert(value, first + j, first + r, best, index, limit)


@compiled
def _distances(
    cosine, first, start, stop, smallest, distance, num_queries
):  # pragma: no cover - compiled
    for r in range(start, min(stop, num_queries - first)):
        largest = np.float32((2 - 2 * smallest[first + r]) ** 2 or 1.0)
        for g in range(distance.shape[1]):
            distance[first + r, g] = (2 - 2 * cosine[r, num_queries - first + g]) ** 2 / largest


def neighbours_on_device(
    vectors: torch.Tensor, num_queries: int, count: int
) -> tuple[Near, np.ndarray]:
    """As `neighbours`, on the device of `vectors`."""
    if not torch.isfinite(vectors).all() or (vectors == 0).all(1).any():
        raise without_direction()
    parts: list[tuple[torch.Tensor, ...]] = []
    distance = []
    step = max(1, _PANEL_BYTES // (16 * len(vectors)))
    for at in range(0, len(vectors), step):
        apart = (2 - 2 * (vectors[at : at + step] @ vectors.T)).clamp(min=0).square()
        largest = apart.amax(1)
        largest = torch.where(largest > 0, largest, 1)
        apart /= largest[:, None]
        values, order = apart.sort(dim=1, stable=True)
        parts.append((order[:, :count].cpu(), values[:, :count].cpu(), largest.cpu()))
        distance.append(apart[: max(0, num_queries - at), num_queries:].cpu())
    near = Near(*(torch.cat(column).numpy() for column in zip(*parts)))
    return near, torch.cat(distance).numpy()
