"""Entries as rows of a Milvus collection, and filters as its expressions."""

from __future__ import annotations

import hashlib
from typing import Any

from vireid.index.entries import Entry, Filters
from vireid.types import InputError

COLUMNS = ["id", "path", "camid", "pid", "modality", "time"]
"""All fields but the vector."""

PATH_BYTES = 4096
"""Longest path that a collection stores."""

NO_TIME = -1.0e18
"""An unknown time."""


def row_id_of(path: str) -> int:
    """The entry number of a path: 63 bits of its hash, the same in every collection."""
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def check_path_lengths(paths: list[str]) -> None:
    """Raises InputError if a path is longer than a collection stores."""
    for path in paths:
        if len(path.encode()) > PATH_BYTES:
            raise InputError(
                f"The path '{path[:60]}...' has more than {PATH_BYTES} bytes, the most that Milvus "
                "stores. Embed with paths relative to an image root."
            )


def check_collisions(ids: list[int], paths: list[str], existing: dict[int, dict]) -> None:
    """Raises InputError if two paths, new or in the index, have the same number."""
    path_of = {number: row["path"] for number, row in existing.items()}
    for number, path in zip(ids, paths):
        if path_of.setdefault(number, path) != path:
            raise InputError(
                f"The paths '{path}' and '{path_of[number]}' have the same hash, so one Milvus "
                "collection can't hold both. Rename one of the files."
            )


def expression(filters: Filters, older_than: float | None = None) -> str:
    """Filters as an expression of Milvus."""
    parts = []
    if filters.camids is not None:
        parts.append(f"camid in {[int(n) for n in filters.camids]}")
    if filters.pids is not None:
        parts.append(f"pid in {[int(n) for n in filters.pids]}")
    if filters.modality is not None:
        parts.append(f"modality == {int(filters.modality)}")
    if filters.time_from is not None:
        parts.append(f"time >= {float(filters.time_from)!r}")
    if filters.time_to is not None:
        parts.append(f"time <= {float(filters.time_to)!r}")
    if older_than is not None:
        parts.append(f"time < {float(older_than)!r}")
    if filters.time_from is None and (filters.time_to is not None or older_than is not None):
        parts.append(f"time > {NO_TIME / 2!r}")
    return " and ".join(parts)


def entry_of(row: dict[str, Any]) -> Entry:
    """An entry from a row of the collection."""
    time = None if row["time"] == NO_TIME else row["time"]
    return Entry.of(row["id"], row["path"], row["camid"], row["pid"], row["modality"], time)
