"""Charts from arrays: CMC, training curves, similarities, maps of embeddings, cameras, the gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vireid.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    RED,
    Columns,
    new_figure,
    panels,
    percent,
    styled,
)
from vireid.types import InputError, Modality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REACH = 4  # bandwidths, beyond which a Gaussian kernel is taken to be 0
_PEOPLE = 20  # colours and markers that a reader can still tell apart, with numbers beside them


@styled
def cmc_curve(
    curves: Mapping[str, Sequence[float]], heading: str = "", *, columns: Columns = 1
) -> Figure:
    """CMC curves of several runs or embeddings in one axis.

    Args:
        curves: name → fractions of the queries that are matched at rank 1, 2, ….

    The axis shows the part of 0 to 100 % in which the curves lie.
    """
    figure = new_figure(columns)
    (axes,) = panels(figure)
    longest = max(len(curve) for curve in curves.values())
    for name, curve in curves.items():
        ranks = np.arange(1, len(curve) + 1)
        axes.plot(ranks, 100 * np.asarray(curve), marker="o", markersize=2.5, label=name)
    axes.set(xlabel="rank", ylabel="queries matched by then (%)", title=heading)
    values = 100 * np.concatenate([np.asarray(curve, float) for curve in curves.values()])
    least, most = float(values.min()), float(values.max())
    pad = 0.06 * max(most - least, 2.0)  # curves that are flat and alike aren't blown up
    axes.set_ylim(max(least - pad, -2), min(most + pad, 100 + pad))
    axes.set_xlim(left=0.5)
    axes.set_xticks([rank for rank in (1, 5, 10, 15, 20) if rank <= longest])
    axes.legend(frameon=False, loc="lower right")
    return figure


def overlap(same: np.ndarray, other: np.ndarray) -> float:
    """How much two samples of similarities overlap: the area under both of their densities, 0 to 1.

    0 means that a threshold separates the samples, 1 that they are alike. Of two normal samples d
    standard deviations apart it estimates 2 Φ(-d / 2).

    Args:
        same, other: (N,) and (M,).

    Raises:
        InputError: one of them is empty.
    """
    if not len(same) or not len(other):
        raise InputError("An overlap needs similarities of the same and of different people.")
    grid, *densities = smoothed(same, other)
    return round(float(np.minimum(*densities).sum() * (grid[1] - grid[0])), 6)


def smoothed(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Densities of two samples by a Gaussian kernel of one bandwidth, Scott's of the smaller one.

    A histogram's shared area falls with the number of values, and is far from 1 for small samples
    of the same distribution. Each sample is drawn together about its mean first, so that smoothing
    leaves its deviation as it was (Jones 1991, "On correcting for variance inflation in kernel
    density estimation").

    Args:
        one, other: (N,) and (M,).

    Returns:
        (2048,) evenly spaced values, and both densities there.
    """
    small = one if len(one) < len(other) else other
    low = float(min(one.min(), other.min()))
    high = float(max(one.max(), other.max()))
    # Not below what the grid resolves: samples may be constant.
    width = max(float(small.std()) * len(small) ** -0.2, (high - low or 1.0) / 256)
    reach = (_REACH + 1) * width  # all of a kernel at either end
    edges = np.linspace(low - reach, high + reach, 2049)
    step = edges[1] - edges[0]
    steps = int(_REACH * width / step)
    kernel = np.exp(-0.5 * (np.arange(-steps, steps + 1) * step / width) ** 2)
    densities = []
    for sample in (one, other):
        mean, variance = sample.mean(dtype=np.float64), sample.var(dtype=np.float64)
        drawn = mean + (sample - mean) * math.sqrt(variance / (variance + width**2))
        counts = np.histogram(drawn, edges)[0]
        spread = np.convolve(counts, kernel)[steps : steps + len(counts)]
        densities.append(spread / (len(sample) * kernel.sum() * step))
    return (edges[1:] + edges[:-1]) / 2, densities[0], densities[1]


@styled
def similarity_histogram(
    similarities: Mapping[str, np.ndarray],
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    heading: str = "",
    *,
    columns: Columns = 1,
) -> Figure:
    """How similar images of the same and of different people are, a panel for each network.

    Lines are the densities whose shared area is the `overlap` in a panel's title.

    Args:
        similarities: title of a panel ("start", "trained") → (Q, G) cosines of queries of one
            modality and gallery images of the other; all of the same images.
        query_pids, gallery_pids: (Q,) and (G,).
    """
    known = np.asarray(query_pids)[:, None]
    same = (known == np.asarray(gallery_pids)[None]) & (known >= 0)  # -1 is nobody
    figure = new_figure(columns, inches=0.62 * 3.5 * len(similarities) + 0.2)
    bins = int(np.clip(np.sqrt(same.sum()), 12, 80))
    both = same.any() and not same.all()
    axes_of = panels(figure, len(similarities))
    low = min(float(s.min()) for s in similarities.values())
    high = max(float(s.max()) for s in similarities.values())
    pad = 0.05 * (high - low or 1.0)
    for axes, (name, similarity) in zip(axes_of, similarities.items()):
        edges = np.linspace(low, high, bins + 1).tolist()
        lines: Sequence[np.ndarray] = ()
        if both:
            grid, *lines = smoothed(similarity[~same], similarity[same])
        for n, (words, part, colour) in enumerate(
            (("other people", ~same, RED), ("same person", same, GREEN))
        ):
            if both:
                axes.plot(grid, lines[n], color=colour)
            if part.any():
                axes.hist(
                    similarity[part], edges, density=True, color=colour, alpha=0.4,
                    label=f"{words} ({int(part.sum()):,} pairs)",
                )  # fmt: skip
        shared = ""
        if both:
            shared = f"{percent(overlap(similarity[same], similarity[~same]), 0)} % overlap"
        title = ": ".join(part for part in (name, shared) if part)
        axes.set(xlabel="similarity", ylabel="density", title=title)
        axes.set(xlim=(low - pad, high + pad), ylim=(0, 1.35 * axes.get_ylim()[1]))
        axes.legend(frameon=False)  # above the bars
    if heading:
        figure.suptitle(heading, fontsize=8)
    return figure


@styled
def training_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], *, columns: Columns = 2
) -> Figure | None:
    """Losses, learning rate and, where there are some, validation metrics over epochs.

    Of one run every loss is a line; of several runs the sum of the losses and the first metric.
    In two columns of a paper the panels are side by side, in one they are below each other.

    Args:
        runs: name → lines of a run's log.jsonl.

    Returns:
        None without a finished epoch.
    """
    from matplotlib.ticker import MaxNLocator

    epochs_of = {
        name: [line for line in lines if line["kind"] == "epoch"] for name, lines in runs.items()
    }
    epochs_of = {name: lines for name, lines in epochs_of.items() if lines}
    if not epochs_of:
        return None
    tested = any(line.get("metrics") for lines in epochs_of.values() for line in lines)
    count = 3 if tested else 2
    figure = new_figure(columns, inches=2.9 if columns == 2 else 2.3 * count + 0.3)
    axes = panels(figure, *((1, count) if columns == 2 else (count, 1)))
    for run, epochs in epochs_of.items():
        x = [line["epoch"] + 1 for line in epochs]
        marker = "o" if len(epochs) < 10 else None
        if len(epochs_of) == 1:
            for name in epochs[0]["losses"]:
                values = [line["losses"].get(name, math.nan) for line in epochs]
                axes[0].plot(x, values, marker=marker, markersize=2.5, label=name)
        else:
            sums = [sum(line["losses"].values()) for line in epochs]
            axes[0].plot(x, sums, marker=marker, markersize=2.5, label=run)
        axes[1].plot(x, [line["lr"] for line in epochs], marker=marker, markersize=2.5)
        at = [line for line in epochs if line.get("metrics")]
        names = list(at[0]["metrics"]) if at else []
        for name in names if len(epochs_of) == 1 else names[:1]:
            values = [100 * line["metrics"].get(name, math.nan) for line in at]
            shown = name if len(epochs_of) == 1 else f"{run}: {name}"
            axes[2].plot(
                [line["epoch"] + 1 for line in at], values, marker="o", markersize=2.5, label=shown
            )
        if len(epochs_of) == 1 and (best := [e["epoch"] + 1 for e in at if e.get("best")]):
            words = f"weights kept: epoch {best[-1]}"
            axes[2].axvline(best[-1], color=FAINT, linestyle="--", linewidth=1, label=words)
    axes[0].set(title="losses (mean of an epoch, weighted)")
    axes[1].set(title="learning rate at the epoch's end")
    if tested:
        axes[2].set(title="validation identities (%)")
    for panel in axes:
        panel.set(xlabel="epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if panel.get_legend_handles_labels()[0]:
            # Below the panel, where it covers no line.
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, frameon=False)
    return figure


@styled
def embedding_map(
    points: np.ndarray,
    pids: np.ndarray,
    modality: np.ndarray,
    heading: str = "",
    *,
    columns: Columns = 1,
) -> Figure:
    """Images as points of a plane: the colour is the person, the marker the modality.

    Args:
        points: (N, 2), as `project` gives them.
        pids, modality: (N,); at most 20 identities.

    Raises:
        InputError: more identities than a reader can tell apart.
    """
    import matplotlib

    people = np.unique(pids)
    if len(people) > _PEOPLE:
        raise InputError(
            f"{len(people)} identities were given; at most {_PEOPLE} can be told apart."
        )
    figure = new_figure(columns, 0.9)
    (axes,) = panels(figure)
    colours = matplotlib.colormaps["turbo"](np.linspace(0.03, 0.97, len(people)))
    markers = {Modality.VISIBLE: ("o", "visible"), Modality.INFRARED: ("^", "infrared")}
    for pid, colour in zip(people, colours):
        for kind, (marker, _) in markers.items():
            chosen = (np.asarray(pids) == pid) & (np.asarray(modality) == kind)
            axes.scatter(
                *points[chosen].T, s=14, color=[colour], marker=marker, linewidths=0.3,
                edgecolors=INK,
            )  # fmt: skip
    for marker, words in markers.values():
        axes.scatter([], [], s=14, color=FAINT, marker=marker, label=words)
    low, high = points.min(0), points.max(0)
    span = np.where(high > low, high - low, 1.0)
    spots = _label_spots((points - low) / span, np.asarray(pids), people)
    for pid, colour, spot in zip(people, colours, spots):
        axes.annotate(
            str(pid), low + span * spot, fontsize=6, color=INK, ha="center", va="center",
            bbox={"facecolor": (*colour[:3], 0.3), "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    axes.legend(
        frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, handletextpad=0.1
    )
    limits = zip(low - 0.08 * span, high + 0.08 * span)  # labels fit in
    axes.set(title=heading, **dict(zip(("xlim", "ylim"), limits)))
    axes.set_axis_off()  # the axes of such a map mean nothing
    return figure


def _label_spots(points: np.ndarray, pids: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Where each person's label goes: beside one of the person's points, free of the others.

    Args:
        points: (N, 2), 0 to 1.
        pids: (N,).
        people: (P,) those that get a label.

    Returns:
        (P, 2) middles of the labels.
    """
    spots = np.empty((len(people), 2))
    around = np.array([(0, 1), (1, 0), (-1, 0), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)])
    widest = np.array([0.03, 0.021])  # of two digits: half of the label, of the plane's side
    for n, pid in enumerate(people):
        own = points[pids == pid]
        half = np.array([0.012 + 0.009 * len(str(pid)), 0.021])
        # The middle of the crowd first: a point alone says less of where the person is.
        distances = np.sort(np.linalg.norm(own[:, None] - own[None], axis=2), axis=1)
        order = np.argsort(distances[:, : len(own) // 2 + 1].sum(1), kind="stable")
        spot = np.concatenate(
            [
                (own[order, None] + around * (ring * half + 0.016)).reshape(-1, 2)
                for ring in (1, 2.2)
            ]
        )
        covered = (np.abs(spot[:, None] - points) < half + 0.012).all(2).sum(1)
        crossed = (np.abs(spot[:, None] - spots[:n]) < half + widest).all(2).sum(1)
        spots[n] = spot[np.argmin(covered + 10 * crossed)]
    return spots


@styled
def camera_pairs(
    rows: Sequence[Mapping[str, Any]],
    metric: str = "rank1",
    heading: str = "",
    *,
    columns: Columns = 1,
) -> Figure:
    """How well queries of one camera find people in another: a square for each pair.

    Args:
        rows: `Report.camera_pairs` of one embedding: query_camid, gallery_camid, rank1, mean_ap.
        metric: which of the two, as fractions.

    Raises:
        InputError: no pair of cameras, so nothing to draw.
    """
    if not rows:
        raise InputError("There is no pair of cameras: the cameras of these images are not known.")
    query, gallery = (
        sorted({row[key] for row in rows}) for key in ("query_camid", "gallery_camid")
    )
    table = np.full((len(query), len(gallery)), np.nan)
    for row in rows:
        if row[metric] is not None:
            place = query.index(row["query_camid"]), gallery.index(row["gallery_camid"])
            table[place] = row[metric]
    figure = new_figure(columns, inches=1.0 + 0.4 * len(query))
    (axes,) = panels(figure)
    axes.grid(False)
    drawn = axes.imshow(100 * table, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        dark = not value >= 0.55
        words = "–" if math.isnan(value) else percent(value, 0)
        axes.text(j, i, words, ha="center", va="center", color="white" if dark else INK)
    axes.set_xticks(range(len(gallery)), gallery)
    axes.set_yticks(range(len(query)), query)
    names = {"rank1": "Rank-1 (%)", "mean_ap": "mAP (%)"}
    axes.set(xlabel="gallery camera", ylabel="query camera", title=heading)
    figure.colorbar(drawn, label=names.get(metric, metric))
    return figure


@styled
def modality_gap(
    accuracy: Mapping[str, float], heading: str = "", *, columns: Columns = 1
) -> Figure:
    """How well a linear probe tells the modality from the vectors, before and after training.

    Args:
        accuracy: name of a network → fraction, as `vireid.evaluation.modality_probe` gives it.
    """
    figure = new_figure(columns, inches=0.9 + 0.32 * len(accuracy))
    (axes,) = panels(figure)
    values = list(accuracy.values())
    axes.barh(range(len(values)), [100 * value for value in values], color=BLUE, height=0.6)
    for place, value in enumerate(values):
        words = percent(value)
        axes.text(100 * value - 1, place, words, color="white", ha="right", va="center")
    axes.axvline(50, color=FAINT, linestyle="--")
    axes.set_yticks(range(len(values)), list(accuracy))
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 100), xlabel="modality told by a linear probe (%; dashed: guessing)", title=heading
    )
    return figure
