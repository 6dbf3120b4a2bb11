"""The figure of a comparison in pairs: every pair's difference, their mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vireid.evaluation import METRICS, PairedComparison
from vireid.evaluation.measures import PERCENT
from vireid.evaluation.significance import FEWEST_PAIRS
from vireid.figures.style import BLUE, FAINT, INK, Columns, new_figure, panels, styled

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


@styled
def paired_differences(comparisons: Sequence[PairedComparison], *, columns: Columns = 2) -> Figure:
    """The differences of every pair, a panel below another for each comparison.

    A dot is a pair, the upright line their mean, the bar its t interval (with at least six pairs);
    a legend says so.
    """
    rows = [len(comparison.shown()) for comparison in comparisons]
    figure = new_figure(columns, inches=0.45 + sum(0.75 + 0.28 * count for count in rows))
    signs: dict[str, Artist] = {}
    for axes, comparison in zip(panels(figure, len(comparisons)), comparisons):
        shown = comparison.shown()
        for row, result in enumerate(shown):
            scale = 100 if METRICS[result.metric].unit == PERCENT else 1
            values = scale * np.array(result.values)
            spread = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(1)
            (dots,) = axes.plot(values, row + spread, "o", color=BLUE, markersize=3, alpha=0.8)
            (mean,) = axes.plot(
                [scale * result.mean] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=1.5
            )
            signs |= {f"each {comparison.pairs[0].split()[0]}": dots, "mean": mean}
            interval = result.interval
            if interval and len(values) >= FEWEST_PAIRS:
                limits = [scale * interval.low, scale * interval.high]
                (bar,) = axes.plot(limits, [row, row], color=INK, linewidth=0.8, zorder=0)
                signs["95 % interval (t)"] = bar
        axes.axvline(0, color=FAINT, linewidth=0.8, linestyle="--")
        names = [f"{result.embedding}, {METRICS[result.metric].head}" for result in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.invert_yaxis()
        axes.set(
            xlabel=f"difference, percentage points ({len(comparison.pairs)} pairs)",
            title=f"{comparison.title()}\n{comparison.search}",
        )
    if signs:
        figure.legend(
            signs.values(), signs.keys(),
            loc="outside lower center", ncols=len(signs), frameon=False,
        )  # fmt: skip
    return figure
