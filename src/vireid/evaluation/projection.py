"""Vectors of many dimensions as points of a plane, to be looked at."""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np

from vireid.extras import require
from vireid.types import InputError

FEWEST = 6  # points; t-SNE has nothing to arrange with fewer


def project(vectors: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, str]:
    """Places of vectors in a plane: by UMAP where umap-learn is installed, else by t-SNE.

    Distances between far points mean nothing in either.

    Args:
        vectors: (N, D), compared by their cosine.
        seed: fixes the picture.

    Returns:
        (N, 2) float, and the name of what made them.

    Raises:
        InputError: fewer than six vectors.
        MissingExtra: scikit-learn isn't installed.
    """
    if len(vectors) < FEWEST:
        raise InputError(f"A map needs at least {FEWEST} images; {len(vectors)} were given.")
    if importlib.util.find_spec("umap") is not None:
        umap = importlib.import_module("umap")  # not among our extras: it compiles for a minute
        neighbours = min(15, len(vectors) - 1)
        places = umap.UMAP(n_neighbors=neighbours, metric="cosine", random_state=seed)
        return np.asarray(places.fit_transform(vectors)), "UMAP"
    require("plot")
    from sklearn.manifold import TSNE

    nearby = min(30.0, (len(vectors) - 1) / 3)
    places = TSNE(perplexity=nearby, metric="cosine", init="random", random_state=seed)
    return places.fit_transform(np.asarray(vectors, np.float32)), "t-SNE"
