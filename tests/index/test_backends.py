"""The table of backends, and that the interface is enough to write one: a small one in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_helpers import DIM, HASH, PREPROCESSING, assert_same_hits, changed, fitting, make, people

from vireid.index import Filters, create_index, open_index
from vireid.index.backends import BACKENDS, backend_of
from vireid.index.base import Index
from vireid.index.checks import check_lengths, rows_of
from vireid.index.entries import Entry, Hit, IndexInfo, ranked_hits
from vireid.index.local.index import LocalIndex
from vireid.types import Embeddings, InputError, Modality

STORES: dict[str, MemoryIndex] = {}


class MemoryIndex(Index):
    """A list of entries and an array of vectors; every search looks at all of them."""

    backend = "memory"

    def __init__(self, url: str, facts: dict[str, Any]) -> None:
        self.url, self.writable = url, True
        self.weights_hash, self.dim = facts["weights_hash"], facts["dim"]
        self.embedding, self.image_roots = facts["embedding"], facts["image_roots"]
        self._preprocessing = facts["preprocessing"]
        self._entries: dict[int, Entry] = {}
        self._vectors: dict[int, np.ndarray] = {}

    @classmethod
    def create(cls, url: str | Path, **facts: Any) -> MemoryIndex:
        return STORES.setdefault(str(url), cls(str(url), facts))

    @classmethod
    def open(cls, url: str | Path, *, write: bool = False) -> MemoryIndex:
        index = STORES[str(url)]
        index.writable = write
        return index

    @property
    def preprocessing(self) -> dict[str, Any]:
        return self._preprocessing

    def _write(
        self, embeddings: Embeddings, vectors: np.ndarray, *, replace: bool
    ) -> tuple[int, int]:
        check_lengths(np.asarray(vectors, np.float32), embeddings.paths)
        numbers = {entry.path: row_id for row_id, entry in self._entries.items()}
        replaced, before = 0, len(self)
        for row, vector in zip(rows_of(embeddings, range(len(embeddings))), vectors):
            if row.path in numbers and not replace:
                continue
            replaced += row.path in numbers
            row_id = numbers.get(row.path, 1 + max(self._entries, default=0))
            self._entries[row_id] = Entry.of(row_id, *row)
            self._vectors[row_id] = vector.astype(np.float16).astype(np.float32)
        return len(self) - before, replaced

    def _remove(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> int:
        chosen = self._chosen(paths, older_than, filters)
        for row_id in chosen:
            del self._entries[row_id], self._vectors[row_id]
        return len(chosen)

    def _chosen(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> list[int]:
        return [
            entry.row_id
            for entry in self._matching(filters)
            if (paths is None or entry.path in paths)
            and (older_than is None or (entry.time is not None and entry.time < older_than))
        ]

    def _count(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> int:
        return len(self._chosen(paths, older_than, filters))

    def _search(
        self, queries: np.ndarray, top: int, filters: Filters, exact: bool | None
    ) -> list[list[Hit]]:
        entries = self._matching(filters)
        return [
            ranked_hits((e, float(self._vectors[e.row_id] @ query)) for e in entries)[:top]
            for query in queries
        ]

    def _matching(self, filters: Filters) -> list[Entry]:
        low = -np.inf if filters.time_from is None else filters.time_from
        high = np.inf if filters.time_to is None else filters.time_to
        any_time = filters.time_from is None and filters.time_to is None
        return [
            entry
            for entry in self._entries.values()
            if (filters.camids is None or entry.camid in filters.camids)
            and (filters.pids is None or entry.pid in filters.pids)
            and (filters.modality is None or entry.modality is filters.modality)
            and (any_time or (entry.time is not None and low <= entry.time <= high))
        ]

    def entries(self, row_ids: Sequence[int]) -> list[Entry]:
        self._check_none_missing([n for n in row_ids if n not in self._entries])
        return [self._entries[n] for n in row_ids]

    def vectors_of(self, row_ids: Sequence[int]) -> np.ndarray:
        self._check_none_missing([n for n in row_ids if n not in self._entries])
        return np.array([self._vectors[n] for n in row_ids], np.float32).reshape(-1, self.dim)

    def info(self) -> IndexInfo:
        return self._info(count=len(self), removed=0, cameras={}, modalities={}, num_pids=0,
                          time_range=None, size_on_disk=None, mode="exact")  # fmt: skip

    def verify(self) -> list[str]:
        return []

    def compact(self) -> int:
        self._check_writable()
        return 0

    def close(self) -> None:
        pass

    def __len__(self) -> int:
        return len(self._entries)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "memory", f"{__name__}:MemoryIndex")
    STORES.clear()


def test_a_backend_from_outside_answers_like_ours(memory: None, tmp_path: Path) -> None:
    gallery = people(60)
    queries = people(3, first=9000).embedding
    for url in ("memory://people", tmp_path / "people"):
        with create_index(url, weights_hash=HASH, dim=DIM, preprocessing=PREPROCESSING) as index:
            assert index.add(gallery).added == 60
            again = index.add(people(65, seed=1))
            assert (again.added, again.skipped, again.count) == (5, 60, 65)
            assert index.remove(paths=people(65).paths[60:]) == 5
            for filters in (None, Filters(camids=(1, 5), time_to=300.0), Filters(pids=(3,)),
                            Filters(modality=Modality.INFRARED, time_from=100.0)):  # fmt: skip
                assert_same_hits(index, gallery, queries, 7, filters)
                assert index.count(filters=filters) == fitting(gallery, filters or Filters()).sum()
            assert index.update(gallery).replaced == 60
            old = index.count(older_than=200.0, paths=gallery.paths)
            assert index.remove(older_than=200.0) == old == np.nansum(gallery.times < 200.0)
    with open_index("memory://people") as reader:
        assert isinstance(reader, MemoryIndex)
        assert (reader.info().backend, reader.info().weights_hash) == ("memory", HASH)


def test_a_backend_from_outside_need_not_check_what_it_is_given(memory: None) -> None:
    index = create_index("memory://people", weights_hash=HASH, dim=DIM)
    index.add(people(5))
    some = people(5, first=10)
    for wrong, words in (
        (changed(some, weights_hash="cd" * 32), "weights cdcd"),
        (people(5, first=10, dim=DIM + 1), "17 dimensions"),
        (changed(some, vectors={"embedding": some.embedding * 2}), "length 2"),
        (changed(some, paths=[*some.paths[:4], some.paths[0]]), "more than once"),
    ):
        with pytest.raises(InputError, match=words):
            index.add(wrong)
    for call, words in (
        (lambda: index.search(np.zeros(DIM)), "direction"),
        (lambda: index.search(np.ones(DIM), top=0), "`top`"),
        (lambda: index.remove(), "what to remove"),
        (lambda: index.entries([77]), "no entry 77"),
    ):
        with pytest.raises(InputError, match=words):
            call()
    with pytest.raises(InputError, match="write=True"):
        open_index("memory://people").add(people(1))
    assert len(index) == 5


def test_a_scheme_without_a_backend() -> None:
    with pytest.raises(InputError, match=r"no index backend for 'redis://'.*milvus://"):
        open_index("redis://host/people")
    assert backend_of("a/folder") is LocalIndex


def test_a_folder_with_other_things_is_told_from_one_with_an_index(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match=r"something \('photo.jpg'\).*new or empty folder\.$"):
        make(tmp_path)
    make(tmp_path / "ix").close()
    with pytest.raises(InputError, match=r"There is an index.*or add to the index that is there"):
        make(tmp_path / "ix")
