"""What every backend refuses, and how a row of embeddings is written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple, TypedDict, cast

import numpy as np

from vireid.config import to_plain
from vireid.types import Embeddings, InputError, Limits, Preprocessing

LENGTH_TOLERANCE = 0.01
"""How far from 1 an embedding's length may be; float16 vectors are off by up to 0.001."""


class _Always(TypedDict):
    weights_hash: str
    embedding: str
    dim: Annotated[int, Limits(1, 2**20)]
    image_roots: list[str]
    preprocessing: Preprocessing


class IndexFacts(_Always, total=False):
    """What is stored about an index as a whole, beside what its backend needs.

    `prefixes` belong to the image roots and are absent where there are none; `strangers` are there
    once they have been measured, and `camera_names` once cameras have some.
    """

    prefixes: list[str]
    strangers: dict[str, Any]
    camera_names: dict[str, Any]


class Row(NamedTuple):
    """One image as plain Python values; `time` is None where unknown."""

    path: str
    camid: int
    pid: int
    modality: int
    time: float | None


def rows_of(embeddings: Embeddings, numbers: Sequence[int]) -> list[Row]:
    """The rows with these numbers."""
    columns = (embeddings.camids, embeddings.pids, embeddings.modality, embeddings.times)
    values = zip(*(column[numbers].tolist() for column in columns))
    return [
        Row(embeddings.paths[n], camid, pid, modality, None if np.isnan(time) else time)
        for n, (camid, pid, modality, time) in zip(numbers, values)
    ]


def in_blocks(values: Any, size: int) -> Iterator[Any]:
    """A list or array in slices of at most `size` items."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


class _UnitRows:
    """(N, D) vectors, each brought to length 1 where it is read: an index compares directions,
    and a flip's sums have other lengths."""

    dtype = np.dtype(np.float32)

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors, self.shape = vectors, vectors.shape

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: Any) -> np.ndarray:
        block = np.asarray(self._vectors[rows], np.float32)
        with np.errstate(invalid="ignore"):  # `check_lengths` refuses a row that is 0
            return block / np.linalg.norm(block, axis=-1, keepdims=True)


def check_embeddings(
    embeddings: Embeddings,
    which: str | None,
    *,
    embedding: str,
    weights_hash: str,
    dim: int,
    preprocessing: dict[str, Any],
) -> np.ndarray:
    """The (N, D) vectors that are compared in the index. Their lengths are not checked.

    Args:
        embeddings: N images.
        which: name of the test embedding that was asked for, or None.
        embedding, weights_hash, dim, preprocessing: the index's.

    Raises:
        InputError: another test embedding, other weights, dimension or preprocessing than the
            index's, or a value that cannot be stored.
    """
    if which is not None and which != embedding:
        raise InputError(
            f"The embedding '{which}' was asked for, but the index holds '{embedding}'. Make "
            f"another index for '{which}'."
        )
    if embeddings.weights_hash != weights_hash:
        raise InputError(
            f"The vectors were made by the weights {embeddings.weights_hash[:12] or '(unknown)'}, "
            f"but the index holds vectors of the weights {weights_hash[:12]}. Vectors of different "
            "weights can't be compared: embed the images with the index's weights, or make "
            "another index."
        )
    if embedding not in embeddings.vectors:
        raise InputError(
            f"The embeddings hold {', '.join(sorted(embeddings.vectors))}, but the index needs "
            f"'{embedding}'. Make an index for one of those."
        )
    vectors = embeddings.vectors[embedding]
    if vectors.shape[1] != dim:
        raise InputError(
            f"The vectors have {vectors.shape[1]} dimensions, the index has {dim}. Embed with the "
            "weights that the index was made for."
        )
    _check_preprocessing(embeddings.preprocessing, preprocessing)
    embeddings.check_values()
    if embeddings.preprocessing.get("tta") == "flip":
        return cast("np.ndarray", _UnitRows(vectors))
    return vectors


def _check_preprocessing(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    if not (theirs and ours):
        return
    theirs, ours = to_plain([theirs, ours])  # as an index stores it: tuples are lists
    if theirs.get("intensity_range") is None:  # they are images with 8 bits, which it never changes
        theirs["intensity_range"] = ours.get("intensity_range")
    for one, other in ((theirs, ours), (ours, theirs)):
        one.setdefault("orientation", other.get("orientation"))  # earlier files don't say
    differences = [
        f"{key}: {theirs.get(key)!r} here, {ours.get(key)!r} in the index"
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key)
    ]
    if differences:
        raise InputError(
            f"The images were preprocessed differently from the index's "
            f"({'; '.join(differences)}). Embed them in the same way, or make another index."
        )


def check_paths(paths: Sequence[str]) -> None:
    """Raises InputError if a path is missing, repeated or can't be stored."""
    count = Counter(paths)
    if count[""]:
        raise InputError(
            f"{count['']} of {len(paths)} embeddings have no path. An index identifies its "
            "entries by path: embed files, or give each row a path of its own."
        )
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"The path {path!r} is not valid UTF-8, so neither an index nor a page can show "
                "it. Rename the file and embed it again."
            ) from error
    if len(count) != len(paths):
        raise InputError(
            f"The path '{count.most_common(1)[0][0]}' appears more than once "
            f"({len(paths) - len(count)} rows too many). An index holds each image once."
        )


def check_lengths(vectors: np.ndarray, paths: Sequence[str]) -> None:
    """Raises InputError if a row of (N, D) `vectors` is not finite or not of length 1."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float32))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))
    if len(wrong):
        raise InputError(
            f"The vector of '{paths[wrong[0]]}' has length {lengths[wrong[0]]:.4g} instead of 1 "
            f"({len(wrong)} such rows). Embeddings must be finite and L2-normalised."
        )


def check_queries(vectors: np.ndarray, dim: int, top: int) -> np.ndarray:
    """(Q, D) float32 queries of length 1.

    Raises:
        InputError: another dimension, a query that is zero or not finite, `top` below 1.
    """
    if top < 1:
        raise InputError(f"`top` is {top}; at least 1 was expected.")
    queries = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise InputError(
            f"The queries have shape {np.shape(vectors)}; the index expects (Q, {dim}). Embed "
            "them with the weights that the index was made for."
        )
    with np.errstate(over="ignore"):  # refused below
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InputError(
            "A query is zero or not finite, so it has no direction to search in. Check the image "
            "it was made from."
        )
    return queries / lengths
