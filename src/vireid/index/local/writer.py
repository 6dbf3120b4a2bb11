"""The steps that change a local index: each ends in one SQLite transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vireid.index import checks
from vireid.index.local import projection, store
from vireid.index.local.catalog import Catalog, Row
from vireid.index.local.projection import ProjectionOptions
from vireid.index.local.state import State
from vireid.types import Embeddings, InputError

_REFIT = 2  # a projection is made anew when the set has grown so much since


class LocalWriter:
    """Changes the index in `folder`, of which the caller holds the lock."""

    def __init__(self, folder: Path, catalog: Catalog, dim: int) -> None:
        self._folder = folder
        self._catalog = catalog
        self._dim = dim
        self._sweep()

    def _sweep(self) -> None:
        """Delete files that no state speaks of: what a killed writer left."""
        head = self._catalog.head()
        kept = {
            store.file_of(self._folder, head.generation),
            *projection.files_of(self._folder, head.projection),
        }
        for path in self._folder.iterdir():
            ours = path.name.startswith(("vectors-", "projection-", "codes-", ".projection-"))
            if ours and path not in kept:
                path.unlink(missing_ok=True)

    def put(self, embeddings: Embeddings, vectors: np.ndarray, *, replace: bool) -> tuple[int, int]:
        """Append rows; returns how many entries are new and how many were replaced."""
        known = self._catalog.ids_of(list(embeddings.paths))
        chosen = [n for n, path in enumerate(embeddings.paths) if replace or path not in known]
        if not chosen:
            return 0, 0
        head = self._catalog.head()
        path = store.file_of(self._folder, head.generation)
        chunks = self._chunks(vectors, chosen, embeddings)
        checksums = store.append(path, head.written, chunks, self._dim)
        rows = self._rows(embeddings, chosen, head.written, checksums)
        fresh = [row for row in rows if row[1] not in known]
        again = [(*known[row[1]], row) for row in rows if row[1] in known]
        with self._catalog.transaction():
            self._catalog.insert(fresh)
            self._catalog.replace((number, row) for number, _, row in again)
            self._catalog.bury(slot for _, slot, _ in again)
            self._catalog.set_about(written=head.written + len(chosen))
            if embeddings.preprocessing:
                self._catalog.set_about(preprocessing=embeddings.preprocessing)
        return len(fresh), len(again)

    @staticmethod
    def _chunks(
        vectors: np.ndarray, chosen: list[int], embeddings: Embeddings
    ) -> Iterator[np.ndarray]:
        for start in range(0, len(chosen), store.CHUNK):
            some = chosen[start : start + store.CHUNK]
            chunk = np.asarray(vectors[some], dtype=np.float32)
            checks.check_lengths(chunk, [embeddings.paths[n] for n in some])
            yield chunk.astype(np.float16)

    @staticmethod
    def _rows(
        embeddings: Embeddings, chosen: list[int], first: int, checksums: list[int]
    ) -> list[Row]:
        columns = (embeddings.camids, embeddings.pids, embeddings.modality, embeddings.times)
        camids, pids, modality, times = (column.tolist() for column in columns)
        return [
            (
                first + place,
                embeddings.paths[n],
                camids[n],
                pids[n],
                modality[n],
                None if np.isnan(times[n]) else times[n],
                checksum,
            )
            for place, (n, checksum) in enumerate(zip(chosen, checksums))
        ]

    def remove(self, ids: list[int], slots: list[int]) -> None:
        """Forget entries; their vectors stay in the file until `compact`."""
        with self._catalog.transaction():
            self._catalog.delete(ids)
            self._catalog.bury(slots)

    def compact(self, state: State) -> None:
        """Write the vectors of all entries into a new file and turn to it."""
        old = store.file_of(self._folder, state.head.generation)
        generation = state.head.generation + 1
        new = store.file_of(self._folder, generation)
        new.unlink(missing_ok=True)
        with self._catalog.transaction("DEFERRED"):
            stored = list(self._catalog.checksums())
        slots = [slot for slot, _, _ in stored]
        chunks = (
            np.asarray(state.vectors[slots[start : start + store.CHUNK]])
            for start in range(0, len(slots), store.CHUNK)
        )
        try:
            checksums = store.append(new, 0, chunks, self._dim)
            wrong = [row[2] for row, now in zip(stored, checksums) if row[1] != now]
            if wrong:
                raise InputError(
                    f"{len(wrong)} vectors are damaged ('{wrong[0]}' is one), so nothing was "
                    "compacted. Embed those images again and update or remove them; "
                    "`vireid index verify` names them."
                )
            with self._catalog.transaction():
                self._catalog.move((n, slot) for n, slot in enumerate(slots) if n != slot)
                self._catalog.set_about(
                    generation=generation, written=len(slots), projection=0, projected=0
                )
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        # Readers that still have the old files mapped keep them until they look again.
        old.unlink(missing_ok=True)
        self._catalog.shrink()
        self._sweep()

    def project(self, state: State, options: ProjectionOptions, *, anew: bool) -> None:
        """Bring the projection up to the state, if the set is large enough to need one."""
        count = len(state.live)
        if count * self._dim * 2 <= options.exact_bytes:
            return
        now = state.projection
        if now is not None and not anew and count < _REFIT * now.fitted:
            if len(now.codes) < len(state.vectors):
                rows = projection.extend(self._folder, now, state.vectors)
                with self._catalog.transaction():
                    self._catalog.set_about(projected=rows)
            return
        number = self._catalog.about().get("last_projection", 0) + 1
        made = projection.build(self._folder, number, state.vectors, state.live, options)
        with self._catalog.transaction():
            self._catalog.set_about(
                projection=made.number, projected=len(made.codes), last_projection=number
            )
        self._sweep()
