"""Vectors of a data set's images as `Embeddings`, where no network made them."""

from __future__ import annotations

import numpy as np

from vireid.data.protocol import Dataset
from vireid.types import Embeddings


def embeddings_of(data: Dataset, rows: np.ndarray, vectors: dict[str, np.ndarray]) -> Embeddings:
    """Embeddings of the images `rows` of a data set.

    Args:
        vectors: (len(rows), D) float32 for each test embedding's name.
    """
    return Embeddings(
        vectors=vectors,
        paths=[data.samples[row].path for row in rows],
        pids=data.pids[rows],
        camids=data.camids[rows],
        modality=data.modality[rows],
        times=np.full(len(rows), np.nan),
        weights_hash="0" * 64,
        preprocessing={},
    )
