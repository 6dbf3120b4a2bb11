"""Where the matches of each query stand in its ranking, without sorting the gallery.

Average precision, inverse negative penalty and the CMC curve need the ranks of the matching
gallery images only. The rank of one match is one plus the number of gallery images before it,
and counting those is a pass over a row that a processor does many lanes at a time; a sort of the
whole row is not needed. On a GPU sorting is cheap, and `rank_on_device` sorts.

Ties: of two gallery images with the same similarity, the one with the smaller index is first.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from vireid.data.facts import Rule
from vireid.evaluation.compiled import compiled
from vireid.types import InputError

_NOT_FINITE = (
    "The similarity holds NaN or infinite values, so no ranking exists. Look at the embeddings: "
    "a network whose training diverged gives such vectors."
)


class Ranks(NamedTuple):
    """What a ranking says of each of N queries.

    Attributes:
        first: (N,) int64 rank of the first match, from 1; 0 without a match. Ranks count
            distinct identities or images, as the rule says.
        ap: (N,) float64 average precision; NaN without a match.
        inp: (N,) float64 matches divided by the rank of the last match; NaN without a match.
        matches: (N,) int64 matching gallery images that are not skipped.
        kept: (N,) int64 gallery images that are not skipped.
    """

    first: np.ndarray
    ap: np.ndarray
    inp: np.ndarray
    matches: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True)
class Task:
    """The labels of one search, sorted once for all chunks of queries.

    Attributes:
        rule: which gallery images are skipped, and what ranks count.
        query_label: (Q,) dense gallery label of each query's identity; -1 if it has none, or is
            nobody (pid below 0).
        query_camid: (Q,); gallery_camid: (G,).
        gallery_label: (G,) dense label of each gallery image's identity; nobody's images have one
            each, which no query has.
        by_label: (G,) gallery indices grouped by label, ascending in each group.
        starts: (labels + 1,) where each group starts in `by_label`.
    """

    rule: Rule
    query_label: np.ndarray
    query_camid: np.ndarray
    gallery_label: np.ndarray
    gallery_camid: np.ndarray
    by_label: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(
        cls,
        query_pids: np.ndarray,
        gallery_pids: np.ndarray,
        query_camids: np.ndarray | None,
        gallery_camids: np.ndarray | None,
        rule: Rule,
    ) -> Task:
        pids, label = np.unique(gallery_pids, return_inverse=True)
        nearest = np.minimum(np.searchsorted(pids, query_pids), len(pids) - 1)
        known = (pids[nearest] == query_pids) & (query_pids >= 0)
        query_label = np.where(known, nearest, -1)
        nobody = gallery_pids < 0
        label[nobody] = len(pids) + np.arange(nobody.sum())
        labels = len(pids) + int(nobody.sum())
        if query_camids is None or gallery_camids is None:
            query_camids = np.zeros(len(query_pids), np.int64)
            gallery_camids = np.zeros(len(gallery_pids), np.int64)
        return cls(
            rule=rule,
            query_label=query_label.astype(np.int64),
            query_camid=query_camids.astype(np.int64),
            gallery_label=label.astype(np.int64),
            gallery_camid=gallery_camids.astype(np.int64),
            by_label=np.argsort(label, kind="stable").astype(np.int64),
            starts=np.concatenate([[0], np.cumsum(np.bincount(label, minlength=labels))]),
        )


def rank(similarity: np.ndarray, task: Task, start: int = 0) -> Ranks:
    """Rank the rows of `similarity` (n, G), which are queries [start, start + n) of `task`, on
    the processor, with as many threads as torch uses.

    Raises:
        InputError: a value is NaN or infinite.
    """
    n = len(similarity)
    out = Ranks(
        np.zeros(n, np.int64),
        np.full(n, np.nan),
        np.full(n, np.nan),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
    )
    threads = torch.get_num_threads()
    pairs = np.array(task.rule.skip_pairs, np.int64).reshape(-1, 2)

    def work(rows: slice) -> int:
        block = similarity[rows]
        if block.dtype not in (np.float32, np.float64):
            block = block.astype(np.float32)
        block = np.ascontiguousarray(block)
        of_task = slice(start + rows.start, start + rows.stop)
        return _rank_rows(
            block,
            task.query_label[of_task],
            task.query_camid[of_task],
            task.gallery_label,
            task.gallery_camid,
            task.by_label,
            task.starts,
            pairs,
            task.rule.skip_same_camera,
            task.rule.collapse_identities,
            *(column[rows] for column in out),
        )

    size = max(1, min(256, -(-n // threads)))
    parts = [slice(at, min(at + size, n)) for at in range(0, n, size)]
    if threads == 1 or len(parts) == 1:
        bad = sum(map(work, parts))
    else:
        with ThreadPoolExecutor(threads) as pool:
            bad = sum(pool.map(work, parts))
    if bad:
        raise InputError(_NOT_FINITE)
    return out


@compiled
def _rank_rows(
    similarity,
    query_label,
    query_camid,
    gallery_label,
    gallery_camid,
    by_label,
    starts,
    skip_pairs,
    skip_same_camera,
    collapse_identities,
    first,
    ap,
    inp,
    matches,
    kept,
):  # pragma: no cover - compiled
    """Fill the columns of `Ranks` for a block of rows; returns how many values are not finite."""
    n, size = similarity.shape
    row = np.empty(size, similarity.dtype)
    seen = np.full(len(starts) - 1, -1, np.int64)
    ranks = np.empty(np.max(starts[1:] - starts[:-1]), np.int64)
    bad = 0
    for q in range(n):
        for g in range(size):
            row[g] = similarity[q, g]
            bad += (row[g] - row[g]) != 0
        label = query_label[q]
        low, high = (0, 0) if label < 0 else (starts[label], starts[label + 1])
        # Skipped images go to minus infinity: before no match, and no match themselves.
        skipped = 0
        for p in range(len(skip_pairs)):
            if skip_pairs[p, 0] == query_camid[q]:
                for g in range(size):
                    if gallery_camid[g] == skip_pairs[p, 1] and row[g] != -np.inf:
                        row[g] = -np.inf
                        skipped += 1
        if skip_same_camera:
            for i in range(low, high):
                at = by_label[i]
                if gallery_camid[at] == query_camid[q] and row[at] != -np.inf:
                    row[at] = -np.inf
                    skipped += 1
        kept[q] = size - skipped
        count = 0
        best = -1
        for i in range(low, high):
            at = by_label[i]
            value = row[at]
            if value == -np.inf:
                continue
            before = 0
            for g in range(at):
                before += row[g] >= value
            for g in range(at + 1, size):
                before += row[g] > value
            if best < 0 or value > row[best]:
                best = at
            slot = count  # insertion keeps the few ranks sorted
            while slot > 0 and ranks[slot - 1] > before + 1:
                ranks[slot] = ranks[slot - 1]
                slot -= 1
            ranks[slot] = before + 1
            count += 1
        matches[q] = count
        if count == 0:
            continue
        total = 0.0
        for i in range(count):
            total += (i + 1) / ranks[i]
        ap[q] = total / count
        inp[q] = count / ranks[count - 1]
        first[q] = ranks[0]
        if collapse_identities and ranks[0] > 1:
            identities = 0
            value = row[best]
            for g in range(size):
                if row[g] > value or (row[g] == value and g < best):
                    other = gallery_label[g]
                    if seen[other] != q:
                        seen[other] = q
                        identities += 1
            first[q] = identities + 1
    return bad


def rank_on_device(similarity: torch.Tensor, task: Task, start: int = 0) -> Ranks:
    """As `rank`, by sorting, on the device that holds `similarity` (n, G).

    Raises:
        InputError: a value is NaN or infinite.
    """
    device = similarity.device
    n, size = similarity.shape
    if not torch.isfinite(similarity).all():
        raise InputError(_NOT_FINITE)

    def on_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    label = on_device(task.query_label[start : start + n])[:, None]
    camid = on_device(task.query_camid[start : start + n])[:, None]
    order = similarity.argsort(dim=1, descending=True, stable=True)
    other = on_device(task.gallery_label)[order]
    other_camid = on_device(task.gallery_camid)[order]
    keep = torch.ones_like(other, dtype=torch.bool)
    for query_camid, gallery_camid in task.rule.skip_pairs:
        keep &= ~((camid == query_camid) & (other_camid == gallery_camid))
    if task.rule.skip_same_camera:
        keep &= ~((other == label) & (other_camid == camid))
    match = keep & (other == label)
    position = keep.cumsum(1)
    hits = match.cumsum(1)
    count = hits[:, -1]
    none = count == 0
    nan = torch.tensor(torch.nan, dtype=torch.float64, device=device)
    ap = torch.where(match, hits.double() / position.clamp(min=1), 0).sum(1) / count.clamp(min=1)
    last = torch.where(match, position, 0).amax(1)
    first = torch.where(match, position, size + 1).amin(1)
    if task.rule.collapse_identities:
        before = keep & (position < first[:, None]) & ~none[:, None]
        identities = torch.zeros(n, len(task.starts) - 1, dtype=torch.int32, device=device)
        identities.scatter_reduce_(1, other, before.int(), "amax")
        first = identities.sum(1) + 1
    columns = (
        torch.where(none, 0, first),
        torch.where(none, nan, ap),
        torch.where(none, nan, count.double() / last.clamp(min=1)),
        count,
        position[:, -1],
    )
    return Ranks(*(column.cpu().numpy() for column in columns))


def join(parts: list[Ranks]) -> Ranks:
    """Chunks of queries, one after the other, as one."""
    return Ranks(*(np.concatenate(column) for column in zip(*parts)))
