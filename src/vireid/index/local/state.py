"""A local index at one moment: a whole state, never half of a change."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vireid.index.entries import Entry, Filters
from vireid.index.local.catalog import Catalog, Head
from vireid.index.local.projection import Projection

_CACHED = 16  # filters whose rows are kept


@dataclass(frozen=True)
class State:
    """One committed state, all in memory but the vectors, which are memory-mapped.

    Attributes:
        head: what the catalog said.
        ids, camids, pids, modality: (slots,) int64; `ids` is -1 where a slot holds no entry.
        times: (slots,) float64, NaN where unknown.
        vectors: (slots, D) float16.
        live: (entries,) int32 slots that hold an entry, increasing.
        projection: finds candidates quickly; None if all vectors are scanned.
    """

    head: Head
    ids: np.ndarray
    camids: np.ndarray
    pids: np.ndarray
    modality: np.ndarray
    times: np.ndarray
    vectors: np.ndarray
    live: np.ndarray
    projection: Projection | None
    _selected: dict[Filters, np.ndarray] = field(default_factory=dict)

    def entry(self, slot: int, path: str) -> Entry:
        """The entry in a slot."""
        columns = (self.camids, self.pids, self.modality, self.times)
        return Entry.of(self.ids[slot], path, *(column[slot] for column in columns))

    def select(self, filters: Filters) -> np.ndarray:
        """(m,) int32 slots of the entries that match, increasing."""
        if filters.empty:
            return self.live
        if filters in self._selected:
            return self._selected[filters]
        fits = self.ids >= 0
        if filters.camids is not None:
            fits &= np.isin(self.camids, filters.camids)
        if filters.pids is not None:
            fits &= np.isin(self.pids, filters.pids)
        if filters.modality is not None:
            fits &= self.modality == filters.modality
        if filters.time_from is not None:
            fits &= self.times >= filters.time_from
        if filters.time_to is not None:
            fits &= self.times <= filters.time_to
        slots = np.flatnonzero(fits).astype(np.int32)
        while len(self._selected) >= _CACHED:
            # Another thread may have dropped the same one.
            self._selected.pop(next(iter(self._selected), filters), None)
        self._selected[filters] = slots
        return slots

    @cached_property
    def _by_id(self) -> np.ndarray:
        return self.live[np.argsort(self.ids[self.live], kind="stable")]

    def slots_of(self, ids: np.ndarray) -> np.ndarray:
        """(n,) int64 slots of the entries with these ids, -1 where there is none."""
        if not len(self._by_id):
            return np.full(len(ids), -1)
        ordered = self.ids[self._by_id]
        positions = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
        return np.where(ordered[positions] == ids, self._by_id[positions], -1)


def read_columns(catalog: Catalog, head: Head, before: State | None) -> dict[str, np.ndarray]:
    """The columns of a state, copied from the state before if it is of the same generation.

    Must run in the read transaction that `head` was read in.
    """
    start = 0
    fresh = {
        "ids": np.full(head.written, -1, dtype=np.int64),
        "camids": np.full(head.written, -1, dtype=np.int64),
        "pids": np.full(head.written, -1, dtype=np.int64),
        "modality": np.zeros(head.written, dtype=np.int64),
        "times": np.full(head.written, np.nan),
    }
    if before is not None and before.head.generation == head.generation:
        start = before.head.written
        for name, column in fresh.items():
            column[:start] = getattr(before, name)
        buried = catalog.tombstones(before.head.last_tombstone, head.written)
        fresh["ids"][buried] = -1
    for slots, *columns in catalog.columns(start, head.written):
        for column, values in zip(fresh.values(), columns):
            column[slots] = values
    fresh["live"] = np.flatnonzero(fresh["ids"] >= 0).astype(np.int32)
    return fresh
