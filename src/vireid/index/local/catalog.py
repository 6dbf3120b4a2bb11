"""The SQLite file of a local index: the columns of each entry, and which vectors are valid.

SQLite makes an add whole or absent: vectors are on the disk before the transaction that refers
to them commits (write-ahead log, synchronous FULL), so a row here always has its vector.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from vireid.config import convert, hints_of
from vireid.console import folder_meant
from vireid.files import parse_json, permitted
from vireid.index.checks import IndexFacts, Row, in_blocks
from vireid.index.entries import Entry
from vireid.types import LAST_MOMENT, InputError, Limits, shown

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
# Column → what its value must be for the row to be used. The signs before `id` and `slot` keep
# SQLite from choosing these conditions, which are true of nearly all rows, to search by.
_RULES = {
    "id": "+id >= 0",
    "slot": "typeof(slot) = 'integer' AND +slot >= 0",
    "path": "typeof(path) = 'text' AND path <> '' AND instr(path, char(0)) = 0",
    "camid": "typeof(camid) = 'integer' AND camid >= -1",
    "pid": "typeof(pid) = 'integer' AND pid >= -1",
    "modality": "typeof(modality) = 'integer' AND modality IN (0, 1)",
    "time": f"time IS NULL OR (typeof(time) = 'real' AND time >= 0 AND time < {LAST_MOMENT!r})",
    "checksum": "typeof(checksum) = 'integer'",
}
_VALID = " AND ".join(f"({rule})" for rule in _RULES.values())
_BLOCK = 500  # values in one statement; every SQLite allows 999
_REBUILD = f"Restore '{FILE}' from a copy, or rebuild the index from its embeddings."

StoredRow = tuple[int, Row, int]
"""slot, row, checksum"""


class _Facts(IndexFacts):
    """What the table `about` holds."""

    format: int
    generation: Annotated[int, Limits(1, 10**9)]
    written: Annotated[int, Limits(0, 2**40)]
    projection: Annotated[int, Limits(0, 10**9)]
    projected: Annotated[int, Limits(0, 2**40)]


class _MoreFacts(_Facts, total=False):
    """`last_projection` is there once there was a projection."""

    last_projection: Annotated[int, Limits(0, 10**9)]


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


def _is_index(folder: Path) -> bool:
    return (folder / FILE).is_file()


def check_is_index(folder: Path) -> None:
    """Raises InputError if the folder holds no local index."""
    if not _is_index(folder):
        raise InputError(
            f"There is no index in '{folder}'.{folder_meant(folder, _is_index)} Give the folder of "
            "one, or make one with `vireid index create`."
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
        try:
            with self._readable():
                # A name that isn't UTF-8, which only an edit can have left here, is shown as such.
                self._connection.text_factory = lambda text: text.decode("utf-8", "replace")
                self._execute("PRAGMA busy_timeout = 30000")
                if write:
                    self._execute("PRAGMA synchronous = FULL")
                    self._execute("PRAGMA secure_delete = ON")
                self._check_tables()
                self._execute(
                    f"CREATE TEMP VIEW valid AS SELECT * FROM main.entries WHERE {_VALID}"
                )
            self.facts()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def create(folder: Path, facts: dict[str, Any]) -> None:
        """Make an empty catalog with these facts; it appears whole or not at all.

        Raises:
            InputError: the disk is full or can't be written.
        """
        temporary = folder / f".{FILE}.{os.getpid()}.tmp"
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.executescript(_SCHEMA)
                counters = {"generation": 1, "written": 0, "projection": 0, "projected": 0}
                values = {"format": FORMAT, **counters, **facts}
                connection.executemany(
                    "INSERT INTO about VALUES (?, ?)",
                    [(key, json.dumps(value)) for key, value in values.items()],
                )
                connection.execute("PRAGMA journal_mode = WAL")
            os.replace(temporary, folder / FILE)
        except (sqlite3.OperationalError, OSError) as error:
            raise InputError(
                f"The index '{folder}' could not be made: {error}. If the disk is full, free some "
                "space."
            ) from error
        finally:
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

    def _check_tables(self) -> None:
        """Raises InputError unless the tables are those that `create` makes, and no trigger or
        view is there besides."""
        query = "SELECT type, name, sql FROM {} WHERE type <> 'index' AND name NOT LIKE 'sqlite_%'"
        found = set(self._execute(query.format("main.sqlite_master")))
        with closing(sqlite3.connect(":memory:")) as empty:
            empty.executescript(_SCHEMA)
            expected = set(empty.execute(query.format("sqlite_master")))
        if found != expected:
            kind, name, _ = sorted(found ^ expected)[0]
            raise InputError(
                f"The catalog of the index '{self.folder}' isn't one that vireid made: its {kind} "
                f"{shown(name)} differs. {_REBUILD}"
            )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk's fault, not the file's
            path = self.folder / FILE
            with permitted(path), suppress(FileNotFoundError), open(path, "rb"):
                pass  # the library doesn't tell why it can't open it
            raise InputError(
                f"The catalog of the index '{self.folder}' can't be opened: {error}. It is "
                "unchanged. If the disk is full, free some space and try again; if it fails, "
                f"restore '{FILE}' from a copy."
            ) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter in its message
            raise InputError(
                f"The catalog of the index '{self.folder}' can't be read: {error}. {_REBUILD}"
            ) from error

    def _read(self, statement: str, values: Sequence = ()) -> list[tuple]:
        """All rows of a query."""
        with self._readable():
            return self._execute(statement, values).fetchall()

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
                if kind == "DEFERRED":  # nothing is written in those
                    raise
                raise InputError(
                    f"The index '{self.folder}' could not be written: {error}. It is unchanged. "
                    "If the disk is full, free some space."
                ) from error
            finally:
                if self._connection.in_transaction:
                    self._execute("ROLLBACK")

    def facts(self) -> dict[str, Any]:
        """Everything stored about the index as a whole.

        Raises:
            InputError: something is missing or can't be, or is of another version.
        """
        known = hints_of(_MoreFacts)
        stored = self._read("SELECT key, value FROM about")
        what = f"The catalog of the index '{self.folder}'"
        facts = {key: parse_json(str(value), f"{what}: {key}") for key, value in stored
                 if key in known}  # fmt: skip
        if facts.get("format") != FORMAT:
            raise InputError(
                f"The index '{self.folder}' has format {shown(facts.get('format'))}; this version "
                f"of vireid reads format {FORMAT}. Use the version that made it, or rebuild it "
                "from its embeddings."
            )
        try:
            convert(_MoreFacts, facts, what)
        except InputError as error:
            raise InputError(f"{error} {_REBUILD}") from error
        return facts

    def set_facts(self, **values: Any) -> None:
        """Change some facts, inside a transaction."""
        for key, value in values.items():
            self._execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, json.dumps(value)))

    def head(self) -> Head:
        facts = self.facts()
        ((last,),) = self._read("SELECT coalesce(max(number), 0) FROM tombstones")
        return Head(
            facts["generation"], facts["written"], facts["projection"], facts["projected"], last
        )

    def generation(self) -> int:
        """Number of the vector file in use."""
        return self.facts()["generation"]

    def version(self) -> int:
        """A number that changes when another connection has committed."""
        return self._read("PRAGMA data_version")[0][0]

    def columns(self, first_slot: int, end: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Chunks of slot, id, camid, pid, modality (int64) and time (float64, NaN if unknown)
        of the valid entries in the slots from `first_slot` to before `end`, in no order."""
        sign = "" if first_slot else "+"  # of all rows, a scan is faster than SQLite's index
        query = (
            "SELECT slot, id, camid, pid, modality, time FROM valid "
            f"WHERE {sign}slot >= ? AND {sign}slot < ?"
        )
        with self._readable():
            cursor = self._execute(query, (first_slot, end))
            while rows := cursor.fetchmany(50_000):
                *numbers, times = zip(*rows)
                yield (
                    *(np.array(column, dtype=np.int64) for column in numbers),
                    np.array(times, dtype=np.float64),
                )

    def tombstones(self, after: int, end: int) -> np.ndarray:
        """(m,) int64 slots before `end` freed by tombstones with a number above `after`."""
        query = (
            "SELECT slot FROM tombstones WHERE number > ? AND typeof(slot) = 'integer' "
            "AND slot >= 0 AND slot < ?"
        )
        return np.array([slot for (slot,) in self._read(query, (after, end))], dtype=np.int64)

    def count(self) -> int:
        """Rows of entries, those that aren't valid among them."""
        return self._read("SELECT count(*) FROM entries")[0][0]

    def invalid(self, limit: int) -> list[tuple[int, str, str]]:
        """id, path and the first wrong column of at most `limit` entries that aren't valid."""
        cases = " ".join(f"WHEN NOT ({rule}) THEN '{name}'" for name, rule in _RULES.items())
        query = (
            f"SELECT id, CAST(path AS TEXT), CASE {cases} END FROM entries WHERE NOT ({_VALID}) "
            "LIMIT ?"
        )
        return [(number, str(path), wrong) for number, path, wrong in self._read(query, (limit,))]

    def ids_of(self, paths: Sequence[str]) -> dict[str, tuple[int, int]]:
        """path → (id, slot) of those of `paths` that are in the index."""
        return {
            path: (number, slot)
            for number, slot, path in self._select("id, slot, path", "path", paths)
        }

    def entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        """id → entry of those of `ids` that are in the index."""
        rows = self._select("id, path, camid, pid, modality, time", "id", ids)
        return {row[0]: Entry.of(*row) for row in rows}

    def paths(self, ids: Sequence[int]) -> dict[int, str]:
        """id → path of those of `ids` that are in the index."""
        return dict(self._select("id, path", "id", ids))

    def _select(self, columns: str, key: str, values: Sequence) -> Iterator[tuple]:
        for block in in_blocks(values, _BLOCK):
            marks = ",".join("?" * len(block))
            yield from self._read(f"SELECT {columns} FROM valid WHERE {key} IN ({marks})", block)

    def make_way(self, rows: Sequence[StoredRow]) -> None:
        """Delete entries that can't be used and have a path or slot of `rows`, inside a
        transaction."""
        self._connection.executemany(
            f"DELETE FROM entries WHERE path = ? AND NOT ({_VALID})",
            ((row.path,) for _, row, _ in rows),
        )
        self._connection.executemany(
            "DELETE FROM entries WHERE slot = ?", ((slot,) for slot, _, _ in rows)
        )

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

    def checksums(self) -> list[tuple[int, int, str]]:
        """slot, checksum and path of every valid entry, in order of slot."""
        return self._read("SELECT slot, checksum, path FROM valid ORDER BY slot")

    def drop_unusable(self, end: int) -> int:
        """Delete entries that aren't valid or whose slot isn't before `end`, inside a transaction;
        returns how many they were."""
        unusable = f"NOT ({_VALID}) OR slot >= ?"
        return self._execute(f"DELETE FROM entries WHERE {unusable}", (end,)).rowcount

    def move(self, moves: Iterable[tuple[int, int]]) -> None:
        """(new slot, old slot) in increasing order with new <= old; deletes all tombstones."""
        self._connection.executemany("UPDATE entries SET slot = ? WHERE slot = ?", moves)
        self._execute("DELETE FROM tombstones")

    def problems(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        results = [text for (text,) in self._read("PRAGMA integrity_check")]
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
