"""CMC, mean average precision and mean inverse negative penalty of a cross-modality search.

Pure functions on NumPy arrays or torch tensors, on the processor or a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vireid.data.facts import Rule
from vireid.data.registry import DEFAULT_DATASET, rule_named
from vireid.evaluation.products import product
from vireid.evaluation.ranking import Ranks, Task, join, rank, rank_on_device
from vireid.types import InputError

Array = np.ndarray | torch.Tensor
Labels = np.ndarray | torch.Tensor | Sequence[int]

_CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The quality of one search. Shares are fractions from 0 to 1.

    Attributes:
        cmc: (max_rank,) float64; entry k is the share of queries whose first match has rank at
            most k + 1.
        mean_ap: mean of the average precision.
        mean_inp: mean of matches / rank of the last match.
        num_queries: queries that count, those with at least one match.
        num_without_match: queries without one; they don't count anywhere.
        first, ap, inp, matches, kept: one value a query, see `vireid.evaluation.ranking.Ranks`.
    """

    cmc: np.ndarray
    mean_ap: float
    mean_inp: float
    num_queries: int
    num_without_match: int
    first: np.ndarray
    ap: np.ndarray
    inp: np.ndarray
    matches: np.ndarray
    kept: np.ndarray

    @classmethod
    def of(cls, ranks: Ranks, max_rank: int) -> Scores:
        """Means over the queries that have a match.

        Raises:
            InputError: no query has one.
        """
        valid = ranks.first > 0
        count = int(valid.sum())
        if count == 0:
            raise InputError(
                f"None of the {len(valid)} queries has a matching image in the gallery, so there "
                "is nothing to measure. Check that query and gallery hold the same identities."
            )
        within = np.bincount(np.minimum(ranks.first[valid], max_rank + 1), minlength=max_rank + 2)
        return cls(
            cmc=np.cumsum(within[1 : max_rank + 1]) / count,
            mean_ap=float(ranks.ap[valid].mean()),
            mean_inp=float(ranks.inp[valid].mean()),
            num_queries=count,
            num_without_match=len(valid) - count,
            **ranks._asdict(),
        )

    @property
    def has_match(self) -> np.ndarray:
        """(Q,) bool: the queries that count."""
        return self.first > 0

    def at(self, k: int) -> float:
        """Rank-k accuracy: the share of queries with a match among the first k."""
        return float(self.cmc[k - 1])


def score(
    similarity: Array,
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels | None = None,
    gallery_camids: Labels | None = None,
    *,
    rule: str | Rule = DEFAULT_DATASET,
    max_rank: int = 20,
) -> Scores:
    """Score a search by the rule of a data set.

    Of two gallery images with the same similarity, the one with the smaller index is first.
    A distance is scored as its negative.

    Args:
        similarity: (Q, G), larger is closer; NumPy or torch, any float type, any device. It is
            read where it is, row by row; nothing of its size is allocated on the processor.
        query_pids, gallery_pids: (Q,), (G,) identities; those below 0 are nobody, who has no
            match: such gallery images only stand in the way.
        query_camids, gallery_camids: camera numbers as the data set counts, from 1; a rule
            that skips nothing ignores them, the others need them.
        rule: the name of the data set whose rule it is, or a `vireid.data.Rule`.
        max_rank: length of the CMC curve; a gallery with fewer identities is fine.

    Raises:
        InputError: shapes that don't fit, values that are not finite, no such rule, missing
            camera numbers, or no query with a match.

    Source: the evaluation code of the SYSU-MM01 and RegDB baselines (AGW, MCLNet) and of LLCM;
    INP: Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021.
    """
    _need_matrix("similarity", similarity)
    task = _task(
        similarity.shape, query_pids, gallery_pids, query_camids, gallery_camids, rule, max_rank
    )
    if isinstance(similarity, torch.Tensor):
        similarity = similarity.detach()
        if similarity.device.type != "cpu":
            step = max(1, _CHUNK_BYTES // (16 * similarity.shape[1]))
            parts = [
                rank_on_device(similarity[at : at + step], task, at)
                for at in range(0, len(similarity), step)
            ]
            return Scores.of(join(parts), max_rank)
        similarity = _as_numpy(similarity)
    return Scores.of(rank(similarity, task), max_rank)


def score_embeddings(
    query: Array,
    gallery: Array,
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels | None = None,
    gallery_camids: Labels | None = None,
    *,
    rule: str | Rule = DEFAULT_DATASET,
    max_rank: int = 20,
    chunk_bytes: int = _CHUNK_BYTES,
) -> Scores:
    """As `score` of `query @ gallery.T`, for galleries whose similarity does not fit in memory.

    Queries are taken in chunks; beside the inputs, about `chunk_bytes` are needed.

    Args:
        query: (Q, D); gallery: (G, D): rows of length 1, float16 or float32, memory-mapped
            files included; products are taken in float32.
        chunk_bytes: size of the part of the similarity that exists at any time.

    Raises:
        InputError: as `score`; different D.
    """
    _need_matrix("query", query)
    _need_matrix("gallery", gallery)
    if query.shape[1] != gallery.shape[1]:
        raise InputError(
            f"The query embeddings have {query.shape[1]} dimensions and the gallery's "
            f"{gallery.shape[1]}; they have to come from the same network."
        )
    task = _task(
        (len(query), len(gallery)),
        query_pids,
        gallery_pids,
        query_camids,
        gallery_camids,
        rule,
        max_rank,
    )
    if isinstance(query, torch.Tensor) and query.device.type != "cpu":
        on_device = torch.as_tensor(gallery).to(query.device).float()
        step = max(1, chunk_bytes // (16 * len(on_device)))
        return Scores.of(
            join(
                [
                    rank_on_device(query[at : at + step].detach().float() @ on_device.T, task, at)
                    for at in range(0, len(query), step)
                ]
            ),
            max_rank,
        )
    query, gallery = _as_numpy(query), _as_numpy(gallery)
    rows = int(np.clip(chunk_bytes // (4 * len(gallery)), 1, len(query)))
    columns = max(1, min(len(gallery), chunk_bytes // (4 * gallery.shape[1])))
    block = np.empty((rows, len(gallery)), np.float32)
    parts = []
    for at in range(0, len(query), rows):
        chunk = query[at : at + rows].astype(np.float32, copy=False)
        part = block[: len(chunk)]
        for low in range(0, len(gallery), columns):
            # float16 becomes float32 a block at a time, so that no second gallery exists
            product(chunk, gallery[low : low + columns], out=part[:, low : low + columns])
        parts.append(rank(part, task, at))
    return Scores.of(join(parts), max_rank)


def chance(scores: Scores) -> dict[str, float]:
    """Expected Rank-1 and mean average precision of a random order of the same galleries.

    With N gallery images of which M match, Rank-1 is M / N, and a match stands at each rank i
    with probability M / N and has (i - 1)(M - 1) / (N - 1) other matches before it, so
    E[AP] = ((N - M) / (N - 1) · H_N + N (M - 1) / (N - 1)) / N with H_N the N-th harmonic number.
    """
    valid = scores.has_match
    m = scores.matches[valid].astype(np.float64)
    n = scores.kept[valid]
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n.max() + 1))])[n]
    rest = np.maximum(n - 1, 1)
    ap = ((n - m) / rest * harmonic + n * (m - 1) / rest) / n
    return {"rank1": float((m / n).mean()), "mean_ap": float(np.where(n == 1, 1.0, ap).mean())}


def _task(
    shape: Sequence[int],
    query_pids: Labels,
    gallery_pids: Labels,
    query_camids: Labels | None,
    gallery_camids: Labels | None,
    rule: str | Rule,
    max_rank: int,
) -> Task:
    rule = rule_named(rule)
    if max_rank < 1:
        raise InputError(f"max_rank is {max_rank}; at least 1 was expected.")
    queries, images = shape
    if queries == 0 or images == 0:
        raise InputError(
            f"There are {queries} queries and {images} gallery images; at least one of each is "
            "needed."
        )
    if not rule.needs_cameras:
        query_camids = gallery_camids = None
    elif query_camids is None or gallery_camids is None:
        raise InputError(
            f"The rule ({rule}) skips gallery images by their camera, and camera numbers were not "
            "given. Give `query_camids` and `gallery_camids`, or a rule that skips nothing."
        )
    return Task.of(
        _labels("query_pids", query_pids, queries, "query"),
        _labels("gallery_pids", gallery_pids, images, "gallery image"),
        None if query_camids is None else _labels("query_camids", query_camids, queries, "query"),
        None
        if gallery_camids is None
        else _labels("gallery_camids", gallery_camids, images, "gallery image"),
        rule,
    )


def _need_matrix(name: str, array: Any) -> None:
    if not isinstance(array, (np.ndarray, torch.Tensor)) or array.ndim != 2:
        shape = tuple(getattr(array, "shape", ())) or type(array).__name__
        raise InputError(
            f"{name} is {shape}; a two-dimensional NumPy array or torch tensor was expected."
        )
    floats = (
        array.is_floating_point()
        if isinstance(array, torch.Tensor)
        else np.issubdtype(array.dtype, np.floating)
    )
    if not floats:
        raise InputError(f"{name} holds {array.dtype}; floating-point numbers were expected.")


def _labels(name: str, values: Labels, length: int, what: str) -> np.ndarray:
    array = _as_numpy(values) if isinstance(values, torch.Tensor) else np.asarray(values)
    if array.shape != (length,):
        raise InputError(
            f"{name} has shape {array.shape}; one number for each {what} was expected, ({length},)."
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} holds {array.dtype}; whole numbers were expected.")
    return array.astype(np.int64)


def _as_numpy(array: Array) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    return array
