"""The steps that change a local index: each ends in one SQLite transaction."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vireid.index import checks
from vireid.index.local import projection, store
from vireid.index.local.catalog import Catalog, StoredRow
from vireid.index.local.projection import ProjectionOptions
from vireid.index.local.state import State
from vireid.types import Embeddings, InputError

log = logging.getLogger(__name__)

_REFIT = 2  # a projection is fitted again when the set has grown by this factor

PARTS = ("vectors-", "projection-", "codes-", ".projection-")
"""How the names of all files begin that the catalog refers to."""


class LocalWriter:
    """Changes the index in `folder`; the caller holds its lock."""

    def __init__(self, folder: Path, catalog: Catalog, dim: int) -> None:
        self._folder = folder
        self._catalog = catalog
        self._dim = dim

    def sweep(self) -> None:
        """Delete files that the catalog no longer refers to, or that a killed writer left."""
        head = self._catalog.head()
        kept = {
            store.file_of(self._folder, head.generation),
            *projection.files_of(self._folder, head.projection),
        }
        for path in self._folder.iterdir():
            if path.name.startswith(PARTS) and path not in kept and not path.is_dir():
                # Windows keeps a file that a reader has mapped; a later sweep deletes it.
                with contextlib.suppress(PermissionError):
                    path.unlink(missing_ok=True)

    def put(self, embeddings: Embeddings, vectors: np.ndarray, *, replace: bool) -> tuple[int, int]:
        """Append rows; returns how many entries are new and how many were replaced."""
        existing = self._catalog.ids_of(list(embeddings.paths))
        chosen = [n for n, path in enumerate(embeddings.paths) if replace or path not in existing]
        if not chosen:
            return 0, 0
        head = self._catalog.head()
        path = store.file_of(self._folder, head.generation)
        chunks = self._chunks(vectors, chosen, embeddings)
        checksums = store.append(path, head.written, chunks, self._dim)
        new: list[StoredRow] = []
        replaced: list[tuple[int, StoredRow]] = []
        rows = checks.rows_of(embeddings, chosen)
        for stored in zip(itertools.count(head.written), rows, checksums):
            row_id, _ = existing.get(stored[1].path, (None, None))
            if row_id is None:
                new.append(stored)
            else:
                replaced.append((row_id, stored))
        with self._catalog.transaction():
            self._catalog.make_way([*new, *(stored for _, stored in replaced)])
            self._catalog.insert(new)
            self._catalog.replace(replaced)
            self._catalog.bury(existing[row.path][1] for _, (_, row, _) in replaced)
            self._catalog.set_facts(written=head.written + len(chosen))
            if embeddings.preprocessing:
                self._catalog.set_facts(preprocessing=embeddings.preprocessing)
        return len(new), len(replaced)

    @staticmethod
    def _chunks(
        vectors: np.ndarray, chosen: list[int], embeddings: Embeddings
    ) -> Iterator[np.ndarray]:
        for block in checks.in_blocks(chosen, store.CHUNK):
            chunk = np.asarray(vectors[block], dtype=np.float32)
            checks.check_lengths(chunk, [embeddings.paths[n] for n in block])
            yield chunk.astype(np.float16)

    def set_facts(self, **facts: Any) -> None:
        """Change facts about the index as a whole."""
        with self._catalog.transaction():
            self._catalog.set_facts(**facts)

    def remove(self, ids: list[int], slots: list[int]) -> None:
        """Delete entries; their vectors stay in the file until `compact`."""
        with self._catalog.transaction():
            self._catalog.delete(ids)
            self._catalog.bury(slots)

    def compact(self, state: State, options: ProjectionOptions) -> None:
        """Write the vectors of all entries, and their projection, into new files and switch to
        them.

        The old files stay for the next `sweep`; readers that have mapped them keep them until
        they look again.
        """
        generation = state.head.generation + 1
        new = store.file_of(self._folder, generation)
        new.unlink(missing_ok=True)
        with self._catalog.transaction("DEFERRED"):
            stored = [row for row in self._catalog.checksums() if row[0] < state.head.written]
        slots = [slot for slot, _, _ in stored]
        chunks = (
            np.asarray(state.vectors[block]) for block in checks.in_blocks(slots, store.CHUNK)
        )
        try:
            checksums = store.append(new, 0, chunks, self._dim)
            wrong = [row[2] for row, now in zip(stored, checksums) if row[1] != now]
            if wrong:
                raise InputError(
                    f"{len(wrong)} vectors are damaged ('{wrong[0]}' is one), so nothing was "
                    "compacted. Embed those images again and update or remove them; `vireid index "
                    "verify` lists them."
                )
            # Before the switch: no search has to do without.
            facts = self._build(store.map_vectors(new, len(slots), self._dim), options)
            with self._catalog.transaction():
                dropped = self._catalog.drop_unusable(state.head.written)
                self._catalog.move((n, slot) for n, slot in enumerate(slots) if n != slot)
                self._catalog.set_facts(generation=generation, written=len(slots), **facts)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        if dropped:
            log.warning("%d entries that couldn't be used were removed.", dropped)
        try:
            self._catalog.shrink()
        except InputError as error:  # what was to be done is done
            log.warning("The index is compacted, but its catalog keeps its size. %s", error)

    def _build(
        self, vectors: np.ndarray, options: ProjectionOptions, live: np.ndarray | None = None
    ) -> dict[str, int]:
        """Build a projection, if the set is large enough to need one.

        Args:
            vectors: (n, D) float16 of all slots.
            options: what is large enough, and the sizes to try.
            live: (m,) int32 slots that hold an entry; None means all.

        Returns:
            The facts that put it to use.
        """
        live = np.arange(len(vectors), dtype=np.int32) if live is None else live
        if len(live) * self._dim * 2 <= options.exact_bytes:
            return {"projection": 0, "projected": 0}
        number = self._catalog.facts().get("last_projection", 0) + 1
        built = projection.build(self._folder, number, vectors, live, options)
        return {"projection": number, "projected": len(built.codes), "last_projection": number}

    def project(self, state: State, options: ProjectionOptions) -> bool:
        """Bring the projection up to date, if the set is large enough to need one.

        Returns:
            Whether anything changed.
        """
        count = len(state.live)
        if count * self._dim * 2 <= options.exact_bytes:
            return False
        current = state.projection
        if current is not None and count < _REFIT * current.fitted:
            if len(current.codes) == len(state.vectors):
                return False
            rows = projection.extend(self._folder, current, state.vectors)
            with self._catalog.transaction():
                self._catalog.set_facts(projected=rows)
            return True
        facts = self._build(state.vectors, options, state.live)
        with self._catalog.transaction():
            self._catalog.set_facts(**facts)
        return True
