"""Matrix products: both libraries give the same, into memory-mapped and strided arrays too."""

from __future__ import annotations

import numpy as np
import pytest

from vireid.evaluation import products
from vireid.evaluation.products import product


@pytest.fixture(params=[False, True], ids=["numpy", "torch"])
def library(request, monkeypatch) -> None:
    if request.param:
        monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    else:
        monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert products._numpy_is_hindered() == request.param


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.usefixtures("library")
def test_product(kind, tmp_path) -> None:
    g = np.random.default_rng(0)
    left, right = (g.standard_normal((n, 33)).astype(kind) for n in (7, 11))
    exact = left.astype(np.float64) @ right.T.astype(np.float64)
    np.save(tmp_path / "right.npy", right)
    stored = np.load(tmp_path / "right.npy", mmap_mode="r")
    found = product(left, stored)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, atol=1e-5)
    out = np.full((7, 20), 5, np.float32)
    product(left, stored[2:6], out=out[:, 3:7])
    np.testing.assert_allclose(out[:, 3:7], exact[:, 2:6], atol=1e-5)
    assert (out[:, :3] == 5).all() and (out[:, 7:] == 5).all()
