"""An index in a folder: a catalog in SQLite, vectors in append-only files.

    index.sqlite         path, camera, identity … of each entry, and which vectors are valid
    vectors-0001.f16     rows of D float16; the number is a generation, a compaction starts one
    projection-0003.npz  axes of the projection, and
    codes-0003.i8        the codes on them: for large sets only, can always be rebuilt
    writer.lock          who is writing

Vectors are on the disk before the SQLite transaction that acknowledges them; whatever lies
beyond the last acknowledged row is overwritten by the next add.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from vireid.index.base import Index
from vireid.index.entries import Entry, Filters, Hit, IndexInfo, ranked_hits
from vireid.index.local import integrity, projection, scan, store
from vireid.index.local.catalog import FILE, Catalog, check_is_index
from vireid.index.local.lock import WriterLock
from vireid.index.local.projection import ProjectionOptions
from vireid.index.local.state import State, read_columns
from vireid.index.local.writer import PARTS, LocalWriter
from vireid.index.roots import ImageRoot
from vireid.types import Embeddings, InputError, Modality

log = logging.getLogger(__name__)

_ATTEMPTS = 3
_FILTERED = 10
"""If filters leave less than this part of what is scanned exactly, that is scanned exactly, also
where there is a projection; of more, scanning codes is quicker."""
_PATIENCE = 0.2  # seconds that a search waits for a state, if it can do with the one before

_Read = tuple[State, tuple[int, int] | None, dict[str, Any]]
"""A state, what tells its vector file from others of its name, and the index's facts."""


class LocalIndex(Index):
    """See `Index`; make one with `create` or `open`."""

    backend = "local"

    def __init__(self, folder: Path, write: bool, options: ProjectionOptions) -> None:
        self.folder = folder
        self.url = str(folder)
        self.options = options
        check_is_index(folder)
        self._lock = WriterLock(folder) if write else None
        try:
            self._catalog = Catalog(folder, write=write)
            facts = self._catalog.facts()
            self._take_facts(facts)
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        self._guard = threading.RLock()  # one thread at a time in the catalog
        self._newest: State | None = None
        self._version = -1
        self._reading: tuple[int, Future[_Read]] | None = None  # since which version
        # What tells the files in use from others of their names; None where there is none.
        self._file = _identity(folder / FILE)
        self._vectors: tuple[int, int] | None = None
        self.weights_hash = facts["weights_hash"]
        self.embedding = facts["embedding"]
        self.dim = facts["dim"]
        self._closed = False
        self.writable = write
        self._writer = LocalWriter(folder, self._catalog, self.dim)
        if write:
            self._writer.sweep()

    @classmethod
    def create(
        cls, url: str | Path, *, options: ProjectionOptions | None = None, **facts: Any
    ) -> LocalIndex:
        """An empty index in a new or empty folder, open for writing; see `create_index`."""
        folder = Path(url)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            names = sorted(path.name for path in folder.iterdir())
        except OSError as error:
            raise InputError(
                f"The folder '{folder}' for the index can't be made or read: "
                f"{error.strerror or error}. Name a new or empty folder that you may write to."
            ) from error
        if names:
            there = FILE in names
            what = "an index" if there else f"something ('{names[0]}')"
            more = ", or add to the index that is there" if there else ""
            raise InputError(
                f"There is {what} in '{folder}' already. Name a new or empty folder{more}."
            )
        lock = WriterLock(folder)
        try:
            Catalog.create(folder, facts)
        except BaseException:
            _clear(folder)
            raise
        finally:
            lock.release()
        return cls.open(folder, write=True, options=options)

    @classmethod
    def open(
        cls, url: str | Path, *, write: bool = False, options: ProjectionOptions | None = None
    ) -> LocalIndex:
        """An existing index; see `open_index`."""
        return cls(Path(url), write, options or ProjectionOptions())

    @property
    def roots(self) -> tuple[ImageRoot, ...]:
        self._state()  # another process may have changed them
        return super().roots

    # -- reading

    def _look(self) -> None:
        """Notice that the folder is gone, or that another index has taken its place: open files
        outlive their folder, and nothing of an index that was deleted may be answered.

        Raises:
            InputError: it is gone, or the other index holds other vectors.
        """
        self._check_open(not self._closed)
        if _identity(self.folder / FILE) == self._file:
            return
        if not (self.folder / FILE).exists():
            raise InputError(
                f"The index '{self.folder}' has been deleted or moved away while it was open. "
                "Put it back, or open another one."
            )
        with contextlib.closing(type(self)(self.folder, False, self.options)) as other:
            names = ("weights_hash", "embedding", "dim", "preprocessing")
            if self.writable or any(getattr(self, n) != getattr(other, n) for n in names):
                raise InputError(
                    f"Another index has taken the place of '{self.folder}' while it was open. Open "
                    "it again."
                )
            self._catalog, other._catalog = other._catalog, self._catalog
            self._file = other._file
        self._newest, self._version, self._reading = None, -1, None

    def _state(self) -> State:
        """The newest committed state."""
        with self._guard:
            self._look()
            version = self._catalog.version()
            if self._newest is not None and version == self._version:
                path = store.file_of(self.folder, self._newest.head.generation)
                if _identity(path) == self._vectors:
                    return self._newest
                self._newest = None
            read = self._read_meanwhile(version)
            if read is None:
                assert self._newest is not None
                return self._newest
            self._version, (self._newest, self._vectors, facts) = read
            self._take_facts(facts)
            return self._newest if self._version == version else self._state()

    def _read_meanwhile(self, version: int) -> tuple[int, _Read] | None:
        """The catalog's version and what was read of it; None while it is being read.

        A compaction by another process moves all entries, and reading those of a large index takes
        seconds. Searches don't wait for it: the state before has the same entries, and those that
        are removed meanwhile have no path any more.
        """
        before = self._newest
        if self.writable or before is None or self._catalog.generation() == before.head.generation:
            return version, _read(self._catalog, self.folder, self.dim, before)
        if self._reading is None:
            self._reading = version, _in_background(self.folder, self.dim)
        begun, future = self._reading
        try:
            return begun, future.result(_PATIENCE if begun == version else 0)
        except TimeoutError:
            return None
        finally:
            if future.done():
                self._reading = None

    def _search(
        self, queries: np.ndarray, top: int, filters: Filters, exact: bool | None
    ) -> list[list[Hit]]:
        for attempt in range(_ATTEMPTS):
            with self._guard:
                state, catalog = self._state(), self._catalog
            slots = state.select(filters)
            if exact is None:
                exact = len(slots) * self.dim * 2 * _FILTERED <= self.options.exact_bytes
            if exact or state.projection is None:
                scores, best = scan.best_exact(state.vectors, slots, queries, top)
            else:
                scores, best = state.projection.search(state.vectors, slots, queries, top)
            with self._guard:
                if catalog is not self._catalog and attempt < _ATTEMPTS - 1:
                    continue  # another index has taken this one's place
                ids = np.unique(state.ids[best])
                paths = self._catalog.paths(ids.tolist())
            if len(paths) == len(ids) or attempt == _ATTEMPTS - 1:
                break  # else entries were removed meanwhile: look at the newer state
        return [
            ranked_hits(
                (state.entry(slot, paths[row_id]), score)
                for row_id, slot, score in zip(state.ids[row].tolist(), row, row_scores)
                if row_id in paths
            )
            for row, row_scores in zip(best, scores)
        ]

    def _count(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> int:
        return len(self._matching(paths, older_than, filters))

    def _matching(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> np.ndarray:
        """Slots of the entries that match every condition."""
        with self._guard:
            state = self._state()
            slots = state.select(filters)
            if older_than is not None:
                slots = slots[state.times[slots] < older_than]
            if paths is not None:
                named = [slot for _, slot in self._catalog.ids_of(list(paths)).values()]
                slots = np.intersect1d(slots, np.array(named, dtype=np.int64))
            return slots

    def entries(self, row_ids: Sequence[int]) -> list[Entry]:
        with self._guard:
            self._look()
            by_id = self._catalog.entries(list(row_ids))
        self._check_none_missing([n for n in row_ids if n not in by_id])
        return [by_id[n] for n in row_ids]

    def vectors_of(self, row_ids: Sequence[int]) -> np.ndarray:
        state = self._state()
        ids = np.asarray(row_ids, dtype=np.int64)
        slots = state.slots_of(ids)
        self._check_none_missing(ids[slots < 0].tolist())
        return np.asarray(state.vectors[slots], dtype=np.float32)

    def __len__(self) -> int:
        return len(self._state().live)

    def sample(self, count: int) -> list[int]:
        state = self._state()
        drawn = np.random.default_rng(0).permutation(state.live)[:count]
        return state.ids[np.sort(drawn)].tolist()

    def info(self) -> IndexInfo:
        state = self._state()
        live = state.live
        times = state.times[live]
        times = times[~np.isnan(times)]
        pids = state.pids[live]
        sensors = {Modality(m).word: n for m, n in _counts(state.modality[live]).items()}
        fitted = state.projection
        mode, details = "exact", {}
        if fitted is not None:
            mode = (
                f"projected to {fitted.dim} axes of 8 bits, scanned whole, the best "
                f"{fitted.candidates} re-scored exactly"
            )
            details = {
                "projected_dim": fitted.dim,
                "candidates": fitted.candidates,
                "measured_recall_at_20": fitted.recall,
                "measured_at_count": fitted.fitted,
                "exact_up_to": self.options.exact_bytes // (2 * self.dim),
            }
        elif state.head.projection or len(live) * self.dim * 2 > self.options.exact_bytes:
            mode = "exact (slow at this size: `vireid index compact` builds a projection)"
        return self._info(
            count=len(live),
            removed=state.head.written - len(live),
            cameras=_counts(state.camids[live]),
            modalities=sensors,
            num_pids=len(np.unique(pids[pids >= 0])),
            time_range=(float(times.min()), float(times.max())) if len(times) else None,
            size_on_disk=self._size(),
            mode=mode,
            details=details,
        )

    @property
    def preprocessing(self) -> dict[str, Any]:
        with self._guard:
            self._check_open(not self._closed)
            return self._catalog.facts()["preprocessing"]

    def _size(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    def verify(self) -> list[str]:
        with self._guard:
            self._check_open(not self._closed)
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
                        stored = self._catalog.checksums()
                        invalid = self._catalog.invalid(integrity.NAMED)
                        count = self._catalog.count() - len(stored)
                        break
        return [
            *integrity.unusable_entries(invalid, count),
            *integrity.damaged_vectors(state, stored),
            *integrity.damaged_codes(state),
        ]

    # -- writing

    def _write(
        self, embeddings: Embeddings, vectors: np.ndarray, *, replace: bool
    ) -> tuple[int, int]:
        with self._guard:
            writer = self._open_writer()
            counts = writer.put(embeddings, vectors, replace=replace)
            self._version = -1
            try:
                self._project(writer)
            except InputError as error:  # the entries are safe, so the add has not failed
                log.warning("%s", error)
            return counts

    def _remove(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> int:
        with self._guard:
            writer = self._open_writer()
            slots = self._matching(paths, older_than, filters)
            writer.remove(self._state().ids[slots].tolist(), slots.tolist())
            self._version = -1
            return len(slots)

    def _set_facts(self, **facts: Any) -> None:
        with self._guard:
            self._open_writer().set_facts(**facts)

    def compact(self) -> int:
        with self._guard:
            writer = self._open_writer()
            before = self._size()
            writer.compact(self._state(), self.options)
            self._version = -1
            self._newest = None  # lets go of the old files, which Windows would not delete
            writer.sweep()
            self._measure_strangers(again=True)
            return before - self._size()

    def _project(self, writer: LocalWriter) -> None:
        if writer.project(self._state(), self.options):
            self._version = -1
            self._state()
            writer.sweep()

    def discard(self) -> None:
        self._open_writer()
        self.close()
        _clear(self.folder)

    def _open_writer(self) -> LocalWriter:
        self._check_open(not self._closed)
        self._check_writable()
        return self._writer

    def close(self) -> None:
        with self._guard:
            self._closed = True
            self._newest = None
            self._catalog.close()
            if self._lock is not None:
                self._lock.release()


def _read(catalog: Catalog, folder: Path, dim: int, before: State | None) -> _Read:
    """Read what has been committed; a state `before` saves work.

    Raises:
        InputError: a file is missing or damaged.
    """
    for _ in range(_ATTEMPTS):
        with catalog.transaction("DEFERRED"):
            head = catalog.head()
            path = store.file_of(folder, head.generation)
            try:  # first, so that no more slots are read than the file has vectors
                vectors = store.map_vectors(path, head.written, dim)
            except FileNotFoundError:
                continue  # a compaction ended in between; its state is there by now
            columns: dict[str, Any] = read_columns(catalog, head, before)
            facts = catalog.facts()
            rows = catalog.count() if before is None else 0
        if rows > len(columns["live"]):
            log.warning(
                "%d entries of the index '%s' can't be used and are never found; `vireid index "
                "verify` says which.",
                rows - len(columns["live"]),
                folder,
            )
        loaded = before.projection if before is not None and head.projection else None
        if head.projection and (
            loaded is None
            or loaded.number != head.projection
            or len(loaded.codes) != head.projected
        ):
            loaded = projection.load(folder, head.projection, head.projected, vectors)
        state = State(head=head, vectors=vectors, projection=loaded, **columns)
        return state, _identity(path), facts
    raise InputError(
        f"The vector file '{path}' is missing. Restore it from a copy, or rebuild the index from "
        "its embeddings."
    )


def _in_background(folder: Path, dim: int) -> Future[_Read]:
    """Read everything in a thread, over a connection of its own."""
    future: Future[_Read] = Future()

    def work() -> None:
        try:
            with contextlib.closing(Catalog(folder, write=False)) as catalog:
                future.set_result(_read(catalog, folder, dim, None))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="vireid-index", daemon=True).start()
    return future


def _clear(folder: Path) -> None:
    """Delete an index, and its folder if nothing else is in it."""
    for path in folder.iterdir():
        if path.name.startswith((FILE, "writer.lock", *PARTS)):
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _counts(values: np.ndarray) -> dict[int, int]:
    return dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True))))
