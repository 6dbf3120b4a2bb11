"""Which images are of another kind than those of an index: no person, another camera's view.

A cosine similarity alone doesn't say so: a grey square is as similar to a gallery as some people
are. But what is particular to it lies off the directions in which images of people differ.
"""

from __future__ import annotations

import numpy as np

from vireid.types import Modality

SAMPLE = 600
"""Images of an index that are looked at."""
_LEAST = 30  # images in each half of them, of fewer nothing can be said
_AXES = 64
_MARGIN = 1.2
_OTHER_MARGIN = (
    1.6  # for a sensor that the index has no images of, or where identities aren't known
)


class Outliers:
    """One half of a sample gives the axes along which vectors of the index differ; the other half,
    of other people, says how much of a vector commonly lies off these axes.

    Args:
        vectors: (n, D) unit vectors of images drawn at random, in the order of the index.
        pids: (n,) identities, -1 where unknown.
        modality: (n,) their sensors.
    """

    def __init__(self, vectors: np.ndarray, pids: np.ndarray, modality: np.ndarray) -> None:
        self._limits: dict[Modality, float] = {}
        self._limit = np.inf
        if len(vectors) < 2 * _LEAST:
            return
        known = bool((pids >= 0).all())
        order = np.argsort(pids, kind="stable")  # neighbours in the index may be one person
        middle = len(order) // 2
        if known:  # nobody is in both halves
            middle = int(np.searchsorted(pids[order], pids[order[middle : middle + 1]])[0])
        fitted, held_out = order[:middle], order[middle:]
        if min(len(fitted), len(held_out)) < _LEAST:
            return
        self._mean = vectors[fitted].mean(axis=0)
        _, _, axes = np.linalg.svd(vectors[fitted] - self._mean, full_matrices=False)
        self._axes = axes[: min(_AXES, len(fitted) // 3)]
        shares = self._off_axes(vectors[held_out])
        margin = _MARGIN if known else _OTHER_MARGIN
        self._limit = _OTHER_MARGIN * float(np.quantile(shares, 0.99))
        for sensor in Modality:
            own = shares[modality[held_out] == sensor]
            if len(own) >= _LEAST:
                self._limits[sensor] = margin * float(np.quantile(own, 0.99))

    def _off_axes(self, vectors: np.ndarray) -> np.ndarray:
        """(n,) the share of each vector's distance from the mean, squared, that is off the axes."""
        moved = vectors - self._mean
        along = moved @ self._axes.T
        return 1 - (along**2).sum(axis=1) / (moved**2).sum(axis=1).clip(1e-12)

    def is_far(self, vector: np.ndarray, modality: Modality) -> bool:
        """Whether an image is of another kind, by its (D,) unit vector and its sensor."""
        limit = self._limits.get(modality, self._limit)
        return bool(np.isfinite(limit) and self._off_axes(vector[None])[0] > limit)
