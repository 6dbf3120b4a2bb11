"""k-reciprocal re-ranking.

Two images that are among each other's nearest neighbours, and whose neighbours are so too, are
taken to be closer than their distance says. Every image of the joint set of queries and gallery
becomes a sparse vector over its reciprocal neighbours; the Jaccard distance of these vectors is
mixed with the original distance.

Only the nearest neighbours of each image are ever needed, so nothing of size
(Q + G) x (Q + G) is kept: products are taken in panels and everything after them is sparse.

Source: Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding",
CVPR 2017; the original distance is the squared Euclidean distance of unit vectors, squared once
more and divided by each row's largest, as public evaluation code does it.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse

from vireid.evaluation.compiled import compiled
from vireid.evaluation.neighbours import (
    Near,
    in_threads,
    neighbours,
    neighbours_on_device,
    unit_rows,
)
from vireid.types import InputError


def rerank(
    query: np.ndarray | torch.Tensor,
    gallery: np.ndarray | torch.Tensor,
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> np.ndarray | torch.Tensor:
    """Distances after k-reciprocal re-ranking; smaller is closer.

    Of two neighbours at the same distance, the one with the smaller index is first (queries
    before gallery images). On a GPU the products and the neighbours are computed there.

    Args:
        query: (Q, D); gallery: (G, D): NumPy or torch; rows are brought to length 1.
        k1: neighbours that may be reciprocal.
        k2: neighbours over whose vectors each vector is averaged; 1 leaves them as they are.
        weight: share of the original distance in the result, 0 to 1.

    Returns:
        (Q, G) float32 from 0 to 1, of the kind and on the device of `query`.

    Raises:
        InputError: shapes that don't fit, vectors that are zero or not finite, or an option out
            of its range.
    """
    if k1 < 1 or k2 < 1:
        raise InputError(f"k1 and k2 are {k1} and {k2}; each must be at least 1.")
    if not 0 <= weight <= 1:
        raise InputError(f"The weight of the original distance is {weight}; 0 to 1 was expected.")
    for name, array in (("query", query), ("gallery", gallery)):
        if array.ndim != 2 or 0 in array.shape:
            raise InputError(
                f"{name} has shape {tuple(array.shape)}; one row of numbers for each image was "
                "expected."
            )
    if query.shape[1] != gallery.shape[1]:
        raise InputError(
            f"The query embeddings have {query.shape[1]} dimensions and the gallery's "
            f"{gallery.shape[1]}; they have to come from the same network."
        )
    num_queries = len(query)
    if isinstance(query, torch.Tensor) and query.device.type != "cpu":
        joint = torch.cat([query.detach(), torch.as_tensor(gallery).to(query.device)])
        joint = torch.nn.functional.normalize(joint.float(), dim=1)
        near, distance = neighbours_on_device(joint, num_queries, max(k1 + 1, k2))
        vectors = joint.cpu().numpy()
    else:
        vectors = unit_rows(_as_numpy(query), _as_numpy(gallery))
        near, distance = neighbours(vectors, num_queries, max(k1 + 1, k2))
    encoding = _encode(vectors, near, k1)
    if k2 > 1:
        encoding = _average(encoding, near.rows[:, :k2])
    _mix(encoding, num_queries, distance, weight)
    if isinstance(query, torch.Tensor):
        return torch.from_numpy(distance).to(query.device)
    return distance


def _as_numpy(array: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().float().numpy()
    return array.astype(np.float32, copy=False)


def _encode(vectors: np.ndarray, near: Near, k1: int) -> sparse.csr_array:
    """Each row's expanded k-reciprocal neighbours, weighted by exp(-distance), summing to 1."""
    total = len(vectors)
    near_most = np.ascontiguousarray(near.rows[:, : k1 + 1])
    near_half = np.ascontiguousarray(near.rows[:, : int(np.around(k1 / 2)) + 1])
    most, half = np.full_like(near_most, -1), np.full_like(near_half, -1)
    most_count, half_count = np.zeros(total, np.int64), np.zeros(total, np.int64)
    _reciprocal(near_most, most, most_count)
    _reciprocal(near_half, half, half_count)
    widest = int((most_count * (1 + half.shape[1])).max())
    columns = np.empty((total, widest), np.int32)
    values = np.empty((total, widest), np.float32)
    counts = np.zeros(total, np.int64)
    in_threads(
        lambda rows: _expand(
            vectors, *near, most, most_count, half, half_count, rows.start, rows.stop,
            columns, values, counts,
        ),
        total,
        most=1024,
    )  # fmt: skip
    used = np.arange(widest) < counts[:, None]
    starts = np.concatenate([[0], np.cumsum(counts)])
    encoding = sparse.csr_array((values[used], columns[used], starts), shape=(total, total))
    encoding.sort_indices()
    return encoding


@compiled
def _reciprocal(near, out, counts):  # pragma: no cover - compiled
    """The neighbours j of each i, in order, that have i among theirs."""
    rows, count = near.shape
    for i in range(rows):
        for a in range(count):
            j = near[i, a]
            for b in range(count):
                if near[j, b] == i:
                    out[i, counts[i]] = j
                    counts[i] += 1
                    break


@compiled(fastmath={"reassoc", "contract"})
def _dot(a, b):  # pragma: no cover - compiled
    total = a[0] * b[0]
    for d in range(1, len(a)):
        total += a[d] * b[d]
    return total


@compiled
def _expand(
    vectors,
    index,
    apart,
    largest,
    most,
    most_count,
    half,
    half_count,
    start,
    stop,
    columns,
    values,
    counts,
):  # pragma: no cover - compiled
    """A neighbour's own (half as many) reciprocal neighbours join where more than two thirds of
    them are in the set already."""
    member = np.full(len(vectors), -1, np.int64)  # i: in i's own set
    taken = np.full(len(vectors), -1, np.int64)  # i: in i's expanded set
    has_distance = np.full(len(vectors), -1, np.int64)  # i: its distance to i is in `row_apart`
    row_apart = np.empty(len(vectors), np.float32)
    for i in range(start, stop):
        count = 0
        for a in range(most_count[i]):
            member[most[i, a]] = i
            taken[most[i, a]] = i
            columns[i, count] = most[i, a]
            count += 1
        for a in range(most_count[i]):
            j = most[i, a]
            common = 0
            for b in range(half_count[j]):
                common += member[half[j, b]] == i
            if 3 * common > 2 * half_count[j]:
                for b in range(half_count[j]):
                    other = half[j, b]
                    if taken[other] != i:
                        taken[other] = i
                        columns[i, count] = other
                        count += 1
        for a in range(index.shape[1]):
            has_distance[index[i, a]] = i
            row_apart[index[i, a]] = apart[i, a]
        total = np.float32(0)
        for a in range(count):
            j = columns[i, a]
            if has_distance[j] != i:
                row_apart[j] = (2 - 2 * _dot(vectors[i], vectors[j])) ** 2 / largest[i]
            values[i, a] = np.exp(-row_apart[j])
            total += values[i, a]
        for a in range(count):
            values[i, a] /= total
        counts[i] = count


def _average(encoding: sparse.csr_array, near: np.ndarray) -> sparse.csr_array:
    """Each row's mean over the rows of its nearest neighbours."""
    total, count = near.shape
    mean = sparse.csr_array(
        (
            np.full(total * count, 1 / count, np.float32),
            near.ravel().astype(np.int32),
            np.arange(0, total * count + 1, count),
        ),
        shape=(total, total),
    )
    averaged = (mean @ encoding).tocsr()
    averaged.sort_indices()
    return averaged


def _mix(encoding: sparse.csr_array, num_queries: int, distance: np.ndarray, weight: float) -> None:
    """Turn the original distances in `distance` (Q, G) into the final ones, in place."""
    rows = encoding[:num_queries]
    columns = encoding[num_queries:].tocsc()
    in_threads(
        lambda part: _jaccard(
            rows.indptr, rows.indices, rows.data, columns.indptr, columns.indices, columns.data,
            part.start, part.stop, distance, weight,
        ),
        num_queries,
    )  # fmt: skip


@compiled
def _jaccard(
    row_starts, row_columns, row_values, starts, images, values, start, stop, distance, weight
):  # pragma: no cover - compiled
    common = np.empty(distance.shape[1], np.float32)
    one, two = np.float32(1), np.float32(2)  # single precision throughout, as published
    kept = np.float32(weight)
    mixed = np.float32(1 - weight)
    for i in range(start, stop):
        common[:] = 0
        for a in range(row_starts[i], row_starts[i + 1]):
            j, value = row_columns[a], row_values[a]
            for b in range(starts[j], starts[j + 1]):
                common[images[b]] += min(value, values[b])
        for g in range(distance.shape[1]):
            jaccard = one - common[g] / (two - common[g])
            distance[i, g] = jaccard * mixed + distance[i, g] * kept
