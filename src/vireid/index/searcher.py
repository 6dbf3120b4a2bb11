"""Images in, ranked entries out: an embedder and an index put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vireid.data.decoding import notes_on, read_image
from vireid.data.facts import Decoding
from vireid.index.base import Index
from vireid.index.entries import Filters, Hit
from vireid.index.outliers import SAMPLE, Outliers
from vireid.index.strangers import Strangers
from vireid.types import InputError, Modality

if TYPE_CHECKING:
    from vireid.embed import Embedder


class Searcher:
    """Finds a person in an index by images.

    Args:
        index: an open index.
        embedder: the weights that made the index's vectors (`vireid.load`).
        intensity_range: what the values of queries with more than 8 bits per channel mean, as
            `vireid.data.facts.Decoding` says; None for what the index's images were embedded with.

    Attributes:
        decoding: how queries are decoded: as the index's images were.

    Raises:
        InputError: the index was made with other weights, for another size of images, or with
            another intensity range.
    """

    def __init__(
        self, index: Index, embedder: Embedder, *, intensity_range: str | None = None
    ) -> None:
        if embedder.weights_hash != index.weights_hash:
            raise InputError(
                f"The index holds vectors of the weights {index.weights_hash[:12]}, but the "
                f"weights are {embedder.weights_hash[:12]}. Vectors of different weights can't be "
                "compared: use the index's weights, or embed its images again."
            )
        theirs, ours = index.preprocessing.get("size"), embedder.preprocessing["size"]
        if theirs is not None and list(theirs) != list(ours):
            raise InputError(
                f"The index's images were embedded at {theirs[0]} x {theirs[1]} pixels, but these "
                f"weights take {ours[0]} x {ours[1]}. Load the weights with the index's size."
            )
        self.index = index
        self.embedder = embedder
        self.decoding = self._decoding(intensity_range)
        self._outliers: tuple[Strangers, Outliers] | None = None  # of what has been measured

    def _decoding(self, asked: str | None) -> Decoding:
        indexed = Decoding.of(self.index.preprocessing)
        wanted = dataclasses.replace(indexed, intensity_range=asked or indexed.intensity_range)
        # Without a range the index has images with 8 bits only, which no range changes.
        if indexed.intensity_range not in (None, wanted.intensity_range):
            raise InputError(
                f"`intensity_range` is {wanted.intensity_range}, but the index's images were "
                f"embedded with {indexed.intensity_range}, so that equal temperatures would not "
                "look equal. Leave it out, or embed the images again."
            )
        return wanted

    def search_images(
        self,
        images: Sequence[str | Path] | np.ndarray,
        modality: Modality | str,
        *,
        boxes: Sequence[Sequence[int] | None] | None = None,
        one_person: bool = False,
        top: int = 20,
        filters: Filters | None = None,
        rerank: bool = False,
        exact: bool | None = None,
    ) -> list[list[Hit]]:
        """The entries most similar to each image, or to the person that all of them show.

        Args:
            images: Q paths, or (Q, H, W, 3) uint8.
            modality: the sensor that took them.
            boxes: as in `Embedder.embed`.
            one_person: the images show one person: they are one query, as `combine` says.
            top: at most this many hits for each image.
            filters: which entries may be returned.
            rerank: re-order each image's best candidates by k-reciprocal re-ranking among
                themselves; `similarity` stays the cosine.
            exact: as in `Index.search`.

        Returns:
            Q lists of hits, best first; one list of `one_person`.

        Raises:
            InputError: an image that can't be read, a box that doesn't fit, a filter that is not
                valid.
        """
        vectors = self.embed(images, modality, boxes=boxes)
        return self.search_vectors(
            combine(vectors) if one_person else vectors,
            modality=_sensor(modality),
            top=top,
            filters=filters,
            rerank=rerank,
            exact=exact,
        )

    def embed(
        self,
        images: Sequence[str | Path] | np.ndarray,
        modality: Modality | str,
        *,
        boxes: Sequence[Sequence[int] | None] | None = None,
        check_colours: bool = True,
    ) -> np.ndarray:
        """(Q, D) float32 query vectors of length 1 of images, or of the parts of them in boxes, of
        the index's test embedding.

        Args:
            check_colours: as in `Embedder.embed`; `notes` says the same of each image.
        """
        if not isinstance(images, np.ndarray):
            images = [str(path) for path in images]
        # As the gallery was embedded, mirrored copies included.
        tta = self.index.preprocessing.get("tta")
        embeddings = self.embedder.embed(
            images,
            _sensor(modality),
            tta=tta,
            decoding=self.decoding,
            boxes=boxes,
            check_colours=check_colours,
        )
        if self.index.embedding not in embeddings.vectors:
            raise InputError(
                f"The index holds the embedding '{self.index.embedding}', but these weights make "
                f"{', '.join(sorted(embeddings.vectors))}. Use the weights the index was made with."
            )
        vectors = np.asarray(embeddings.vectors[self.index.embedding], dtype=np.float32)
        if tta == "flip":  # sums, which the index holds at length 1 too
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def notes(
        self,
        vector: np.ndarray,
        modality: Modality | str,
        image: str | Path | None = None,
        box: Sequence[int] | None = None,
    ) -> list[str]:
        """Why the hits of one query may mean little, in sentences.

        Args:
            vector: (D,), of `embed`.
            modality: the sensor.
            image: its file, to see what can be seen in it; an upload has been looked at already.
            box: the part of it that was embedded.
        """
        notes = (
            []
            if image is None
            else notes_on(read_image(image, self.decoding, box), _sensor(modality))
        )
        outliers = self._of_index()
        if outliers and outliers.is_far(vector / np.linalg.norm(vector), _sensor(modality)):
            notes.append(
                "The image is of another kind than those of the index, as the network sees it: it "
                "may show no person, or not only one."
            )
        return notes

    def _of_index(self) -> Outliers | None:
        """What tells outliers, made anew when the index has changed so much that it has measured
        strangers again."""
        measured = self.index.strangers
        if measured is None:
            return None
        if self._outliers is None or self._outliers[0] != measured:
            row_ids = self.index.sample(SAMPLE)
            entries = self.index.entries(row_ids)
            found = Outliers(
                self.index.vectors_of(row_ids),
                np.array([entry.pid for entry in entries]),
                np.array([entry.modality for entry in entries]),
            )
            self._outliers = measured, found
        return self._outliers[1]

    def search_vectors(
        self,
        vectors: np.ndarray,
        *,
        modality: Modality | None = None,
        top: int = 20,
        filters: Filters | None = None,
        rerank: bool = False,
        exact: bool | None = None,
    ) -> list[list[Hit]]:
        """As `search_images`, for (Q, D) vectors."""
        queries = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
        candidates = self.index.search(
            queries,
            top=max(top, RERANK_CANDIDATES) if rerank else top,
            filters=filters,
            exact=exact,
            modality=modality,
        )
        if not rerank:
            return candidates
        return [self._rerank(query, hits)[:top] for query, hits in zip(queries, candidates)]

    def _rerank(self, query: np.ndarray, hits: list[Hit]) -> list[Hit]:
        from vireid.evaluation import rerank

        if len(hits) < 3:
            return hits
        gallery = self.index.vectors_of([hit.row_id for hit in hits])
        unit = query / np.linalg.norm(query)
        distance = rerank(unit[None], gallery, k1=min(20, len(hits) - 1), k2=min(6, len(hits) - 1))
        return [hits[i] for i in np.argsort(distance[0], kind="stable")]


def combine(vectors: np.ndarray) -> np.ndarray:
    """One query from several images of one person, wherever such a search is made: the mean of
    their vectors, brought to length 1, so that each image counts alike.

    Args:
        vectors: (n, D) of `Searcher.embed`, n > 0.

    Returns:
        (D,) float32.

    Source: average pooling of the queries, Zheng et al., Scalable Person Re-identification,
    ICCV 2015 (its "multiple queries").
    """
    mean = np.asarray(vectors, np.float32).mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _sensor(modality: Modality | str) -> Modality:
    return modality if isinstance(modality, Modality) else Modality.parse(modality)


RERANK_CANDIDATES = 200
"""How many of the best candidates are re-ordered among themselves."""
