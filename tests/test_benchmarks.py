"""What benchmarks conclude with: the judgement of loss curves, the row of the best recipe."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vireid.methods.recipes import RECIPES

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", "")  # put back afterwards: benchmarks add to it


@pytest.fixture
def parity(benchmarks: None) -> ModuleType:
    import parity

    return parity


def curves(count: int, seed: int, level: float = 2.5) -> list[np.ndarray]:
    """Losses of runs that fall alike and then wander by their rounding."""
    g = np.random.default_rng(seed)
    falling = level + 10 * np.exp(-np.arange(500) / 40)
    return [falling + 0.02 * np.cumsum(g.standard_normal(500)) / 5 for _ in range(count)]


def test_curves_of_one_kind_are_not_told_apart(parity: ModuleType) -> None:
    found = [parity.judge(curves(4, seed), curves(4, 100 + seed))["p"] for seed in range(40)]
    assert np.mean(np.array(found) < parity.LEVEL) <= 0.15
    assert min(found) >= 2 / 70 - 1e-9  # the two ways that leave the groups as they are


def test_other_curves_are_told_apart(parity: ModuleType) -> None:
    verdict = parity.judge(curves(4, 1), curves(4, 2, level=3.0))
    assert verdict["ways to exchange"] == 70
    assert not verdict["within the noise"]
    assert verdict["graph to eager, mean"] > 0.4 > verdict["eager among themselves, mean"]


def test_row_best_is_the_recipe_best(benchmarks: None) -> None:
    import methods

    flags = methods.ROWS["best"]
    named = dict(zip(flags[::2], flags[1::2], strict=True))
    method = named.pop("--method")
    best, scratch = RECIPES[method]["best"], RECIPES[method]["scratch"]
    assert named == {"--pids-per-batch": str(best.pids_per_batch)}
    assert vars(best) == {**vars(scratch), "name": "best", "pids_per_batch": best.pids_per_batch}
