"""k-reciprocal re-ranking: golden distances, the plain reference, sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.reference import rerank_by_loop
from vireid.evaluation import neighbours as room
from vireid.evaluation import rerank
from vireid.types import InputError

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "rerank.npz")


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (10, 3, 0.5)])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_golden(k1, k2, weight, kind) -> None:
    expected = GOLDEN[f"distance_k1_{k1}_k2_{k2}_lambda_{weight}"]
    found = rerank(kind(GOLDEN["query"]), kind(GOLDEN["gallery"]), k1=k1, k2=k2, weight=weight)
    assert isinstance(found, type(kind(expected)))
    found = np.asarray(found)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    order, theirs = (d.argsort(1, kind="stable") for d in (found, expected))
    apart = np.abs(np.take_along_axis(expected, order, 1) - np.take_along_axis(expected, theirs, 1))
    assert apart.max() <= 3e-7  # exchanged are only images within float32's last bits
    assert (order == theirs).mean() > 0.999


def vectors(seed: int, count: int) -> np.ndarray:
    g = np.random.default_rng(seed)
    rows = g.standard_normal((8, 24))[g.integers(0, 8, count)] + g.standard_normal((count, 24))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (5, 1), (1, 1), (60, 70), (3, 10)])
def test_equals_the_plain_reference(k1, k2) -> None:
    query, gallery = vectors(1, 25), vectors(2, 30)
    found = rerank(query, gallery, k1=k1, k2=k2)
    np.testing.assert_allclose(found, rerank_by_loop(query, gallery, k1, k2), atol=1e-5)


def test_panels_and_threads_and_length_do_not_matter(monkeypatch) -> None:
    query, gallery = vectors(3, 20), vectors(4, 35)
    whole = rerank(query, gallery)
    monkeypatch.setattr(room, "_PANEL_BYTES", 4 * 55 * 7)
    np.testing.assert_allclose(rerank(query, gallery), whole, atol=1e-6)
    np.testing.assert_allclose(rerank(7 * query, gallery / 3), whole, atol=1e-6)
    before = torch.get_num_threads()
    torch.set_num_threads(3 - min(before, 2))
    try:
        np.testing.assert_allclose(rerank(query, gallery), whole, atol=1e-6)
    finally:
        torch.set_num_threads(before)


def test_neighbours_found_on_a_device_are_the_same() -> None:
    joint = vectors(5, 60).astype(np.float32)
    here = room.neighbours(joint, 25, 21)
    there = room.neighbours_on_device(torch.from_numpy(joint), 25, 21)
    assert (here[0].rows == there[0].rows).all()
    np.testing.assert_allclose(here[0].apart, there[0].apart, atol=1e-6)
    np.testing.assert_allclose(here[0].largest, there[0].largest, rtol=1e-5)
    np.testing.assert_allclose(here[1], there[1], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    total=st.integers(2, 90),
    count=st.integers(1, 30),
    panel=st.sampled_from([1, 3, 16, 17, 256]),
)
def test_neighbours_with_ties(seed, total, count, panel) -> None:
    """Rows of four halves have exact products, so that many are equal: the earlier row is first."""
    g = np.random.default_rng(seed)
    rows = np.zeros((total, 6), np.float32)
    for row in rows:
        row[g.permutation(6)[:4]] = g.choice([-0.5, 0.5], 4)
    queries = int(g.integers(1, total))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_PANEL_BYTES", 4 * total * panel)
        near, distance = room.neighbours(rows, queries, count)
    apart = (2 - 2 * rows @ rows.T) ** 2
    largest = np.where(apart.max(1) > 0, apart.max(1), 1)
    order = np.argsort(apart, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(near.rows, order)
    np.testing.assert_array_equal(near.largest, largest)
    np.testing.assert_allclose(near.apart, np.take_along_axis(apart, order, 1) / largest[:, None])
    np.testing.assert_allclose(distance, (apart / largest[:, None])[:queries, queries:])


def test_a_few_identical_images() -> None:
    one = np.tile(vectors(6, 1), (3, 1))
    assert np.isfinite(rerank(one[:1], one[1:])).all()


@pytest.mark.parametrize(
    ("query", "gallery", "options", "words"),
    [
        (np.ones(3), np.ones((2, 3)), {}, "query has shape"),
        (np.ones((2, 3)), np.ones((2, 4)), {}, "3 dimensions"),
        (np.ones((2, 3)), np.ones((0, 3)), {}, "gallery has shape"),
        (np.ones((2, 3)), np.zeros((2, 3)), {}, "no direction"),
        (np.ones((2, 3)), np.full((2, 3), np.nan), {}, "no direction"),
        (np.ones((2, 3)), np.ones((2, 3)), {"k1": 0}, "k1 and k2"),
        (np.ones((2, 3)), np.ones((2, 3)), {"weight": 1.5}, "weight"),
    ],
)
def test_wrong_input_is_a_sentence(query, gallery, options, words) -> None:
    with pytest.raises(InputError, match=words):
        rerank(query, gallery, **options)
    if query.ndim == 2 and words == "no direction":
        with pytest.raises(InputError, match=words):
            room.neighbours_on_device(torch.from_numpy(gallery), 1, 2)
