"""What every backend refuses: vectors of other weights, broken vectors, unusable queries."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vireid.index.base import Filters
from vireid.types import Embeddings, InputError

LENGTH_TOLERANCE = 0.01
"""How far from 1 an embedding's length may be; float16 vectors are off by up to 0.001."""


def check_same_kind(
    embeddings: Embeddings,
    name: str,
    *,
    weights_hash: str,
    dim: int,
    preprocessing: dict[str, Any],
) -> np.ndarray:
    """The (N, D) vectors of the test embedding `name`, if they belong into the index.

    Raises:
        InputError: other weights, another dimension or preprocessing, no such embedding.
    """
    if embeddings.weights_hash != weights_hash:
        raise InputError(
            f"The vectors were made by the weights {embeddings.weights_hash[:12] or '(unknown)'}, "
            f"the index holds vectors of the weights {weights_hash[:12]}. Vectors of different "
            "weights can't be compared: embed the images with the index's weights, or make "
            "another index."
        )
    if name not in embeddings.vectors:
        raise InputError(
            f"The embeddings hold {', '.join(sorted(embeddings.vectors))}, not '{name}'. Name one "
            "of those, or make an index for it."
        )
    vectors = embeddings.vectors[name]
    if vectors.shape[1] != dim:
        raise InputError(
            f"The vectors have {vectors.shape[1]} dimensions, the index {dim}. Embed with the "
            "weights that the index was made for."
        )
    given = json.loads(json.dumps(embeddings.preprocessing))  # as it is kept: tuples are lists
    if given and preprocessing and given != preprocessing:
        names = sorted(
            key
            for key in given.keys() | preprocessing.keys()
            if given.get(key) != preprocessing.get(key)
        )
        differences = "; ".join(
            f"{key}: {given.get(key)!r} here, {preprocessing.get(key)!r} in the index"
            for key in names
        )
        raise InputError(
            f"The images were prepared otherwise than the index's ({differences}). Embed them in "
            "the same way, or make another index."
        )
    return vectors


def check_which(which: str | None, embedding: str) -> str:
    """The test embedding to take: the index's.

    Raises:
        InputError: another one is asked for.
    """
    if which is not None and which != embedding:
        raise InputError(
            f"The embedding '{which}' was asked for, but the index holds '{embedding}'. Make "
            f"another index for '{which}'."
        )
    return embedding


def check_removal(
    paths: Sequence[str] | None, older_than: float | None, filters: Filters | None
) -> None:
    """Raises InputError if nothing says what to remove, or the moment is not a number."""
    if paths is None and older_than is None and (filters is None or filters.empty):
        raise InputError(
            "Nothing says what to remove. Give paths, a moment before which entries are too old, "
            "or filters."
        )
    if older_than is not None and not math.isfinite(older_than):
        raise InputError(f"older_than is {older_than}; seconds since 1970 were expected.")


def check_paths(paths: list[str]) -> None:
    """Raises InputError if a path is empty, there twice, or no UTF-8."""
    if "" in paths:
        raise InputError(
            f"{paths.count('')} of {len(paths)} embeddings have no path. An index knows its "
            "entries by path: embed files, or give each row a path of its own."
        )
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"The path {path!r} has bytes that are no UTF-8 text, which neither an index nor "
                "a page can show. Rename the file and embed it again."
            ) from error
    if len(set(paths)) != len(paths):
        seen: set[str] = set()
        twice = next(path for path in paths if path in seen or seen.add(path))  # type: ignore[func-returns-value]
        raise InputError(
            f"The path '{twice}' is given more than once ({len(paths) - len(set(paths))} rows too "
            "many). Each image can be in an index once."
        )


def check_lengths(vectors: np.ndarray, paths: list[str]) -> None:
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
        raise InputError(f"The number of hits asked for is {top}; at least 1 was expected.")
    queries = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise InputError(
            f"The queries have shape {np.shape(vectors)}; the index expects (Q, {dim}). Embed "
            "them with the weights that the index was made for."
        )
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise InputError(
            "A query is zero or not finite, so it has no direction to search in. Look at the "
            "picture it was made from."
        )
    return queries / lengths
