"""What goes into an index and what comes out: entries, filters, hits, counts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vireid.index.strangers import Strangers
from vireid.types import InputError, Modality, parse_time


def check_time(what: str, moment: float | None) -> None:
    """Raises InputError if a time is not seconds since 1970, but milliseconds, say."""
    try:
        if moment is not None:
            parse_time(moment)
    except InputError as error:
        raise InputError(f"{what} is not valid. {error}") from error


class NoSuchEntry(InputError):
    """An entry that isn't in the index, or not any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which entries a search may return. None means any; an entry must match every field set.

    Attributes:
        camids: camera numbers.
        modality: the sensor.
        time_from, time_to: seconds since 1970, both included; entries without a time match
            neither.
        pids: identities.

    Raises:
        InputError: a list is empty, a time is not a number, or the times are in the wrong order.
    """

    camids: tuple[int, ...] | None = None
    modality: Modality | None = None
    time_from: float | None = None
    time_to: float | None = None
    pids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, values in (("camids", self.camids), ("pids", self.pids)):
            if values is not None and not values:
                raise InputError(
                    f"The filter `{name}` is an empty list, which no entry matches. Leave it out "
                    "to allow all, or give at least one number."
                )
        for name, moment in (("time_from", self.time_from), ("time_to", self.time_to)):
            check_time(f"The filter `{name}`", moment)
        if (
            self.time_from is not None
            and self.time_to is not None
            and self.time_from > self.time_to
        ):
            raise InputError(
                f"The filter's `time_from` ({self.time_from}) is after its `time_to` "
                f"({self.time_to}). Swap them."
            )

    @property
    def empty(self) -> bool:
        """Whether every entry matches."""
        return self == Filters()


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One indexed image.

    Attributes:
        row_id: the entry's number, which stays the same when the entry is updated. It may exceed
            2**53 (Milvus): send it to a browser as text.
        path: as it was embedded; a relative path lies under one of the image roots.
        camid, pid: -1 where unknown.
        modality: the sensor.
        time: seconds since 1970, or None.
    """

    row_id: int
    path: str
    camid: int
    pid: int
    modality: Modality
    time: float | None

    @classmethod
    def of(
        cls, row_id: int, path: str, camid: int, pid: int, modality: int, time: float | None
    ) -> Entry:
        """From stored columns, which may be NumPy scalars; a time of None or NaN is unknown."""
        return cls(
            row_id=int(row_id),
            path=path,
            camid=int(camid),
            pid=int(pid),
            modality=Modality(int(modality)),
            time=None if time is None or math.isnan(time) else float(time),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit(Entry):
    """An entry that a search returned.

    Attributes:
        similarity: its cosine similarity to the query, in [-1, 1].
        one_in: one in so many pairs of strangers is as similar or more, as measured in the index
            (`vireid.index.strangers`); None if that has too few people to tell.
    """

    similarity: float
    one_in: int | None = None


def ranked_hits(scored: Iterable[tuple[Entry, float]]) -> list[Hit]:
    """Entries with their dot products as hits, best first; equal ones in order of `row_id`."""
    hits = [
        Hit(
            **{name: getattr(entry, name) for name in Entry.__slots__},
            similarity=min(1.0, max(-1.0, float(score))),
        )
        for entry, score in scored
    ]
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.row_id))


@dataclass(frozen=True, kw_only=True)
class AddResult:
    """What an `add` or `update` did. When it is returned, the entries are safe on the disk.

    Attributes:
        added: new entries.
        replaced: entries whose vector and columns were replaced (`update` only).
        skipped: rows left out because their path is in the index already (`add` only).
        count: entries in the index now.
    """

    added: int
    replaced: int
    skipped: int
    count: int


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What an index holds and how it searches.

    Attributes:
        url: its address, without user and password.
        backend: "local", "milvus" or the name that another backend gives itself.
        weights_hash: hash of the weights that made its vectors.
        embedding: which test embedding the vectors are ("pooled", "embedding", "part").
        dim: D.
        preprocessing: of the indexed images.
        count: entries.
        removed: vectors removed but still on the disk until `compact` (0 if unknown).
        cameras: camera number → entries, -1 for unknown.
        modalities: "visible" or "infrared" → entries.
        num_pids: distinct identities, the unknown one not counted.
        time_range: earliest and latest time in seconds since 1970, or None.
        size_on_disk: bytes, or None where the server does not say.
        image_roots: folders that hold the images.
        prefixes: the word that begins the paths of each folder's entries, "" for none; as many, or
            none at all.
        mode: "exact", or a description of how candidates are chosen before they are re-scored.
        strangers: how similar different people are, or None if that wasn't measured.
        camera_names: camera number → what it is called, of those that have a name.
        details: the backend's own facts: projection size, candidates, measured recall ...
    """

    url: str
    backend: str
    weights_hash: str
    embedding: str
    dim: int
    preprocessing: dict[str, Any]
    count: int
    removed: int
    cameras: dict[int, int]
    modalities: dict[str, int]
    num_pids: int
    time_range: tuple[float, float] | None
    size_on_disk: int | None
    image_roots: tuple[str, ...]
    mode: str
    prefixes: tuple[str, ...] = ()
    strangers: Strangers | None = None
    camera_names: dict[int, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
