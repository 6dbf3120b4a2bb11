"""The numbers of a report, each one function and one line of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vireid.evaluation.metrics import Scores


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a search.

    Attributes:
        head: its name in tables.
        of: `Scores` of one trial → a fraction.
        of_queries: `Scores` of one trial → (Q,) values whose mean over the queries with a match
            is the metric; where it is given, reports have a confidence interval.
        in_terminal: whether the narrow table of `vireid test` has it.
        deviation_in_terminal: whether that table has its deviation too.
        decimals: digits after the point, in percent.
    """

    head: str
    of: Callable[[Scores], float]
    of_queries: Callable[[Scores], np.ndarray] | None = None
    in_terminal: bool = False
    deviation_in_terminal: bool = False
    decimals: int = 2

    def percent(self, value: float) -> str:
        """A fraction in percent, as text."""
        return f"{100 * value:.{self.decimals}f}"


# Key in report.json → metric, in the order of every table.
METRICS: dict[str, Metric] = {
    "rank1": Metric(
        head="Rank-1",
        of=lambda scores: scores.at(1),
        of_queries=lambda scores: scores.first == 1,
        in_terminal=True,
        deviation_in_terminal=True,
    ),
    "rank5": Metric(head="Rank-5", of=lambda scores: scores.at(5)),
    "rank10": Metric(head="Rank-10", of=lambda scores: scores.at(10), in_terminal=True),
    "rank20": Metric(head="Rank-20", of=lambda scores: scores.at(20), in_terminal=True),
    "mean_ap": Metric(
        head="mAP",
        of=lambda scores: scores.mean_ap,
        of_queries=lambda scores: scores.ap,
        in_terminal=True,
        deviation_in_terminal=True,
    ),
    "mean_inp": Metric(
        head="mINP",
        of=lambda scores: scores.mean_inp,
        of_queries=lambda scores: scores.inp,
        in_terminal=True,
    ),
}
