"""Slow reference: the evaluation rules and re-ranking, one query at a time, in plain words.

Written from the rules' description; nothing of the library is used. The benchmark measures the
library against these loops.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

COLLAPSE = {"sysu": True, "llcm": True, "regdb": False}


def score_by_loop(
    similarity: np.ndarray,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    query_camids: np.ndarray,
    gallery_camids: np.ndarray,
    rule: str,
    max_rank: int = 20,
) -> dict:
    """Every metric of a report by its key there, and the CMC, as a loop over queries, each with
    its whole sorted gallery."""
    order_of_all = np.argsort(-similarity, axis=1, kind="stable")
    curves, precisions, penalties = [], [], []
    for q in range(len(query_pids)):
        order = order_of_all[q]
        pids, camids = gallery_pids[order], gallery_camids[order]
        if rule == "sysu":
            skip = (query_camids[q] == 3) & (camids == 2)
        elif rule == "llcm":
            skip = (pids == query_pids[q]) & (camids == query_camids[q])
        else:
            skip = np.zeros(len(pids), bool)
        pids = pids[~skip]
        match = pids == query_pids[q]
        if not match.any():
            continue
        listed = pids
        if COLLAPSE[rule]:
            _, places = np.unique(pids, return_index=True)
            listed = np.array([pids[place] for place in sorted(places)])
        first = int(np.flatnonzero(listed == query_pids[q])[0])
        curve = np.zeros(max_rank)
        curve[first:] = 1
        curves.append(curve)
        precision = [hits / (i + 1) for i, hits in enumerate(match.cumsum())]
        precisions.append(float((np.array(precision) * match).sum() / match.sum()))
        last = np.flatnonzero(match)[-1]
        penalties.append(precision[last])
    cmc = np.mean(curves, axis=0)
    return {
        "cmc": cmc,
        **{f"rank{k}": cmc[k - 1] for k in (1, 5, 10, 20)},
        "mean_ap": float(np.mean(precisions)),
        "mean_inp": float(np.mean(penalties)),
        "num_queries": len(curves),
    }


def rerank_by_loop(
    query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> np.ndarray:
    """k-reciprocal re-ranking with dense matrices and loops over images."""
    vectors = np.concatenate([query, gallery])
    total, num_queries = len(vectors), len(query)
    distance = ((2 - 2 * vectors @ vectors.T) ** 2).astype(np.float32)
    distance = (distance / distance.max(axis=0)).T
    order = np.argsort(distance, axis=1)

    def reciprocal(i: int, k: int) -> np.ndarray:
        near = order[i, : k + 1]
        return near[(order[near, : k + 1] == i).any(axis=1)]

    encoding = np.zeros_like(distance)
    for i in range(total):
        mutual = reciprocal(i, k1)
        columns = mutual
        for j in mutual:
            others = reciprocal(j, int(np.around(k1 / 2)))
            if len(np.intersect1d(others, mutual)) > 2 / 3 * len(others):
                columns = np.append(columns, others)
        columns = np.unique(columns)
        weights = np.exp(-distance[i, columns])
        encoding[i, columns] = weights / weights.sum()
    if k2 > 1:
        averaged = np.zeros_like(encoding)
        for i in range(total):
            averaged[i] = np.mean(encoding[order[i, :k2]], axis=0)
        encoding = averaged
    having = [np.flatnonzero(encoding[:, j]) for j in range(total)]
    out = np.empty((num_queries, total), np.float32)
    for i in range(num_queries):
        common = np.zeros(total, np.float32)
        for j in np.flatnonzero(encoding[i]):
            common[having[j]] += np.minimum(encoding[i, j], encoding[having[j], j])
        out[i] = (1 - common / (2 - common)) * (1 - weight) + distance[i] * weight
    return out[:, num_queries:]


Listed = list[tuple[str, int, int]]  # path, pid, camid


def regdb_trial(root: Path, trial: int) -> dict[str, Listed]:
    """Test images of one RegDB trial, from its lists; cameras are ignored by the rule."""
    sides = {}
    for kind in ("visible", "thermal"):
        lines = (root / "idx" / f"test_{kind}_{trial}.txt").read_text().split("\n")
        words = [line.split() for line in lines if line]
        sides[kind] = [(path, int(label), 0) for path, label in words]
    return sides


def llcm_trial(root: Path, kind: str, seed: int) -> tuple[Listed, Listed]:
    """All test images of one modality of LLCM, and the gallery drawn from them."""
    ids = sorted(int(word) for word in (root / "idx" / "test_id.txt").read_text().split(","))
    everything, drawn = [], []
    random.seed(seed)
    for pid in ids:
        for camid in range(1, 10):
            folder = root / f"test_{kind}" / f"cam{camid}" / f"{pid:04d}"
            if not folder.is_dir():
                continue
            files = sorted(str(path.relative_to(root)) for path in folder.iterdir())
            everything += [(path, pid, camid) for path in files]
            drawn.append((random.choice(files), pid, camid))
    return everything, drawn
