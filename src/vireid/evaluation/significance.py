"""Whether a difference between paired numbers is real: three answers to three questions. What a
start does to all rows of a table, and whether two rankings agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np

from vireid.console import count_text

FEWEST_PAIRS = 6  # with 5, no two-sided sign-flip p-value is below 2 / 2**5 = 0.0625
FEWEST_IDENTITIES = 10  # of which a bootstrap is drawn; of fewer its interval is far too narrow
_EXACT_UP_TO = 20  # pairs, all of whose 2**n signs are tried
_FLIPS = 100_000
_RESAMPLES = 2_000
_RANKED_UP_TO = 8  # things, all of whose n! orders are tried


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


def count_identities(pids: np.ndarray, weights: np.ndarray) -> int:
    """Identities that have a query that counts, (Q,) each."""
    return len(np.unique(pids[weights > 0]))


def too_few(identities: int) -> str:
    """Why so few identities have no interval for other people, as a sentence; "" if they have."""
    if identities >= FEWEST_IDENTITIES:
        return ""
    people = count_text(identities, "query identity is", "query identities are")
    return (
        f"{people} too few for an interval for other people (at least {FEWEST_IDENTITIES} are "
        "needed)."
    )


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


class Parts(NamedTuple):
    """A row's sample deviation over seeds, deviation² = same_start² + other_starts²."""

    same_start: float
    other_starts: float


def deviation_parts(values: np.ndarray) -> list[Parts]:
    """What of each row's deviation is left once what a seed and its start do to all rows alike is
    taken out, and the rest.

    Args:
        values: (rows, seeds) at least two of each. All rows of a seed have one start.

    Source: H. Scheffé, The Analysis of Variance (1959), chapter 7 (a row's interaction with the
    seed stands in for the deviation of runs from one start).
    """
    values = np.asarray(values, np.float64)
    rows, seeds = values.shape
    left = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    same = (left**2).sum(1) * rows / ((rows - 1) * (seeds - 1))
    same = np.minimum(same, whole := values.var(1, ddof=1))
    return [Parts(float(a**0.5), float((b - a) ** 0.5)) for a, b in zip(same, whole)]


def kendall(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Kendall's rank correlation τ (τ-b where there are ties) of two rankings of the same things,
    and its two-sided p-value, if any order were as likely as any other.

    The share of the n! orders of `other` in which at least as many pairs more agree than disagree,
    or the other way round. Exact up to 8 things; above, of 100,000 random orders and the true one.

    Args:
        one, other: (n,) at least two; τ is NaN where all of one are equal.

    Source: M. G. Kendall, A new measure of rank correlation, Biometrika 30 (1938), 81-93.
    """
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    count = len(first)
    i, j = np.triu_indices(count, 1)
    if count <= _RANKED_UP_TO:
        orders = np.array([*permutations(range(count))])
    else:
        orders = np.random.default_rng(0).permuted(np.tile(np.arange(count), (_FLIPS, 1)), axis=1)
        orders = np.vstack([np.arange(count), orders])
    signs = np.sign(first[i] - first[j])
    shuffled = second[orders]
    sums = np.sign(shuffled[:, i] - shuffled[:, j]) @ signs
    untied = np.abs(signs).sum() * np.abs(np.sign(second[i] - second[j])).sum()
    tau = float(sums[0] / untied**0.5) if untied else float("nan")
    return tau, float(np.mean(np.abs(sums) >= abs(sums[0])))


class Agreement(NamedTuple):
    """Kendall's τ between a ranking by means over seeds and another one, its p-value, its interval
    for other seeds (None of one seed), and the τ of each seed."""

    tau: float
    p: float
    interval: tuple[float, float] | None
    of_seeds: tuple[float, ...]


def agreement(
    values: np.ndarray,
    reference: Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> Agreement:
    """How well the ranking of rows by their means over seeds agrees with a reference.

    The interval is a percentile bootstrap: whole seeds are drawn with replacement.

    Args:
        values: (rows, seeds).
        reference: (rows,) in the same direction.
    """
    values = np.asarray(values, np.float64)
    tau, p = kendall(reference, values.mean(1))
    of_seeds = tuple(kendall(reference, column)[0] for column in values.T)
    if (count := values.shape[1]) < 2:
        return Agreement(tau, p, None, of_seeds)
    drawn = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), size=resamples
    )
    ways, times = np.unique(drawn, axis=0, return_counts=True)
    taus = [kendall(reference, values @ way)[0] for way in ways]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(np.repeat(taus, times), [tail, 100 - tail])
    return Agreement(tau, p, (float(low), float(high)), of_seeds)
