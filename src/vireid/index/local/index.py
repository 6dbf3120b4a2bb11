"""An index in a folder: a catalog in SQLite, vectors in append-only files.

    index.sqlite         what is known of each entry, and which rows of the vectors exist
    vectors-0001.f16     rows of D float16; the number is a generation, a compaction starts one
    projection-0003.npz  axes of the projection, and
    codes-0003.i8        the codes on them: for large sets only, can always be made anew
    writer.lock          who writes

Vectors are on the disk before the SQLite transaction that acknowledges them; whatever lies
behind the last acknowledged row is overwritten by the next add.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vireid.index import checks
from vireid.index.base import AddResult, Entry, Filters, Hit, Index, IndexInfo
from vireid.index.local import projection, scan, soundness, store
from vireid.index.local.catalog import FILE, Catalog, Head
from vireid.index.local.lock import WriterLock
from vireid.index.local.projection import ProjectionOptions
from vireid.index.local.state import State, read_columns
from vireid.index.local.writer import LocalWriter
from vireid.types import Embeddings, InputError, Modality

log = logging.getLogger(__name__)

_ATTEMPTS = 3


class LocalIndex(Index):
    """See `Index`; make one with `create` or `open`."""

    def __init__(self, folder: Path, write: bool, options: ProjectionOptions) -> None:
        self.folder = folder
        self.options = options
        if not (folder / FILE).is_file():
            raise InputError(
                f"There is no index in '{folder}'. Give the folder of one, or make one with "
                "`vireid index create`."
            )
        self._lock = WriterLock(folder) if write else None
        try:
            self._catalog = Catalog(folder, write=write)
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        self._guard = threading.RLock()  # one thread at a time in the catalog
        self._known: State | None = None
        self._version = -1
        about = self._catalog.about()
        self.weights_hash = about["weights_hash"]
        self.embedding = about["embedding"]
        self.dim = about["dim"]
        self.image_roots = tuple(about["image_roots"])
        self._closed = False
        self._writer = LocalWriter(folder, self._catalog, self.dim) if write else None

    @classmethod
    def create(
        cls, url: str | Path, *, options: ProjectionOptions | None = None, **about: Any
    ) -> LocalIndex:
        """An empty index in a new or empty folder, open for writing; see `create_index`."""
        folder = Path(url)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            there = sorted(path.name for path in folder.iterdir())
        except OSError as error:
            raise InputError(
                f"The folder '{folder}' for the index can't be made: {error.strerror or error}."
            ) from error
        if there:
            what = "an index" if FILE in there else f"something ('{there[0]}')"
            raise InputError(
                f"There is {what} in '{folder}' already. Name a new or empty folder, or add to "
                "the index that is there."
            )
        lock = WriterLock(folder)
        try:
            Catalog.create(folder, about)
        finally:
            lock.release()
        return cls.open(folder, write=True, options=options)

    @classmethod
    def open(
        cls, url: str | Path, *, write: bool = False, options: ProjectionOptions | None = None
    ) -> LocalIndex:
        """An index that exists; see `open_index`."""
        return cls(Path(url), write, options or ProjectionOptions())

    # -- reading

    def _state(self) -> State:
        """The newest committed state."""
        with self._guard:
            self._check_open()
            version = self._catalog.version()
            if self._known is not None and version == self._version:
                return self._known
            for _ in range(_ATTEMPTS):
                with self._catalog.transaction("DEFERRED"):
                    head = self._catalog.head()
                    columns = read_columns(self._catalog, head, self._known)
                try:
                    self._known = self._with_files(head, columns)
                    self._version = version
                    return self._known
                except FileNotFoundError:
                    continue  # a compaction ended in between; its state is there by now
        path = store.file_of(self.folder, head.generation)
        raise InputError(
            f"The vector file '{path}' is missing. Restore it from a copy, or make the index "
            "anew from its embeddings."
        )

    def _with_files(self, head: Head, columns: dict[str, Any]) -> State:
        path = store.file_of(self.folder, head.generation)
        vectors = store.map_vectors(path, head.written, self.dim)
        shortcut = None
        if head.projection:
            shortcut = self._known.projection if self._known else None
            if (
                shortcut is None
                or shortcut.number != head.projection
                or len(shortcut.codes) != head.projected
            ):
                shortcut = projection.load(self.folder, head.projection, head.projected, vectors)
        return State(head=head, vectors=vectors, projection=shortcut, **columns)

    def search(
        self,
        vectors: np.ndarray,
        *,
        top: int = 20,
        filters: Filters | None = None,
        exact: bool | None = None,
    ) -> list[list[Hit]]:
        queries = checks.check_queries(vectors, self.dim, top)
        for attempt in range(_ATTEMPTS):
            state = self._state()
            slots = state.select(filters)
            if exact is None:
                exact = len(slots) * self.dim * 2 <= self.options.exact_bytes
            if exact or state.projection is None:
                scores, found = scan.best_exact(state.vectors, slots, queries, top)
            else:
                scores, found = state.projection.search(state.vectors, slots, queries, top)
            with self._guard:
                ids = np.unique(state.ids[found])
                paths = self._catalog.paths(ids.tolist())
            if len(paths) == len(ids) or attempt == _ATTEMPTS - 1:
                break  # else entries were removed meanwhile: look at the newer state
        return [self._hits(state, *row, paths) for row in zip(scores, found)]

    @staticmethod
    def _hits(
        state: State, scores: np.ndarray, slots: np.ndarray, paths: dict[int, str]
    ) -> list[Hit]:
        hits = [
            Hit(
                row_id=number,
                path=paths[number],
                camid=int(state.camids[slot]),
                pid=int(state.pids[slot]),
                modality=Modality(int(state.modality[slot])),
                time=None if np.isnan(state.times[slot]) else float(state.times[slot]),
                similarity=float(min(1.0, max(-1.0, score))),
            )
            for number, slot, score in zip(state.ids[slots].tolist(), slots, scores)
            if number in paths
        ]
        return sorted(hits, key=lambda hit: (-hit.similarity, hit.row_id))

    def entries(self, row_ids: Sequence[int]) -> list[Entry]:
        with self._guard:
            self._check_open()
            found = self._catalog.entries(list(row_ids))
        self._all_there(row_ids, [number in found for number in row_ids])
        return [found[number] for number in row_ids]

    def vectors_of(self, row_ids: Sequence[int]) -> np.ndarray:
        state = self._state()
        slots = state.slots_of(np.asarray(row_ids, dtype=np.int64))
        self._all_there(row_ids, (slots >= 0).tolist())
        return np.asarray(state.vectors[slots], dtype=np.float32)

    def _all_there(self, row_ids: Sequence[int], there: Sequence[bool]) -> None:
        if not all(there):
            number = next(n for n, known in zip(row_ids, there) if not known)
            raise InputError(
                f"There is no entry {number} in the index '{self.folder}' (any more). Search again."
            )

    def __len__(self) -> int:
        return len(self._state().live)

    def info(self) -> IndexInfo:
        state = self._state()
        live = state.live
        times = state.times[live]
        times = times[~np.isnan(times)]
        pids = state.pids[live]
        sensors = {Modality(m).word: n for m, n in _counts(state.modality[live]).items()}
        shortcut = state.projection
        mode, details = "exact", {}
        if shortcut is not None:
            mode = (
                f"projected to {shortcut.dim} axes of 8 bits, scanned whole, the best "
                f"{shortcut.candidates} re-scored exactly"
            )
            details = {
                "projected_dim": shortcut.dim,
                "candidates": shortcut.candidates,
                "measured_recall_at_20": shortcut.recall,
                "measured_at_count": shortcut.fitted,
                "exact_up_to": self.options.exact_bytes // (2 * self.dim),
            }
        elif state.head.projection or len(live) * self.dim * 2 > self.options.exact_bytes:
            mode = "exact (slow at this size: `vireid index compact` builds a projection)"
        return IndexInfo(
            url=str(self.folder),
            backend="local",
            weights_hash=self.weights_hash,
            embedding=self.embedding,
            dim=self.dim,
            preprocessing=self.preprocessing,
            count=len(live),
            removed=state.head.written - len(live),
            cameras=_counts(state.camids[live]),
            modalities=sensors,
            num_pids=len(np.unique(pids[pids >= 0])),
            time_range=(float(times.min()), float(times.max())) if len(times) else None,
            size_on_disk=self._size(),
            image_roots=self.image_roots,
            mode=mode,
            details=details,
        )

    @property
    def preprocessing(self) -> dict[str, Any]:
        with self._guard:
            self._check_open()
            return self._catalog.about()["preprocessing"]

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    def verify(self) -> list[str]:
        with self._guard:
            self._check_open()
            problems = self._catalog.problems()
            if problems:
                return problems
            while True:
                try:
                    state = self._state()
                except InputError as error:
                    return [str(error)]
                with self._catalog.transaction("DEFERRED"):
                    if self._catalog.head() == state.head:
                        stored = list(self._catalog.checksums())
                        break
        return [*soundness.damaged_vectors(state, stored), *soundness.damaged_codes(state)]

    # -- writing

    def add(self, embeddings: Embeddings, *, which: str | None = None) -> AddResult:
        return self._put(embeddings, which, replace=False)

    def update(self, embeddings: Embeddings, *, which: str | None = None) -> AddResult:
        return self._put(embeddings, which, replace=True)

    def _put(self, embeddings: Embeddings, which: str | None, *, replace: bool) -> AddResult:
        with self._guard:
            writer = self._writable()
            vectors = checks.check_same_kind(
                embeddings,
                checks.check_which(which, self.embedding),
                weights_hash=self.weights_hash,
                dim=self.dim,
                preprocessing=self.preprocessing,
            )
            checks.check_paths(list(embeddings.paths))
            added, replaced = writer.put(embeddings, vectors, replace=replace)
            self._version = -1
            try:
                self._project(writer)
            except InputError as error:  # the entries are safe, so this is no failed add
                log.warning("%s", error)
            skipped = len(embeddings) - added - replaced
            return AddResult(
                added=added, replaced=replaced, skipped=skipped, count=len(self._state().live)
            )

    def remove(
        self,
        *,
        paths: Sequence[str] | None = None,
        older_than: float | None = None,
        filters: Filters | None = None,
    ) -> int:
        checks.check_removal(paths, older_than, filters)
        with self._guard:
            writer = self._writable()
            state = self._state()
            slots = state.select(filters)
            if older_than is not None:
                slots = slots[state.times[slots] < older_than]
            if paths is not None:
                named = [slot for _, slot in self._catalog.ids_of(list(paths)).values()]
                slots = np.intersect1d(slots, np.array(named, dtype=np.int64))
            writer.remove(state.ids[slots].tolist(), slots.tolist())
            self._version = -1
            return len(slots)

    def compact(self) -> int:
        with self._guard:
            writer = self._writable()
            before = self._size()
            writer.compact(self._state())
            self._version = -1
            self._known = None
            self._project(writer, anew=True)
            return before - self._size()

    def _project(self, writer: LocalWriter, *, anew: bool = False) -> None:
        writer.project(self._state(), self.options, anew=anew)
        self._version = -1

    def _writable(self) -> LocalWriter:
        self._check_open()
        if self._writer is None:
            raise InputError(
                f"The index '{self.folder}' was opened for searching. Open it with write=True to "
                "change it."
            )
        return self._writer

    def _check_open(self) -> None:
        if self._closed:
            raise InputError(f"The index '{self.folder}' has been closed. Open it again.")

    def close(self) -> None:
        with self._guard:
            self._closed = True
            self._known = None
            self._catalog.close()
            if self._lock is not None:
                self._lock.release()


def _counts(values: np.ndarray) -> dict[int, int]:
    return dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True))))
