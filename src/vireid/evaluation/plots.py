"""Pictures of a result: ranked lists, the CMC curve, similarities of same and other people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vireid.evaluation.metrics import Scores, score
from vireid.evaluation.report import Report
from vireid.evaluation.tables import title
from vireid.files import atomic_write
from vireid.types import Embeddings, InputError, Modality

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset, Trial

Load = Callable[[int], np.ndarray]  # row of the data set → (H, W, 3) uint8

GREEN, RED, GREY, INK, BLUE = "#1a9850", "#d73027", "#9a9a9a", "#222222", "#2b5c8a"
_TILE = (176, 88)  # (height, width) of one image
_GAP, _FRAME, _MARGIN, _HEAD, _FOOT = 14, 4, 24, 70, 40


class Entry(NamedTuple):
    """One gallery image in a ranked list.

    Attributes:
        image: (H, W, 3) uint8.
        similarity: to the query.
        label: words under the image ("pid 12 · cam 3").
        matches: whether it shows the query's identity; None if that is unknown.
        skipped: whether the rule skips it; it then has no rank.
    """

    image: np.ndarray
    similarity: float
    label: str
    matches: bool | None
    skipped: bool = False


class RankedList(NamedTuple):
    """A query and the gallery images nearest to it, best first."""

    query: np.ndarray
    label: str
    note: str
    entries: Sequence[Entry]


def ranked_results(
    path: str | Path,
    dataset: Dataset,
    images: PixelStore | Load,
    embeddings: Embeddings,
    rows: np.ndarray,
    trial: Trial,
    *,
    count: int = 8,
    top: int = 10,
    which: str | None = None,
    queries: Sequence[int] | None = None,
) -> Path:
    """Write a picture of ranked results: query left, the nearest gallery images right.

    Green frames show the query's identity, red ones another; images that the rule skips are
    pale and have no rank.

    Args:
        path: .png or .jpg.
        images: decoded pixels by row of the data set.
        embeddings, rows: as for `evaluate`.
        trial: whose queries and gallery.
        count: queries shown; taken evenly from all that have a match, not chosen.
        which: test embedding; the one with the higher Rank-1 if not given.
        queries: rows of the data set to show instead.

    Raises:
        InputError: `queries` names a row that is no query of the trial.
    """
    load: Load = images if callable(images) else images.images.__getitem__
    name, similarity, scores = _better(dataset, embeddings, rows, trial, which)
    labels = _labels(dataset, trial)
    lists = []
    for q in _chosen(trial, scores.first > 0, count, queries):
        pid, camid = int(labels[0][q]), int(labels[2][q])
        order = np.argsort(-similarity[q], kind="stable")[:top]
        entries = [
            Entry(
                load(int(trial.gallery[g])),
                float(similarity[q, g]),
                _label(labels[1][g], labels[3][g]),
                bool(labels[1][g] == pid),
                _skipped(dataset.rule, pid, camid, labels[1][g], labels[3][g]),
            )
            for g in order
        ]
        note = f"AP {100 * scores.ap[q]:.0f} %" if scores.first[q] else "no match"
        lists.append(RankedList(load(int(trial.query[q])), _label(pid, camid), note, entries))
    sides = [Modality(int(dataset.modality[side[0]])).word for side in (trial.query, trial.gallery)]
    people = "Synthetic people. " if dataset.synthetic else ""
    heading = (
        f"{people}{sides[0].capitalize()} query, {sides[1]} gallery of {len(trial.gallery):,} "
        f"images, trial {trial.number}, {name}; Rank-1 of this trial {100 * scores.at(1):.1f} %"
    )
    path = Path(path)
    save(draw_ranked(lists, heading), path)
    return path


def write_pictures(
    folder: str | Path,
    report: Report,
    dataset: Dataset,
    images: PixelStore | Load,
    embeddings: Embeddings,
    rows: np.ndarray,
    trial: Trial,
    *,
    count: int = 8,
) -> list[Path]:
    """Write ranks.jpg (see `ranked_results`), cmc.png (mean over the report's trials) and
    similarity.png (of the trial) beside a report; returns their paths."""
    folder = Path(folder)
    name, similarity, _ = _better(dataset, embeddings, rows, trial, None)
    query_pids, gallery_pids, *_ = _labels(dataset, trial)
    words = title(report)
    return [
        ranked_results(
            folder / "ranks.jpg", dataset, images, embeddings, rows, trial, count=count, which=name
        ),
        cmc_curve(folder / "cmc.png", report.curves, words),
        similarity_histogram(
            folder / "similarity.png", similarity, query_pids, gallery_pids, f"{words}, {name}"
        ),
    ]


def draw_ranked(lists: Sequence[RankedList], heading: str) -> Image.Image:
    """Ranked lists, one below the other, as a picture.

    Raises:
        InputError: no list.
    """
    if not lists:
        raise InputError("There is no query with a match, so there is no ranking to draw.")
    height, width = _TILE
    columns = max(len(ranked.entries) for ranked in lists)
    step = width + _GAP
    split = 2 * _GAP  # between the query and its results
    large, small = ImageFont.load_default(17), ImageFont.load_default(13)
    legend = _legend(lists)
    spans = [18 + small.getlength(words) + 24 for _, words in legend]
    widths = ((columns + 1) * step - _GAP + split, large.getlength(heading), sum(spans))
    tall = _HEAD + _MARGIN + len(lists) * (height + _FOOT + _GAP)
    canvas = Image.new("RGB", (2 * _MARGIN + ceil(max(widths)), tall), "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((_MARGIN, 14), heading, INK, large)
    x = float(_MARGIN)
    for (colour, words), span in zip(legend, spans):
        pen.rectangle((x, 44, x + 12, 56), outline=colour, width=3)
        pen.text((x + 18, 42), words, INK, small)
        x += span
    for number, ranked in enumerate(lists):
        y = _HEAD + number * (height + _FOOT + _GAP)
        _tile(canvas, pen, ranked.query, (_MARGIN, y), BLUE)
        _caption(pen, (_MARGIN, y), ranked.label, ranked.note, small)
        rank = 0
        for position, entry in enumerate(ranked.entries):
            rank += not entry.skipped
            at = (_MARGIN + (position + 1) * step + split, y)
            colour = _colour(entry)
            _tile(canvas, pen, entry.image, at, colour, pale=entry.skipped)
            _badge(pen, at, "skip" if entry.skipped else str(rank), colour, small)
            _caption(pen, at, f"{round(entry.similarity, 2) + 0.0:.2f}", entry.label, small)
    return canvas


def _colour(entry: Entry) -> str:
    if entry.skipped:
        return GREY
    return INK if entry.matches is None else GREEN if entry.matches else RED


def _legend(lists: Sequence[RankedList]) -> list[tuple[str, str]]:
    """What the colours of the frames mean, as far as they occur."""
    used = {_colour(entry) for ranked in lists for entry in ranked.entries} | {BLUE}
    words = {BLUE: "query", GREEN: "same person", RED: "other person", GREY: "skipped by the rule"}
    return [(colour, meaning) for colour, meaning in words.items() if colour in used]


def cmc_curve(path: str | Path, curves: Mapping[str, Sequence[float]], heading: str = "") -> Path:
    """Draw CMC curves, name → fractions at rank 1, 2, …, into a .png, .jpg or .svg file."""
    figure = _figure()
    axes = figure.add_subplot()
    for name, curve in curves.items():
        ranks = np.arange(1, len(curve) + 1)
        axes.plot(ranks, 100 * np.asarray(curve), marker="o", markersize=3.5, label=name)
    axes.set(xlabel="rank", ylabel="queries matched by then (%)", title=heading)
    axes.set_ylim(0, 102)
    axes.set_xlim(left=0.5)
    axes.set_xticks([1, 5, 10, 15, 20])
    axes.legend(frameon=False, loc="lower right")
    return _save_figure(figure, path)


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
    figure = _figure()
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
    axes.set(xlabel="cosine similarity", ylabel="density", title=heading)
    axes.legend(frameon=False)
    return _save_figure(figure, path)


def save(image: Image.Image, path: Path) -> None:
    """Write a picture whole or not at all; the ending chooses PNG or JPEG.

    Raises:
        InputError: another ending, or the file can't be written.
    """
    kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"A picture can't be written as '{path.name}'; use .png or .jpg.")
    with atomic_write(path) as file:
        image.save(file, kind, quality=90)


def _labels(dataset: Dataset, trial: Trial) -> tuple[np.ndarray, ...]:
    return (
        dataset.pids[trial.query],
        dataset.pids[trial.gallery],
        dataset.camids[trial.query],
        dataset.camids[trial.gallery],
    )


def _better(
    dataset: Dataset, embeddings: Embeddings, rows: np.ndarray, trial: Trial, which: str | None
) -> tuple[str, np.ndarray, Scores]:
    """The test embedding `which`, or the one with the higher Rank-1, and what it gives."""
    place = np.full(len(dataset.samples), -1, np.int64)
    place[np.asarray(rows)] = np.arange(len(rows))
    found = {}
    for name in [which] if which else sorted(embeddings.vectors):
        vectors = embeddings.vectors[name].astype(np.float32, copy=False)
        similarity = vectors[place[trial.query]] @ vectors[place[trial.gallery]].T
        found[name] = similarity, score(similarity, *_labels(dataset, trial), rule=dataset.rule)
    name = max(found, key=lambda key: found[key][1].at(1))
    return name, *found[name]


def _chosen(
    trial: Trial, valid: np.ndarray, count: int, queries: Sequence[int] | None
) -> list[int]:
    if queries is not None:
        where = {int(row): q for q, row in enumerate(trial.query)}
        absent = [row for row in queries if int(row) not in where]
        if absent:
            raise InputError(f"Row {absent[0]} is no query of trial {trial.number}.")
        return [where[int(row)] for row in queries]
    possible = np.flatnonzero(valid)
    # the middle of `count` equal parts of all queries, which are sorted by identity
    count = min(count, len(possible))
    middles = (np.arange(count) + 0.5) * len(possible) / max(1, count)
    return possible[middles.astype(np.int64)].tolist()


def _skipped(rule: str, pid: int, camid: int, other_pid: int, other_camid: int) -> bool:
    if rule == "sysu":
        return camid == 3 and other_camid == 2
    return rule == "llcm" and other_pid == pid and other_camid == camid


def _label(pid: int, camid: int) -> str:
    return f"{pid} · cam {camid}" if camid >= 0 else str(pid)


def _tile(
    canvas: Image.Image,
    pen: ImageDraw.ImageDraw,
    image: np.ndarray,
    at: tuple[int, int],
    colour: str,
    *,
    pale: bool = False,
) -> None:
    (x, y), (height, width) = at, _TILE
    picture = Image.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), Image.Resampling.LANCZOS
    )
    if pale:
        picture = Image.blend(picture, Image.new("RGB", picture.size, "white"), 0.65)
    canvas.paste(picture, at)
    box = (x - _FRAME, y - _FRAME, x + width + _FRAME - 1, y + height + _FRAME - 1)
    pen.rectangle(box, outline=colour, width=_FRAME)


def _badge(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str, font: Any
) -> None:
    width = pen.textlength(text, font) + 8
    pen.rectangle((at[0] - _FRAME, at[1] - _FRAME, at[0] + width, at[1] + 14), fill=colour)
    pen.text((at[0] + 2, at[1] - 3), text, "white", font)


def _caption(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], first: str, second: str, font: Any
) -> None:
    middle = at[0] + _TILE[1] / 2
    pen.text((middle, at[1] + _TILE[0] + 6), first, INK, font, anchor="ma")
    pen.text((middle, at[1] + _TILE[0] + 21), second, "#666666", font, anchor="ma")


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(6.4, 4.2), dpi=130, layout="constrained")


def _save_figure(figure: Figure, path: str | Path) -> Path:
    path = Path(path)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix.lstrip(".").lower())
    return path
