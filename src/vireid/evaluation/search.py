"""Every trial of a protocol, searched once by each test embedding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vireid.evaluation.metrics import Scores, score, score_embeddings
from vireid.evaluation.products import product
from vireid.types import Embeddings, InputError

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset, Trial

_WHOLE_BYTES = 2**30  # up to this size the similarity of all trials' images is kept whole
_ORDER = ("pooled", "embedding", "part")


class Search:
    """One trial, searched by one test embedding.

    Attributes:
        name: of the test embedding.
        trial: its rows of the data set.
        query, gallery: (Q, D), (G, D) vectors.
        labels: pids of queries and gallery, then camids of queries and gallery.
        scores: of the whole search.
    """

    def __init__(
        self,
        name: str,
        dataset: Dataset,
        trial: Trial,
        vectors: np.ndarray,
        at: tuple[np.ndarray, np.ndarray],
        similarity: np.ndarray | None,
    ) -> None:
        self.name, self.trial, self.rule = name, trial, dataset.rule
        self.labels = (
            dataset.pids[trial.query],
            dataset.pids[trial.gallery],
            dataset.camids[trial.query],
            dataset.camids[trial.gallery],
        )
        self._vectors, self._at, self._similarity = vectors, at, similarity
        if similarity is None:
            self.scores = score_embeddings(self.query, self.gallery, *self.labels, rule=self.rule)
        else:
            self.scores = score(similarity, *self.labels, rule=self.rule)

    @property
    def query(self) -> np.ndarray:
        return self._vectors[self._at[0]]

    @property
    def gallery(self) -> np.ndarray:
        return self._vectors[self._at[1]]

    @cached_property
    def similarity(self) -> np.ndarray:
        """(Q, G), larger is closer; of a large gallery computed when it is asked for."""
        return product(self.query, self.gallery) if self._similarity is None else self._similarity

    def camera_pairs(self) -> dict[tuple[int, int], Scores]:
        """Scores of each camera's queries against each camera's gallery images, where some match
        and the rule doesn't skip them all."""
        query_pids, gallery_pids, query_camids, gallery_camids = self.labels
        pairs = {}
        for query_camid in np.unique(query_camids).tolist():
            queries = np.flatnonzero(query_camids == query_camid)
            for gallery_camid in np.unique(gallery_camids).tolist():
                if self.rule.skips_cameras(query_camid, gallery_camid):
                    continue
                images = np.flatnonzero(gallery_camids == gallery_camid)
                shared = np.intersect1d(query_pids[queries], gallery_pids[images])
                if (shared >= 0).any():
                    pairs[query_camid, gallery_camid] = self._score_part(queries, images)
        return pairs

    def _score_part(self, queries: np.ndarray, images: np.ndarray) -> Scores:
        pids, gallery_pids, camids, gallery_camids = self.labels
        labels = pids[queries], gallery_pids[images], camids[queries], gallery_camids[images]
        if self._similarity is None:
            part = self.query[queries], self.gallery[images]
            return score_embeddings(*part, *labels, rule=self.rule)
        return score(self._similarity[np.ix_(queries, images)], *labels, rule=self.rule)


def search_trials(
    dataset: Dataset, drawn: Sequence[Trial], embeddings: Embeddings, rows: np.ndarray
) -> Iterator[Search]:
    """The search of every trial by the first test embedding, then by the next.

    Args:
        drawn: see `vireid.data.trials`.
        embeddings, rows: see `vireid.evaluation.evaluate`.

    Raises:
        InputError: an image of a trial has no embedding, or no query has a match.
    """
    rows = np.asarray(rows)
    if rows.shape != (len(embeddings),):
        raise InputError(
            f"There are {len(embeddings)} embeddings and rows of shape {rows.shape}; one row "
            "number for each embedding was expected."
        )
    position = np.full(len(dataset.samples), -1, np.int64)
    position[rows] = np.arange(len(rows))
    sides = [_positions(dataset, trial, position) for trial in drawn]
    queries = np.unique(np.concatenate([query for query, _ in sides]))
    images = np.unique(np.concatenate([gallery for _, gallery in sides]))
    fits = 4 * len(queries) * len(images) <= _WHOLE_BYTES
    names = sorted(embeddings.vectors, key=lambda n: (_ORDER.index(n) if n in _ORDER else 9, n))
    for name in names:
        vectors = embeddings.vectors[name]
        # The draws of a gallery overlap, and one large product is faster than many small ones.
        whole = product(vectors[queries], vectors[images]) if fits else None
        for trial, (query, gallery) in zip(drawn, sides):
            part = None
            if whole is not None:
                part = whole[
                    np.ix_(np.searchsorted(queries, query), np.searchsorted(images, gallery))
                ]
            yield Search(name, dataset, trial, vectors, (query, gallery), part)


def _positions(
    dataset: Dataset, trial: Trial, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the trial's queries and gallery images stand among the embeddings."""
    sides = position[trial.query], position[trial.gallery]
    wanted = np.concatenate([trial.query, trial.gallery])
    absent = wanted[np.concatenate(sides) < 0]
    if len(absent):
        raise InputError(
            f"{len(absent)} of the {len(wanted)} images of trial {trial.number} have no embedding, "
            f"the first is '{dataset.samples[absent[0]].path}'. Embed every row that the trials "
            "name; images that can't be read have to be left out of the data set first "
            "(`vireid.data.without`)."
        )
    return sides
