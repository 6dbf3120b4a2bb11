"""Agreement of rankings, and a deviation's two parts: by hand and against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from vireid.evaluation.significance import agreement, deviation_parts, kendall

PUBLISHED = (47.5, 54.75, 65.4, 69.88, 74.7, 77.27)


@pytest.mark.parametrize(
    ("other", "tau", "p"),
    [
        ((1, 2, 3, 4, 5, 6), 1.0, 2 / 720),
        ((6, 5, 4, 3, 2, 1), -1.0, 2 / 720),
        ((2, 1, 3, 4, 5, 6), 13 / 15, 2 * (1 + 5) / 720),  # 5 orders have one inversion
        ((3, 1, 2, 4, 5, 6), 11 / 15, 2 * (1 + 5 + 14) / 720),  # 14 have two
    ],
)
def test_kendall_of_six_by_hand(other: tuple[int, ...], tau: float, p: float) -> None:
    found = kendall(PUBLISHED, other)
    assert found == pytest.approx((tau, p))
    assert kendall(other, PUBLISHED) == pytest.approx(found)


def test_kendall_is_scipys() -> None:
    g = np.random.default_rng(0)
    for count in (2, 3, 5, 7):
        one, other = g.permutation(count), g.permutation(count)
        exact = kendalltau(one, other, method="exact")
        assert kendall(one, other) == pytest.approx((exact.statistic, exact.pvalue))
    tied = [1, 1, 2, 3, 3, 4], [2, 1, 2, 5, 4, 4]
    assert kendall(*tied)[0] == pytest.approx(kendalltau(*tied).statistic)
    many = g.normal(size=(2, 12))
    tau, p = kendall(*many)
    sampled = kendalltau(*many, method="exact")
    assert tau == pytest.approx(sampled.statistic) and p == pytest.approx(sampled.pvalue, abs=0.01)


def test_agreement_over_seeds() -> None:
    """Two of six seeds exchange the first two rows, by more than the others keep them apart."""
    values = np.tile(np.array(PUBLISHED)[:, None], 6) + np.arange(6)
    values[:2, :2] = values[:2, :2][::-1]
    found = agreement(values, PUBLISHED)
    assert found.of_seeds == pytest.approx((13 / 15, 13 / 15, 1, 1, 1, 1))
    assert (found.tau, found.p) == pytest.approx((1.0, 2 / 720))
    assert found.interval == pytest.approx((13 / 15, 1.0))  # 10 % of the draws have 4 of the two
    assert agreement(values[:, :1], PUBLISHED).interval is None


def test_deviation_parts_by_hand() -> None:
    """What both rows share comes from the start; what is left is the same, and opposite, in two."""
    values = np.array([[10.0, 12.0, 14.0], [20.0, 22.0, 24.0]])
    assert deviation_parts(values) == [(0.0, 2.0)] * 2
    values += np.array([[1.0, -2.0, 1.0], [-1.0, 2.0, -1.0]])
    for part, row in zip(deviation_parts(values), values):
        assert part.same_start**2 + part.other_starts**2 == pytest.approx(row.var(ddof=1))
        assert part.same_start <= 6**0.5  # (1 + 4 + 1) · 2 / (1 · 2), but never above the whole


def test_deviation_parts_find_what_was_put_in() -> None:
    g = np.random.default_rng(1)
    found = []
    for _ in range(300):
        starts, noise = 2.0 * g.normal(size=6), 0.5 * g.normal(size=(8, 6))
        found += deviation_parts(np.arange(8)[:, None] + starts + noise)
    same, others = np.sqrt(np.mean(np.square(found), axis=0))
    assert same == pytest.approx(0.5, abs=0.02) and others == pytest.approx(2.0, abs=0.1)
