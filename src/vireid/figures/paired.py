"""The figure of a comparison in pairs: every pair's difference, their mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vireid.evaluation import METRICS, PairedComparison
from vireid.evaluation.measures import PERCENT
from vireid.evaluation.significance import FEWEST_PAIRS
from vireid.figures.style import BLUE, FAINT, INK, new_figure, save_figure


def paired_differences(path: str | Path, comparisons: Sequence[PairedComparison]) -> Path:
    """Draw the differences of every pair, a panel a search, into a .png, .jpg or .svg file.

    A dot is a pair, the line its mean, the bar the t interval (with at least six pairs).
    """
    rows = max(len(comparison.shown()) for comparison in comparisons)
    figure = new_figure(6.4 * len(comparisons), 1.6 + 0.5 * rows)
    panels = np.atleast_1d(figure.subplots(1, len(comparisons)))
    for axes, comparison in zip(panels, comparisons):
        shown = comparison.shown()
        for row, result in enumerate(shown):
            scale = 100 if METRICS[result.metric].unit == PERCENT else 1
            values = scale * np.array(result.values)
            spread = np.linspace(-0.14, 0.14, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(values, row + spread, "o", color=BLUE, markersize=4, alpha=0.8)
            axes.plot([scale * result.mean] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=2)
            interval = result.interval
            if interval and len(values) >= FEWEST_PAIRS:
                limits = [scale * interval.low, scale * interval.high]
                axes.plot(limits, [row, row], color=INK, linewidth=1, zorder=0)
        axes.axvline(0, color=FAINT, linewidth=1, linestyle="--")
        names = [f"{result.embedding}, {METRICS[result.metric].head}" for result in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.invert_yaxis()
        axes.set(
            xlabel=f"difference, percentage points ({len(comparison.pairs)} pairs)",
            title=f"{comparison.one}\nless {comparison.other}\n{comparison.search}",
        )
        axes.title.set_fontsize("small")
    return save_figure(figure, path)
