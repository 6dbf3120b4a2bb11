"""What may be said of the difference of one number between two ways of training, pair by pair."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vireid.evaluation.measures import METRICS, PERCENT
from vireid.evaluation.significance import FEWEST_PAIRS, Interval, sign_flip, t_interval


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of one metric of one test embedding, `one` minus `other`, pair by pair.

    Attributes:
        embedding, metric: a test embedding (perhaps re-ranked) and a key of `METRICS`.
        one, other: (n,) the two sides' numbers, fractions where the metric is one.
        over: "seeds" or "splits", what the pairs are.
        identities: the bootstrap over query identities with the models fixed, and the number of
            identities; None where the reports lack what it needs, or these are too few.
    """

    embedding: str
    metric: str
    one: tuple[float, ...]
    other: tuple[float, ...]
    over: str
    identities: tuple[Interval, int] | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """(n,) the differences."""
        return tuple(a - b for a, b in zip(self.one, self.other))

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def std(self) -> float:
        """Sample deviation of the differences; NaN of one pair."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan

    @property
    def interval(self) -> Interval | None:
        """Student's t 95 % interval; None of one pair."""
        return t_interval(self.values) if len(self.values) > 1 else None

    @property
    def p(self) -> float:
        """Exact two-sided sign-flip p-value."""
        return sign_flip(self.values)

    @property
    def higher(self) -> int:
        """Pairs in which `one` is higher."""
        return sum(value > 0 for value in self.values)

    def sentence(self) -> str:
        """What may be said of it, as in a paper."""
        metric, count = METRICS[self.metric], len(self.values)
        word = "better" if metric.unit == PERCENT else "higher"
        pairs = f"{word} in {self.higher} of {count} {self.over}"
        if count < FEWEST_PAIRS:
            return (
                f"{self._text(self.mean)} {metric.head}, {pairs}: with {count} "
                f"{'pair' if count == 1 else 'pairs'} nothing can be claimed (p can't go below "
                f"{2 / 2**count:g}; at least {FEWEST_PAIRS} pairs are needed)"
            )
        interval = self.interval
        assert interval is not None
        return (
            f"{self._text(self.mean)} {self._limits(interval)} {metric.head}, {pairs}, "
            f"p = {self.p:.2g}"
        )

    def of_identities(self) -> str:
        """The bootstrap over identities as a sentence; "" where there is none."""
        if self.identities is None:
            return ""
        interval, count = self.identities
        return (
            f"for other people, these models fixed: {self._limits(interval)} "
            f"{METRICS[self.metric].head} (bootstrap over {count} query identities)"
        )

    def _limits(self, interval: Interval) -> str:
        return f"[{self._text(interval.low, '')}, {self._text(interval.high, '')}]"

    def _text(self, value: float, sign: str = "+") -> str:
        percent = METRICS[self.metric].unit == PERCENT
        number = f"{100 * value if percent else value:{sign}.{1 if percent else 2}f}"
        return number.lstrip("+-") if float(number) == 0 else number.replace("-", "−")

    def to_plain(self) -> dict[str, Any]:
        interval, identities = self.interval, self.identities
        enough = len(self.values) >= FEWEST_PAIRS
        return {
            "embedding": self.embedding,
            "metric": self.metric,
            "one": list(self.one),
            "other": list(self.other),
            "differences": list(self.values),
            "mean": self.mean,
            "std": self.std if len(self.values) > 1 else None,
            "n": len(self.values),
            "t_interval": [interval.low, interval.high] if interval else None,
            "sign_flip_p": self.p if enough else None,
            "identity_bootstrap": [identities[0].low, identities[0].high] if identities else None,
            "sentence": self.sentence(),
        }
