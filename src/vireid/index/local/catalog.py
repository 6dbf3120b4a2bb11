"""The SQLite file of a local index: the columns of each entry, and which vectors are valid.

SQLite makes an add whole or absent: vectors are on the disk before the transaction that refers
to them commits (write-ahead log, synchronous FULL), so a row here always has its vector.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vireid.index.checks import Row, in_blocks
from vireid.index.entries import Entry
from vireid.types import InputError

FILE = "index.sqlite"
FORMAT = 1

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    slot INTEGER NOT NULL UNIQUE,
    path TEXT NOT NULL UNIQUE,
    camid INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    modality INTEGER NOT NULL,
    time REAL,
    checksum INTEGER NOT NULL
);
CREATE TABLE tombstones (number INTEGER PRIMARY KEY AUTOINCREMENT, slot INTEGER NOT NULL);
"""
_BLOCK = 500  # values in one statement; every SQLite allows 999
_REBUILD = f"Restore '{FILE}' from a copy, or rebuild the index from its embeddings."

StoredRow = tuple[int, Row, int]
"""slot, row, checksum"""


@dataclass(frozen=True)
class Head:
    """The facts of an index that change.

    Attributes:
        generation: number of the vector file in use.
        written: its valid slots; what lies beyond them was never acknowledged.
        projection: number of the projection in use, or 0.
        projected: slots that it has codes for.
        last_tombstone: number of the newest tombstone.
    """

    generation: int
    written: int
    projection: int
    projected: int
    last_tombstone: int


def check_is_index(folder: Path) -> None:
    """Raises InputError if the folder holds no local index."""
    if not (folder / FILE).is_file():
        raise InputError(
            f"There is no index in '{folder}'. Give the folder of one, or make one with "
            "`vireid index create`."
        )


class Catalog:
    """One connection to the catalog of the index in `folder`. Not for two threads at once.

    Raises:
        InputError: there is no index in the folder, or its catalog can't be read.
    """

    def __init__(self, folder: Path, *, write: bool) -> None:
        self.folder = folder
        check_is_index(folder)
        with self._readable():
            self._connection = self._connect(folder / FILE, write)
            self._execute("PRAGMA busy_timeout = 30000")
            if write:
                self._execute("PRAGMA synchronous = FULL")
                self._execute("PRAGMA secure_delete = ON")
            version = self.facts().get("format")
        if version != FORMAT:
            self.close()
            raise InputError(
                f"The index '{folder}' has format {version}; this version of vireid reads format "
                f"{FORMAT}. Use the version that made it, or rebuild it from its embeddings."
            )

    @staticmethod
    def create(folder: Path, facts: dict[str, Any]) -> None:
        """Make an empty catalog with these facts; it appears whole or not at all.

        Raises:
            InputError: the disk is full or can't be written.
        """
        temporary = folder / f".{FILE}.{os.getpid()}.tmp"
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            connection.executescript(_SCHEMA)
            counters = {"generation": 1, "written": 0, "projection": 0, "projected": 0}
            values = {"format": FORMAT, **counters, **facts}
            connection.executemany(
                "INSERT INTO about VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in values.items()],
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.close()
            os.replace(temporary, folder / FILE)
        except (sqlite3.OperationalError, OSError) as error:
            raise InputError(
                f"The index '{folder}' could not be made: {error}. If the disk is full, free some "
                "space."
            ) from error
        finally:
            connection.close()
            for left in folder.glob(f"{temporary.name}*"):
                left.unlink()

    def _connect(self, path: Path, write: bool) -> sqlite3.Connection:
        name = path.absolute().as_uri()
        options: dict[str, Any] = {"uri": True, "isolation_level": None, "check_same_thread": False}
        connection = sqlite3.connect(f"{name}?mode={'rw' if write else 'ro'}", **options)
        try:
            connection.execute("SELECT count(*) FROM about").fetchone()
            return connection
        except sqlite3.OperationalError:
            connection.close()
            log = path.with_name(FILE + "-wal")
            if write or os.access(path.parent, os.W_OK):
                raise
            if log.exists() and log.stat().st_size:
                raise InputError(
                    f"The index '{path.parent}' is in a read-only folder, and its last writer was "
                    "interrupted. Run `vireid index verify` on it once where it is writable."
                ) from None
        # Nothing can be written beside the catalog, so nobody else can be writing it either.
        return sqlite3.connect(f"{name}?immutable=1", **options)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk's fault, not the file's
            raise InputError(
                f"The catalog of the index '{self.folder}' can't be opened: {error}. It is "
                "unchanged. If the disk is full, free some space and try again; if it fails, "
                f"restore '{FILE}' from a copy."
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"The catalog of the index '{self.folder}' can't be read: {error}. {_REBUILD}"
            ) from error

    def _execute(self, statement: str, values: Sequence = ()) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """All statements of the block see and make one state; an error rolls them back.

        Raises:
            InputError: the disk is full or the catalog can't be written.
        """
        with self._readable():
            try:
                self._execute(f"BEGIN {kind}")
                yield
                self._execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise InputError(
                    f"The index '{self.folder}' could not be written: {error}. It is unchanged. "
                    "If the disk is full, free some space."
                ) from error
            finally:
                if self._connection.in_transaction:
                    self._execute("ROLLBACK")

    def facts(self) -> dict[str, Any]:
        """Everything stored about the index as a whole."""
        with self._readable():
            rows = self._execute("SELECT key, value FROM about").fetchall()
        return {key: json.loads(value) for key, value in rows}

    def set_facts(self, **values: Any) -> None:
        """Change some facts, inside a transaction."""
        for key, value in values.items():
            self._execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, json.dumps(value)))

    def head(self) -> Head:
        facts = self.facts()
        (last,) = self._execute("SELECT coalesce(max(number), 0) FROM tombstones").fetchone()
        return Head(
            facts["generation"], facts["written"], facts["projection"], facts["projected"], last
        )

    def generation(self) -> int:
        """Number of the vector file in use."""
        with self._readable():
            (number,) = self._execute("SELECT value FROM about WHERE key='generation'").fetchone()
        return json.loads(number)

    def version(self) -> int:
        """A number that changes when another connection has committed."""
        with self._readable():
            return self._execute("PRAGMA data_version").fetchone()[0]

    def columns(self, first_slot: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Chunks of slot, id, camid, pid, modality (int64) and time (float64, NaN if unknown)
        of the entries from `first_slot` on, in no order."""
        cursor = self._execute(
            "SELECT slot, id, camid, pid, modality, time FROM entries WHERE slot >= ?",
            (first_slot,),
        )
        while rows := cursor.fetchmany(50_000):
            *numbers, times = zip(*rows)
            yield (
                *(np.array(column, dtype=np.int64) for column in numbers),
                np.array(times, dtype=np.float64),
            )

    def tombstones(self, after: int) -> np.ndarray:
        """(m,) int64 slots freed by tombstones with a number above `after`."""
        rows = self._execute("SELECT slot FROM tombstones WHERE number > ?", (after,)).fetchall()
        return np.array([slot for (slot,) in rows], dtype=np.int64)

    def ids_of(self, paths: Sequence[str]) -> dict[str, tuple[int, int]]:
        """path → (id, slot) of those of `paths` that are in the index."""
        return {
            path: (number, slot)
            for number, slot, path in self._select("id, slot, path", "path", paths)
        }

    def entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        """id → entry of those of `ids` that are in the index."""
        with self._readable():
            rows = self._select("id, path, camid, pid, modality, time", "id", ids)
            return {row[0]: Entry.of(*row) for row in rows}

    def paths(self, ids: Sequence[int]) -> dict[int, str]:
        """id → path of those of `ids` that are in the index."""
        with self._readable():
            return dict(self._select("id, path", "id", ids))

    def _select(self, columns: str, key: str, values: Sequence) -> Iterator[tuple]:
        for block in in_blocks(values, _BLOCK):
            marks = ",".join("?" * len(block))
            query = f"SELECT {columns} FROM entries WHERE {key} IN ({marks})"
            yield from self._execute(query, block)

    def insert(self, rows: Iterable[StoredRow]) -> None:
        """New entries, inside a transaction."""
        self._connection.executemany(
            "INSERT INTO entries (slot, path, camid, pid, modality, time, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((slot, *row, checksum) for slot, row, checksum in rows),
        )

    def replace(self, rows: Iterable[tuple[int, StoredRow]]) -> None:
        """(id, row) of entries that get a new slot and columns, inside a transaction."""
        self._connection.executemany(
            "UPDATE entries SET slot = ?, camid = ?, pid = ?, modality = ?, time = ?, "
            "checksum = ? WHERE id = ?",
            ((slot, *row[1:], checksum, number) for number, (slot, row, checksum) in rows),
        )

    def delete(self, ids: Iterable[int]) -> None:
        self._connection.executemany("DELETE FROM entries WHERE id = ?", ((n,) for n in ids))

    def bury(self, slots: Iterable[int]) -> None:
        """Tombstones for slots whose entry was removed or moved, inside a transaction."""
        self._connection.executemany(
            "INSERT INTO tombstones (slot) VALUES (?)", ((slot,) for slot in slots)
        )

    def checksums(self) -> Iterator[tuple[int, int, str]]:
        """slot, checksum and path of every entry, in order of slot."""
        yield from self._execute("SELECT slot, checksum, path FROM entries ORDER BY slot")

    def move(self, moves: Iterable[tuple[int, int]]) -> None:
        """(new slot, old slot) in increasing order with new <= old; deletes all tombstones."""
        self._connection.executemany("UPDATE entries SET slot = ? WHERE slot = ?", moves)
        self._execute("DELETE FROM tombstones")

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        with self._readable():
            results = [text for (text,) in self._execute("PRAGMA integrity_check")]
        return [f"The catalog is damaged: {text}. {_REBUILD}" for text in results if text != "ok"]

    def shrink(self) -> None:
        """Return free space to the disk.

        Raises:
            InputError: it needs some space for that, and there is none; nothing is lost.
        """
        with self._readable():
            self._execute("VACUUM")
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._connection.close()
