"""The probe of the modality and the plane that vectors are drawn in, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from vireid.evaluation import modality_probe, project
from vireid.types import InputError


def people(gap: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 people, 6 images of each modality; modalities are `gap` deviations apart on one axis."""
    g = np.random.default_rng(seed)
    pids, modality = np.repeat(np.arange(40), 12), np.tile(np.repeat([0, 1], 6), 40)
    vectors = g.normal(size=(40, 1, 8)).repeat(12, 1).reshape(-1, 8) + g.normal(size=(480, 8))
    vectors[:, 3] += gap * modality
    return vectors.astype(np.float32), modality, pids


def test_a_probe_finds_a_gap_and_none_where_none_is() -> None:
    assert modality_probe(*people(50.0)) == 1.0
    assert abs(modality_probe(*people(0.0)) - 0.5) < 0.06
    # Φ(1) of two normal distributions with variance 2, 2·√2 apart
    assert abs(modality_probe(*people(2 * np.sqrt(2))) - 0.84) < 0.05


def test_a_probe_is_tested_on_other_people() -> None:
    """Vectors that tell each image apart, as many dimensions as images: guessing on new people."""
    g = np.random.default_rng(1)
    pids, modality = np.repeat(np.arange(20), 4), np.tile([0, 1], 40)
    assert modality_probe(g.normal(size=(80, 400)), modality, pids) < 0.7


def test_what_a_probe_needs() -> None:
    vectors, modality, pids = people(1.0)
    with pytest.raises(InputError, match="at least 5 identities; 1 identities"):
        modality_probe(vectors, modality, np.zeros_like(pids))
    with pytest.raises(InputError, match="both modalities"):
        modality_probe(vectors, np.zeros_like(modality), pids)


def test_groups_stay_groups_in_the_plane() -> None:
    g = np.random.default_rng(2)
    centers = np.eye(3).repeat(12, 0)
    points, name = project(centers + 0.01 * g.normal(size=centers.shape), seed=3)
    assert points.shape == (36, 2) and name in {"t-SNE", "UMAP"}
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    same = np.arange(36)[:, None] // 12 == np.arange(36)[None] // 12
    assert distance[same].max() < distance[~same].min()
    with pytest.raises(InputError, match="at least 6"):
        project(np.eye(4))
