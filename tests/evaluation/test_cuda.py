"""The same numbers on a GPU, where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vireid.evaluation import rerank, score, score_embeddings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("rule", ["sysu", "regdb", "llcm"])
def test_scores(rule: str) -> None:
    g = np.random.default_rng(0)
    labels = [g.integers(0, 20, 300), g.integers(0, 20, 500), g.integers(1, 7, 300),
              g.integers(1, 7, 500)]  # fmt: skip
    query, gallery = (torch.from_numpy(g.integers(-3, 4, (n, 16))).float() for n in (300, 500))
    here = score(query @ gallery.T, *labels, rule=rule)  # whole numbers: ties, exact everywhere
    there = score((query @ gallery.T).cuda(), *labels, rule=rule)
    chunked = score_embeddings(query.cuda(), gallery.cuda(), *labels, rule=rule, chunk_bytes=10**5)
    for other in (there, chunked):
        np.testing.assert_array_equal(here.first, other.first)
        np.testing.assert_allclose(here.ap, other.ap, rtol=1e-12)
        np.testing.assert_allclose(here.inp, other.inp, rtol=1e-12)


def test_rerank() -> None:
    g = np.random.default_rng(1)
    rows = g.standard_normal((12, 64))[g.integers(0, 12, 400)] + g.standard_normal((400, 64))
    query, gallery = torch.from_numpy(rows[:150]).float(), torch.from_numpy(rows[150:]).float()
    found = rerank(query.cuda(), gallery.cuda())
    assert found.device.type == "cuda"
    np.testing.assert_allclose(found.cpu(), rerank(query, gallery), atol=1e-5)
