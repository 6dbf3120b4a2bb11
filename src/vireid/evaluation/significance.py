"""Whether a difference between paired numbers is real: three answers to three questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FEWEST_PAIRS = 6  # with 5, no two-sided sign-flip p-value is below 2 / 2**5 = 0.0625
_EXACT_UP_TO = 20  # pairs, all of whose 2**n signs are tried
_FLIPS = 100_000
_RESAMPLES = 2_000


class Interval(NamedTuple):
    """A confidence interval around a mean."""

    mean: float
    low: float
    high: float


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p-value of paired differences, if their signs were nothing but chance.

    The share of all 2**n ways to give the n differences signs whose mean is at least as far from
    0 as theirs. Exact up to 20 pairs; above, of 100,000 random ways and the true one.

    Args:
        differences: (n,) at least one.

    Source: E. J. G. Pitman, Significance tests which may be applied to samples from any
    populations, Supplement to the Journal of the Royal Statistical Society 4 (1937), 119-130.
    """
    values = np.asarray(differences, np.float64)
    seen = abs(values.sum())
    if len(values) <= _EXACT_UP_TO:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
    else:
        signs = np.random.default_rng(0).integers(0, 2, (_FLIPS, len(values))) * 2 - 1
        sums = np.append(signs @ values, seen)
    rounding = 1e-9 * np.abs(values).sum()  # equal sums, added in another order
    return float(np.mean(np.abs(sums) >= seen - rounding))


def t_interval(differences: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval of the mean of paired differences, for other seeds.

    Args:
        differences: (n,) at least two.

    Source: Student, The probable error of a mean, Biometrika 6 (1908), 1-25.
    """
    from scipy.stats import t

    values = np.asarray(differences, np.float64)
    mean = float(values.mean())
    half = float(t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return Interval(mean, mean - half, mean + half)


def over_identities(
    differences: np.ndarray,
    weights: np.ndarray,
    pids: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean of the queries' differences, for other people: whole
    identities are drawn with replacement, the trained models stay as they are.

    Args:
        differences: (Q,) of each query; those with weight 0 may be anything.
        weights: (Q,) how much each query counts.
        pids: (Q,) its identity.

    Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    _, place = np.unique(pids, return_inverse=True)
    counts = np.bincount(place, weights)
    sums = np.bincount(place, np.where(weights > 0, differences, 0.0) * weights)
    some = counts > 0
    counts, sums = counts[some], sums[some]
    drawn = np.random.default_rng(seed).multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), size=resamples
    )
    means = (drawn @ sums) / (drawn @ counts)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))
