"""Charts: CMC curves, similarities of same and other people, a run's losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vireid.figures.style import GREEN, RED, new_figure, save_figure


def cmc_curve(path: str | Path, curves: Mapping[str, Sequence[float]], heading: str = "") -> Path:
    """Draw CMC curves, name → fractions at rank 1, 2, …, into a .png, .jpg or .svg file."""
    figure = new_figure()
    axes = figure.add_subplot()
    for name, curve in curves.items():
        ranks = np.arange(1, len(curve) + 1)
        axes.plot(ranks, 100 * np.asarray(curve), marker="o", markersize=3.5, label=name)
    axes.set(xlabel="rank", ylabel="queries matched by then (%)", title=heading)
    axes.set_ylim(0, 102)
    axes.set_xlim(left=0.5)
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.legend(frameon=False, loc="lower right")
    return save_figure(figure, path)


def similarity_histogram(
    path: str | Path,
    similarity: np.ndarray,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    heading: str = "",
) -> Path:
    """Draw how similar images of the same and of different people are.

    Args:
        similarity: (Q, G).
    """
    figure = new_figure()
    axes = figure.add_subplot()
    same = np.asarray(query_pids)[:, None] == np.asarray(gallery_pids)[None]
    bins = int(np.clip(np.sqrt(same.sum()), 12, 80))
    edges = np.linspace(float(similarity.min()), float(similarity.max()), bins + 1).tolist()
    for words, part, colour in (("other people", ~same, RED), ("same person", same, GREEN)):
        if part.any():
            axes.hist(
                similarity[part], edges, density=True, color=colour, alpha=0.55,
                label=f"{words} ({int(part.sum()):,} pairs)",
            )  # fmt: skip
    axes.set(xlabel="similarity", ylabel="density", title=heading)
    axes.legend(frameon=False)
    return save_figure(figure, path)


def training_curves(path: str | Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Draw losses, learning rate and, where there are some, validation metrics over epochs.

    Args:
        lines: of a run's log.jsonl; without a finished epoch nothing is drawn.
    """
    from matplotlib.ticker import MaxNLocator

    epochs = [line for line in lines if line["kind"] == "epoch"]
    if not epochs:
        return
    tested = [line for line in epochs if line.get("metrics")]
    panels = 3 if tested else 2
    figure = new_figure(4.4 * panels, 4)
    axes = figure.subplots(1, panels)
    x = [line["epoch"] + 1 for line in epochs]
    marker = "o" if len(epochs) < 10 else None
    for name in epochs[0]["losses"]:
        values = [line["losses"].get(name, math.nan) for line in epochs]
        axes[0].plot(x, values, marker=marker, label=name)
    axes[0].set(title="losses (mean of an epoch, weighted)")
    axes[1].plot(x, [line["lr"] for line in epochs], marker=marker)
    axes[1].set(title="learning rate at the epoch's end")
    for name in tested[0]["metrics"] if tested else ():
        values = [100 * line["metrics"].get(name, math.nan) for line in tested]
        axes[2].plot([line["epoch"] + 1 for line in tested], values, marker="o", label=name)
    if tested:
        axes[2].set(title="validation identities (%)")
    for panel in axes:
        panel.set(xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if panel.get_legend_handles_labels()[0]:
            # Below the panel, where it covers no line.
            panel.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    save_figure(figure, path)
