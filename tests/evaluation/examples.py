"""Small data sets without files, with embeddings in which identities can be found."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vireid.data import Dataset, facts_of
from vireid.types import Embeddings, Modality, Sample


def sysu_like(seed: int = 0, *, people: int = 12, images: int = 3) -> Dataset:
    """SYSU-MM01's six cameras; only the test part is filled."""
    samples = tuple(
        Sample(
            path=f"cam{camid}/{pid:04d}/{number:04d}.jpg",
            pid=pid,
            camid=camid,
            modality=Modality.INFRARED if camid in (3, 6) else Modality.VISIBLE,
        )
        for camid in range(1, 7)
        for pid in range(1, people + 1)
        for number in range(images)
    )
    rows = np.arange(len(samples))
    parts = {"test": rows, "train": rows[:0], "fit": rows[:0], "val": rows[:0]}
    return Dataset(facts=facts_of("sysu"), root=Path("nowhere"), samples=samples, parts=parts)


def embeddings_of(
    dataset: Dataset, rows: np.ndarray, seed: int = 0, *, names=("embedding", "pooled")
) -> Embeddings:
    """A direction for each identity plus noise, another noise for each name."""
    g = np.random.default_rng(seed)
    directions = g.standard_normal((int(dataset.pids.max()) + 1, 16))
    vectors = {}
    for name in names:
        array = directions[dataset.pids[rows]] + 1.2 * g.standard_normal((len(rows), 16))
        vectors[name] = (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)
    return Embeddings(
        vectors=vectors,
        paths=[dataset.samples[row].path for row in rows],
        pids=dataset.pids[rows],
        camids=dataset.camids[rows],
        modality=dataset.modality[rows],
        times=np.full(len(rows), np.nan),
        weights_hash=f"{seed:064x}",
        preprocessing={"tta": "none", "size": (288, 144)},
    )
