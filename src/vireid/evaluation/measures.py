"""The numbers of a report, each one function and one line of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.evaluation.metrics import Scores

PERCENT = "percent"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a search: a mean over its queries.

    Attributes:
        head: its name in tables.
        of_query: `Scores` of one trial → (Q,), one value for each query. Values of queries
            without a match may be anything; the mean leaves them out.
        unit: PERCENT for a fraction, which is printed times 100. Anything else is printed as it
            is, and named by this word beside every table: "rank (lower is better)".
        decimals: digits after the point, as printed.
        in_terminal: whether the table of `vireid test` has it, which is narrow.
        in_brief: whether it is also among the few numbers of `print(report)` and of a training
            run's validation (fractions only), and has a confidence interval.
        in_comparison: whether the table of `vireid report` has it too, the narrowest, and that of
            `vireid test` its deviation.
    """

    head: str
    of_query: Callable[[Scores], np.ndarray]
    unit: str = PERCENT
    decimals: int = 2
    in_terminal: bool = False
    in_brief: bool = False
    in_comparison: bool = False

    def values(self, scores: Scores) -> np.ndarray:
        """(num_queries,) its values for the queries that have a match.

        Raises:
            InputError: `of_query` doesn't give one value for each query.
        """
        values = np.asarray(self.of_query(scores))
        if values.shape != scores.first.shape:
            raise InputError(
                f"The metric {self.head} gives {values.shape} values for {len(scores.first)} "
                "queries; one for each query was expected. The mean is taken of them afterwards."
            )
        return values[scores.has_match]

    def of(self, scores: Scores) -> float:
        """The number of one trial: the mean over the queries that have a match."""
        return float(self.values(scores).mean())

    def text(self, value: float) -> str:
        """As printed: a fraction in percent, anything else as it is."""
        shown = 100 * value if self.unit == PERCENT else value
        return f"{shown:.{self.decimals}f}"


def _within(k: int) -> Callable[[Scores], np.ndarray]:
    """Whether a query's first match is among the first k."""
    return lambda scores: scores.first <= k


# Key in report.json → metric, in the order of every table.
METRICS: dict[str, Metric] = {
    "rank1": Metric(
        head="Rank-1",
        of_query=_within(1),
        in_terminal=True,
        in_brief=True,
        in_comparison=True,
    ),
    "rank5": Metric(head="Rank-5", of_query=_within(5)),
    "rank10": Metric(head="Rank-10", of_query=_within(10), in_terminal=True),
    "rank20": Metric(head="Rank-20", of_query=_within(20), in_terminal=True),
    "mean_ap": Metric(
        head="mAP",
        of_query=lambda scores: scores.ap,
        in_terminal=True,
        in_brief=True,
        in_comparison=True,
    ),
    "mean_inp": Metric(
        head="mINP",
        of_query=lambda scores: scores.inp,
        in_terminal=True,
        in_brief=True,
    ),
}


def criterion_words(name: str) -> str:
    """A metric of a test embedding as a run's log names it, in words: "embedding_mean_ap" →
    "embedding mAP"."""
    for key, metric in METRICS.items():
        if name == key or name.endswith(f"_{key}"):
            return f"{name.removesuffix(key).rstrip('_')} {metric.head}".strip()
    return name


def units(metrics: Sequence[str]) -> str:
    """What the numbers of some metrics are in: "percent", or "percent; First: rank"."""
    others = [METRICS[m] for m in metrics if METRICS[m].unit != PERCENT]
    words = [PERCENT] if len(others) < len(metrics) else []
    return "; ".join([*words, *(f"{metric.head}: {metric.unit}" for metric in others)])
