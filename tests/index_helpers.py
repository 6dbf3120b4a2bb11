"""Embeddings of nobody, a plain search to compare with, and a script of changes to an index."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vireid.index.base import Index
from vireid.index.entries import Filters
from vireid.index.local.index import LocalIndex
from vireid.index.local.projection import ProjectionOptions
from vireid.types import Embeddings

HASH = "ab" * 32
DIM = 16
PREPROCESSING = {"size": (288, 144), "tta": None}
SMALL = ProjectionOptions(
    exact_bytes=100 * DIM * 2, dims=(4, 8, 16), candidates=(50, 100), sample=500, queries=20
)
"""Makes a projection from 101 vectors of 16 dimensions on."""


def people(count: int, *, first: int = 0, seed: int = 0, dim: int = DIM) -> Embeddings:
    """`count` unit vectors with paths from number `first` on; every third time is unknown."""
    random = np.random.default_rng([seed, first])
    vectors = random.standard_normal((count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    number = np.arange(first, first + count)
    return Embeddings(
        vectors={"embedding": vectors},
        paths=[f"cam{n % 6 + 1}/{n:06d}.jpg" for n in number],
        pids=number % 40 - 1,
        camids=number % 6 + 1,
        modality=(number % 6 >= 4).astype(np.int64),
        times=np.where(number % 3 == 0, np.nan, number * 10.0),
        weights_hash=HASH,
        preprocessing=dict(PREPROCESSING),
    )


def changed(embeddings: Embeddings, **fields: object) -> Embeddings:
    return dataclasses.replace(embeddings, **fields)


def make(folder: Path, **options: object) -> LocalIndex:
    about = {"weights_hash": HASH, "dim": DIM, "embedding": "embedding", "image_roots": (),
             "preprocessing": {}}  # fmt: skip
    return LocalIndex.create(folder, **{**about, **options})


def fitting(embeddings: Embeddings, filters: Filters) -> np.ndarray:
    """(N,) bool, row by row in plain Python."""
    fits = []
    for n in range(len(embeddings)):
        time = embeddings.times[n]
        fits.append(
            (filters.camids is None or embeddings.camids[n] in filters.camids)
            and (filters.pids is None or embeddings.pids[n] in filters.pids)
            and (filters.modality is None or embeddings.modality[n] == filters.modality)
            and (filters.time_from is None or time >= filters.time_from)
            and (filters.time_to is None or time <= filters.time_to)
        )
    return np.array(fits, dtype=bool)


def plain_search(
    embeddings: Embeddings, query: np.ndarray, top: int, filters: Filters | None = None
) -> list[tuple[str, float]]:
    """Paths and similarities, best first, over float16 vectors."""
    vectors = embeddings.embedding.astype(np.float16).astype(np.float64)
    similarity = vectors @ (query / np.linalg.norm(query))
    allowed = np.flatnonzero(fitting(embeddings, filters or Filters()))
    order = allowed[np.argsort(-similarity[allowed], kind="stable")][:top]
    return [(embeddings.paths[n], min(similarity[n], 1.0)) for n in order]


def assert_same_hits(
    index: Index,
    embeddings: Embeddings,
    queries: np.ndarray,
    top: int,
    filters: Filters | None = None,
    exact: bool | None = None,
    atol: float = 2e-6,
) -> None:
    answers = index.search(queries, top=top, filters=filters, exact=exact)
    rows = {path: n for n, path in enumerate(embeddings.paths)}
    for query, hits in zip(queries, answers, strict=True):
        wanted = plain_search(embeddings, query, top, filters)
        assert [hit.path for hit in hits] == [path for path, _ in wanted]
        np.testing.assert_allclose(
            [hit.similarity for hit in hits], [value for _, value in wanted], atol=atol
        )
        for hit in hits:
            n = rows[hit.path]
            assert (hit.camid, hit.pid) == (embeddings.camids[n], embeddings.pids[n])
            assert hit.modality == embeddings.modality[n]
            time = embeddings.times[n]
            assert hit.time == (None if np.isnan(time) else time)


BATCH = 23


def script(length: int = 10_000) -> Iterator[tuple[str, Embeddings | list[str]]]:
    """Changes that a child process makes and its parent can follow."""
    for step in range(length):
        batch = people(BATCH, first=BATCH * (step // 4))
        if step % 4 == 0:
            yield "add", batch
        elif step % 4 == 1:
            older = people(BATCH, first=BATCH * (step // 8))
            yield "update", changed(older, pids=np.full(BATCH, step))
        elif step % 4 == 2:
            yield "remove", batch.paths[:5]
        else:
            yield "compact", []


def apply(state: dict[str, int], change: str, what: Embeddings | list[str]) -> dict[str, int]:
    """path → pid after a change."""
    after = dict(state)
    if change == "add":
        for path, pid in zip(what.paths, what.pids.tolist()):
            after.setdefault(path, pid)
    elif change == "update":
        after.update(zip(what.paths, what.pids.tolist()))
    elif change == "remove":
        for path in what:
            after.pop(path, None)
    return after


def contents(index: Index, count: int) -> dict[str, int]:
    """path → pid of everything a search can find."""
    query = np.ones(DIM, dtype=np.float32)
    return {hit.path: hit.pid for hit in index.search(query, top=max(count, 1), exact=True)[0]}
