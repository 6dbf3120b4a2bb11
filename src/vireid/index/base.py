"""The interface of an index of embeddings.

Users call the public methods, which check what they are given; a backend implements the abstract
ones and can rely on those checks. Nothing here imports a backend; `backends` has their table.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vireid.index import checks
from vireid.index.cameras import read_stored, stored
from vireid.index.entries import (
    AddResult,
    Entry,
    Filters,
    Hit,
    IndexInfo,
    NoSuchEntry,
    check_time,
)
from vireid.index.roots import ImageRoot
from vireid.index.strangers import SAMPLE, Strangers
from vireid.types import Embeddings, InputError, Modality, check_no_zero_byte

log = logging.getLogger(__name__)


class Index(abc.ABC):
    """Vectors of images, searched by cosine similarity.

    Searching is safe from many threads at once; writing is for one thread of one process. Use
    as a context manager or call `close`.

    Attributes:
        url: its address as messages show it, without user and password.
        backend: the backend's name.
        writable: whether it was opened for writing.
        weights_hash, embedding, dim, image_roots, prefixes, strangers, camera_names: as in
            `IndexInfo`.
    """

    backend: str
    url: str
    writable: bool
    weights_hash: str
    embedding: str
    dim: int
    image_roots: tuple[str, ...]
    prefixes: tuple[str, ...] = ()
    strangers: Strangers | None = None
    camera_names: Mapping[int, str] = MappingProxyType({})

    # -- what users call

    def add(self, embeddings: Embeddings, *, which: str | None = None) -> AddResult:
        """Add images; those whose path is in the index already are skipped and counted.

        When this returns, the entries are safe; if it does not, none of them exists (a Milvus
        server may have stored some; adding again stores the others).

        Args:
            embeddings: N images with distinct, non-empty paths.
            which: name of the test embedding to take; None means the index's.

        Raises:
            InputError: other weights, dimension or preprocessing than the index's, a row that
                is not of length 1, a missing or repeated path, a full disk, an index that was
                opened for reading.
        """
        return self._put(embeddings, which, replace=False)

    def update(self, embeddings: Embeddings, *, which: str | None = None) -> AddResult:
        """Like `add`, but a path that is there already is replaced and keeps its `row_id`."""
        return self._put(embeddings, which, replace=True)

    def _put(self, embeddings: Embeddings, which: str | None, *, replace: bool) -> AddResult:
        self._check_writable()
        vectors = self._check_embeddings(embeddings, which)
        checks.check_paths(embeddings.paths)
        added, replaced = self._write(embeddings, vectors, replace=replace)
        self._measure_strangers(again=False)
        return AddResult(
            added=added,
            replaced=replaced,
            skipped=len(embeddings) - added - replaced,
            count=len(self),
        )

    def _check_embeddings(self, embeddings: Embeddings, which: str | None) -> np.ndarray:
        return checks.check_embeddings(
            embeddings,
            which,
            embedding=self.embedding,
            weights_hash=self.weights_hash,
            dim=self.dim,
            preprocessing=self.preprocessing,
        )

    def remove(
        self,
        *,
        paths: Sequence[str] | None = None,
        older_than: float | None = None,
        filters: Filters | None = None,
    ) -> int:
        """Remove the entries that match every condition; at least one is needed.

        Args:
            paths: these paths; unknown ones are ignored.
            older_than: entries taken before this time, in seconds since 1970. Entries without a
                time are kept.
            filters: entries that a search with these filters could return.

        Returns:
            How many entries were removed.
        """
        self._check_writable()
        filters = filters or Filters()
        if paths is None and older_than is None and filters.empty:
            raise InputError(
                "Nothing says what to remove. Give `paths`, `older_than` or `filters`."
            )
        check_time("`older_than`", older_than)
        return self._remove(paths, older_than, filters)

    def count(
        self,
        *,
        paths: Sequence[str] | None = None,
        older_than: float | None = None,
        filters: Filters | None = None,
    ) -> int:
        """How many entries match every condition: those that `remove` would remove."""
        check_time("`older_than`", older_than)
        return self._count(paths, older_than, filters or Filters())

    @property
    def roots(self) -> tuple[ImageRoot, ...]:
        """The folders that hold the images, with the prefixes of their entries' paths."""
        prefixes = (*self.prefixes, *[""] * len(self.image_roots))
        return tuple(map(ImageRoot, self.image_roots, prefixes))

    def set_roots(self, roots: Sequence[ImageRoot]) -> None:
        """Say where the images are, for pages and figures that show them."""
        self._check_writable()
        facts = {
            "image_roots": [root.folder for root in roots],
            "prefixes": [root.prefix for root in roots],
        }
        self._set_facts(**facts)
        self._take_facts(facts)

    def set_camera_names(self, names: Mapping[int, str]) -> None:
        """Say what the cameras are called, wherever an answer shows one; these names replace all
        that there were."""
        self._check_writable()
        facts = {"camera_names": stored(names)}
        self._set_facts(**facts)
        self._take_facts(facts)

    def search(
        self,
        vectors: np.ndarray | Embeddings,
        *,
        top: int = 20,
        filters: Filters | None = None,
        exact: bool | None = None,
        modality: Modality | None = None,
    ) -> list[list[Hit]]:
        """The most similar entries for each query, best first.

        Args:
            vectors: Q embeddings, or (Q, D) or (D,) queries of any positive length; only their
                direction counts. Of embeddings the index's own is taken.
            top: at most this many hits for each query.
            filters: which entries may be returned.
            exact: True scans every vector; False uses the fast way if there is one; None lets
                the index choose.
            modality: the sensor of all queries, for `Hit.one_in`; of embeddings it is known.

        Returns:
            Q lists of at most `top` hits; shorter if fewer entries match. Ties are in order of
            `row_id`.

        Raises:
            InputError: another dimension than the index's, a query that is zero or not
                finite, `top` below 1; embeddings of other weights or preprocessing.
        """
        sensors: Iterable[Modality | None] = itertools.repeat(modality)
        if isinstance(vectors, Embeddings):
            sensors = map(Modality, vectors.modality.tolist())
            vectors = self._check_embeddings(vectors, None)
        queries = checks.check_queries(vectors, self.dim, top)
        answers = self._search(queries, top, filters or Filters(), exact)
        strangers = self.strangers
        if strangers is None:
            return answers
        return [
            [
                dataclasses.replace(
                    hit, one_in=strangers.one_in(hit.similarity, sensor, hit.modality)
                )
                for hit in hits
            ]
            for hits, sensor in zip(answers, sensors)
        ]

    # -- what a backend implements

    @classmethod
    @abc.abstractmethod
    def create(
        cls,
        url: str | Path,
        *,
        weights_hash: str,
        dim: int,
        embedding: str,
        image_roots: Sequence[str],
        preprocessing: dict[str, Any],
    ) -> Index:
        """An empty index at `url`, open for writing; see `create_index`."""

    @classmethod
    @abc.abstractmethod
    def open(cls, url: str | Path, *, write: bool = False) -> Index:
        """An existing index; see `open_index`."""

    @property
    @abc.abstractmethod
    def preprocessing(self) -> dict[str, Any]:
        """Of the indexed images; empty if not known (yet)."""

    @abc.abstractmethod
    def _write(
        self, embeddings: Embeddings, vectors: np.ndarray, *, replace: bool
    ) -> tuple[int, int]:
        """Store images, all or none.

        Args:
            embeddings: N images with distinct, valid paths; see `checks.check_embeddings`.
            vectors: (N, D) of the index's test embedding; their lengths are not checked yet
                (`checks.check_lengths`), so that they can be read in blocks.
            replace: whether images whose path is in the index already replace it; they are
                skipped otherwise.

        Returns:
            How many entries are new, and how many were replaced.
        """

    @abc.abstractmethod
    def _remove(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> int:
        """See `remove`."""

    @abc.abstractmethod
    def _search(
        self, queries: np.ndarray, top: int, filters: Filters, exact: bool | None
    ) -> list[list[Hit]]:
        """See `search`; `queries` are (Q, D) float32 of length 1. `ranked_hits` orders hits."""

    @abc.abstractmethod
    def entries(self, row_ids: Sequence[int]) -> list[Entry]:
        """These entries, in this order.

        Raises:
            NoSuchEntry: an entry doesn't exist; it may have been removed.
        """

    @abc.abstractmethod
    def vectors_of(self, row_ids: Sequence[int]) -> np.ndarray:
        """(len(row_ids), D) float32 vectors of these entries, in this order ("search with
        this one").

        Raises:
            NoSuchEntry: an entry doesn't exist; it may have been removed.
        """

    @abc.abstractmethod
    def _count(
        self, paths: Sequence[str] | None, older_than: float | None, filters: Filters
    ) -> int:
        """See `count`."""

    @abc.abstractmethod
    def info(self) -> IndexInfo:
        """What the index holds now."""

    @abc.abstractmethod
    def verify(self) -> list[str]:
        """Check everything that is stored: one sentence for each problem, an empty list if there
        is none."""

    @abc.abstractmethod
    def compact(self) -> int:
        """Delete removed vectors from the disk and rebuild search structures.

        Returns:
            Bytes freed; negative if search structures grew by more than that.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Release files, connections and the writer's lock. Closing twice is fine."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many entries there are."""

    # -- what a backend may leave out

    def _set_facts(self, **facts: Any) -> None:
        """Keep what JSON can hold about the index as a whole; `_take_facts` takes it again when
        the index is opened."""
        raise InputError(f"The index '{self.url}' can't change its {', '.join(facts)}.")

    def sample(self, count: int) -> list[int]:
        """Row ids of at most `count` entries, drawn at random but always the same; none if a
        backend can't draw."""
        return []

    def discard(self) -> None:
        """Close the index and delete it with all that it holds, where it has just been made."""
        self.close()

    # -- what backends share

    def _take_facts(self, facts: dict[str, Any]) -> None:
        """Take over what `_set_facts` has kept."""
        if "image_roots" in facts:
            check_no_zero_byte(facts["image_roots"])
            self.image_roots = tuple(facts["image_roots"])
            self.prefixes = tuple(facts.get("prefixes", ()))
        if "camera_names" in facts:
            self.camera_names = read_stored(facts["camera_names"])
        if "strangers" in facts:
            self.strangers = Strangers.read(facts["strangers"])

    def _measure_strangers(self, *, again: bool) -> None:
        """Measure how similar different people are, if that is `again` to be done, or there were
        too few, or the index has doubled since. A failure (a full disk, say) is a warning: the
        entries are safe."""
        count, known = len(self), self.strangers
        if not again and known is not None and known.enough and count < 2 * known.entries:
            return
        try:
            row_ids = self.sample(SAMPLE)
            if not row_ids:
                return
            entries = self.entries(row_ids)
            found = Strangers.measure(
                self.vectors_of(row_ids),
                np.array([entry.pid for entry in entries]),
                np.array([entry.modality for entry in entries]),
                entries=count,
            )
            if found is not None:
                facts = {"strangers": found.as_plain()}
                self._set_facts(**facts)
                self._take_facts(facts)
        except InputError as error:
            log.warning("How similar strangers are could not be measured. %s", error)

    def _check_writable(self) -> None:
        """Raises InputError if the index was opened for reading."""
        if not self.writable:
            raise InputError(
                f"The index '{self.url}' was opened for searching only. Open it with write=True to "
                "change it."
            )

    def _check_open(self, is_open: bool) -> None:
        """Raises InputError if the index has been closed."""
        if not is_open:
            raise InputError(f"The index '{self.url}' has been closed. Open it again.")

    def _check_none_missing(self, missing: Sequence[int]) -> None:
        """Raises NoSuchEntry if there are row ids without an entry."""
        if len(missing):
            raise NoSuchEntry(
                f"The index '{self.url}' has no entry {missing[0]}; it may have been removed. "
                "Search again."
            )

    def _info(self, **counted: Any) -> IndexInfo:
        """`IndexInfo` of what a backend counted, with what every index knows of itself."""
        return IndexInfo(
            url=self.url,
            backend=self.backend,
            weights_hash=self.weights_hash,
            embedding=self.embedding,
            dim=self.dim,
            preprocessing=self.preprocessing,
            image_roots=self.image_roots,
            prefixes=self.prefixes,
            strangers=self.strangers,
            camera_names=dict(self.camera_names),
            **counted,
        )

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
