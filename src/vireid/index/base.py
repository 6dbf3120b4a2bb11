"""One interface to an index of embeddings, whatever keeps them.

Every backend answers the same calls with the same top results, in the words of this module,
which imports none of them; `backends` has their table.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vireid.types import Embeddings, InputError, Modality


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which entries a search may answer with. None means any; given fields must all fit.

    Attributes:
        camids: camera numbers.
        modality: the sensor.
        time_from, time_to: seconds since 1970, both included; entries without a time fit
            neither.
        pids: identities.

    Raises:
        InputError: a field is empty, or the times are not numbers or the wrong way round.
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
                    f"The filter {name} is an empty list; nothing could be found. "
                    "Leave it out to allow all, or name at least one number."
                )
        for name, moment in (("time_from", self.time_from), ("time_to", self.time_to)):
            if moment is not None and not math.isfinite(moment):
                raise InputError(
                    f"The filter {name} is {moment}; seconds since 1970 were expected."
                )
        if (
            self.time_from is not None
            and self.time_to is not None
            and self.time_from > self.time_to
        ):
            raise InputError(
                f"The filter's time_from ({self.time_from}) is after its time_to "
                f"({self.time_to}). Swap them."
            )

    @property
    def empty(self) -> bool:
        """Whether every entry fits."""
        return self == Filters()


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is known of one indexed image.

    Attributes:
        row_id: the entry's number, kept for as long as the entry (or an update of it) exists.
            It may exceed 2**53 (Milvus): send it to a browser as text.
        path: as it was embedded; relative ones are meant under one of the image roots.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit(Entry):
    """An entry that a search found, with its cosine similarity to the query in [-1, 1]."""

    similarity: float


@dataclass(frozen=True, kw_only=True)
class AddResult:
    """What an `add` or `update` did once it returned, that is once it is safe on the disk.

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
        url: where it is.
        backend: "local" or "milvus".
        weights_hash: hash of the weights that made its vectors.
        embedding: which test embedding the vectors are ("pooled", "embedding", "part").
        dim: D.
        preprocessing: of the indexed images.
        count: entries.
        removed: vectors removed but still on the disk until `compact` (0 if not known).
        cameras: camera number → entries, -1 for unknown.
        modalities: "visible" or "infrared" → entries.
        num_pids: known identities.
        time_range: earliest and latest time in seconds since 1970, or None.
        size_on_disk: bytes, or None where the server does not say.
        image_roots: folders that hold the images.
        mode: "exact", or in words how candidates are found before the best are re-scored.
        details: backend's own facts: projection size, candidates, measured recall ...
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
    details: dict[str, Any] = field(default_factory=dict)


class Index(abc.ABC):
    """Vectors of images, searched by cosine similarity.

    Searching is safe from many threads at once; writing is for one thread of one process. Use
    as a context manager or call `close`.

    Attributes:
        weights_hash, embedding, dim, image_roots: as in `IndexInfo`.
    """

    weights_hash: str
    embedding: str
    dim: int
    image_roots: tuple[str, ...]

    @classmethod
    @abc.abstractmethod
    def create(cls, url: str | Path, **about: Any) -> Index:
        """An empty index at `url`, open for writing; see `create_index`."""

    @classmethod
    @abc.abstractmethod
    def open(cls, url: str | Path, *, write: bool = False) -> Index:
        """An index that exists; see `open_index`."""

    @property
    @abc.abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """Of the indexed images; empty if not known (yet)."""

    @abc.abstractmethod
    def add(self, embeddings: Embeddings, *, which: str | None = None) -> AddResult:
        """Add images; those whose path is there already are skipped and counted.

        When this returns, the entries are safe; if it does not, none of them exists.

        Args:
            embeddings: N images with distinct, non-empty paths.
            which: name of the test embedding to take; None means the index's.

        Raises:
            InputError: other weights, dimension or preprocessing than the index's, a row that
                is not of length 1, a missing or repeated path, a full disk, an index that was
                opened for reading.
        """

    @abc.abstractmethod
    def update(self, embeddings: Embeddings, *, which: str | None = None) -> AddResult:
        """Like `add`, but a path that is there already is replaced and keeps its `row_id`."""

    @abc.abstractmethod
    def remove(
        self,
        *,
        paths: Sequence[str] | None = None,
        older_than: float | None = None,
        filters: Filters | None = None,
    ) -> int:
        """Remove the entries that fit everything given; at least one thing must be given.

        Args:
            paths: these paths; unknown ones are passed over.
            older_than: entries taken before this moment, in seconds since 1970. Entries
                without a time are kept.
            filters: entries that a search with these filters could find.

        Returns:
            How many entries were removed.
        """

    @abc.abstractmethod
    def search(
        self,
        vectors: np.ndarray,
        *,
        top: int = 20,
        filters: Filters | None = None,
        exact: bool | None = None,
    ) -> list[list[Hit]]:
        """The most similar entries for each query, best first.

        Args:
            vectors: (Q, D) or (D,) queries of any positive length; their direction counts.
            top: at most so many hits for a query.
            filters: which entries may be answered.
            exact: True scans every vector; False uses the fast way if there is one; None lets
                the index choose.

        Returns:
            Q lists of at most `top` hits; shorter if fewer entries fit. Ties are in order of
            `row_id`.

        Raises:
            InputError: another dimension than the index's, a query that is zero or not
                finite, `top` below 1.
        """

    @abc.abstractmethod
    def entries(self, row_ids: Sequence[int]) -> list[Entry]:
        """What is known of these entries, in this order.

        Raises:
            InputError: an entry does not exist (any more).
        """

    @abc.abstractmethod
    def vectors_of(self, row_ids: Sequence[int]) -> np.ndarray:
        """(len(row_ids), D) float32 vectors of these entries, in this order ("search with
        this one").

        Raises:
            InputError: an entry does not exist (any more).
        """

    @abc.abstractmethod
    def info(self) -> IndexInfo:
        """What the index holds now."""

    @abc.abstractmethod
    def verify(self) -> list[str]:
        """Check everything that is stored; one sentence a problem, an empty list if sound."""

    @abc.abstractmethod
    def compact(self) -> int:
        """Take removed vectors off the disk and build search structures anew.

        Returns:
            Bytes won; negative if search structures grew by more than that.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of files, connections and the writer's lock. Closing twice is fine."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many entries there are."""

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
