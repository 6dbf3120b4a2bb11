"""Ranked lists: a query and the gallery images nearest to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vireid.console import count_text
from vireid.data.protocol import few
from vireid.figures.style import BLUE, FAINT, GREEN, GREY, INK, RED, percent, save_image
from vireid.types import InputError, Modality

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset, Trial
    from vireid.evaluation.search import Search

Load = Callable[[int], np.ndarray]  # row of the data set → (H, W, 3) uint8

_TILE = (176, 88)  # (height, width) of one image
_GAP, _FRAME, _MARGIN, _FOOT = 14, 4, 24, 40
_LINE = 24  # of the heading
_GOLDEN = (5**0.5 - 1) / 2


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
    search: Search,
    *,
    count: int = 8,
    top: int = 10,
    queries: Sequence[int] | None = None,
) -> Path:
    """Write a figure of ranked results: query left, the nearest gallery images right.

    Green frames show the query's identity, red ones another; images that the rule skips are
    pale and have no rank.

    Args:
        path: .png or .jpg.
        images: decoded pixels by row of the data set.
        search: of one trial; see `vireid.evaluation.search_trials`.
        count: queries shown; taken evenly from all that have a match, not chosen.
        top: gallery images a query.
        queries: rows of the data set to show instead.

    Raises:
        InputError: `queries` names a row that isn't a query of the trial.
    """
    lists, heading = ranked_lists(dataset, images, search, count=count, top=top, queries=queries)
    return save_image(draw_ranked(lists, heading), path)


def ranked_lists(
    dataset: Dataset,
    images: PixelStore | Load,
    search: Search,
    *,
    count: int = 8,
    top: int = 10,
    queries: Sequence[int] | None = None,
) -> tuple[list[RankedList], str]:
    """Ranked results of a search, and what they are results of; arguments as for
    `ranked_results`."""
    load: Load = images if callable(images) else images.images.__getitem__
    trial, scores, similarity = search.trial, search.scores, search.similarity
    pids, gallery_pids, camids, gallery_camids = search.labels
    lists = []
    for q in _chosen(trial, scores.has_match, count, queries):
        pid, camid = int(pids[q]), int(camids[q])
        order = np.argsort(-similarity[q], kind="stable")[:top]
        entries = [
            Entry(
                load(int(trial.gallery[g])),
                float(similarity[q, g]),
                _label(gallery_pids[g], gallery_camids[g]),
                bool(gallery_pids[g] == pid >= 0),
                dataset.rule.skips(pid, camid, gallery_pids[g], gallery_camids[g]),
            )
            for g in order
        ]
        note = f"AP {percent(scores.ap[q], 0)} %" if scores.first[q] else "no match"
        lists.append(RankedList(load(int(trial.query[q])), _label(pid, camid), note, entries))
    sensor = Modality(int(dataset.modality[trial.query[0]])).word
    people = "Synthetic people. " if dataset.synthetic else ""
    heading = (
        f"{people}{sensor.capitalize()} query, trial {trial.number}, {search.name}; Rank-1 of this "
        f"trial {percent(scores.at(1))} %\nGallery: {gallery_words(dataset, search)}"
    )
    return lists, heading


def gallery_words(dataset: Dataset, search: Search) -> str:
    """What is searched: "224 visible images of 56 people, from cameras 1, 2, 4, 5"."""
    _, pids, _, camids = search.labels
    sensor = Modality(int(dataset.modality[search.trial.gallery[0]])).word
    known, cameras = np.unique(pids[pids >= 0]), np.unique(camids[camids >= 0])
    words = count_text(len(pids), f"{sensor} image", f"{sensor} images")
    if len(known):
        words += f" of {count_text(len(known), 'person', 'people')}"
    if len(cameras):
        words += f", from camera{'s' * (len(cameras) > 1)} {few(cameras.tolist())}"
    return words


def draw_ranked(lists: Sequence[RankedList], heading: str) -> Image.Image:
    """Ranked lists, one below the other, as one figure.

    Args:
        heading: of one line or several.

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
    lines = heading.split("\n")
    widths = ((columns + 1) * step - _GAP + split, max(map(large.getlength, lines)), sum(spans))
    head = _head(heading)
    tall = head + _MARGIN + len(lists) * (height + _FOOT + _GAP)
    sheet = Image.new("RGB", (2 * _MARGIN + ceil(max(widths)), tall), "white")
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, 14 + number * _LINE), line, INK, large)
    x = float(_MARGIN)
    for (colour, words), span in zip(legend, spans):
        pen.rectangle((x, head - 26, x + 12, head - 14), outline=colour, width=3)
        pen.text((x + 18, head - 28), words, INK, small)
        x += span
    for number, ranked in enumerate(lists):
        y = head + number * (height + _FOOT + _GAP)
        _tile(sheet, pen, ranked.query, (_MARGIN, y), BLUE)
        _caption(pen, (_MARGIN, y), ranked.label, ranked.note, small)
        rank = 0
        for position, entry in enumerate(ranked.entries):
            rank += not entry.skipped
            at = (_MARGIN + (position + 1) * step + split, y)
            colour = colour_of(entry)
            _tile(sheet, pen, entry.image, at, colour, pale=entry.skipped)
            _badge(pen, at, "skip" if entry.skipped else str(rank), colour, small)
            _caption(pen, at, f"{round(entry.similarity, 2) + 0.0:.2f}", entry.label, small)
    return sheet


def _head(heading: str) -> int:
    """Pixels above the lists: for the heading's lines and the legend."""
    return 46 + _LINE * len(heading.split("\n"))


def colour_of(entry: Entry) -> str:
    """Of the frame around a gallery image."""
    if entry.skipped:
        return GREY
    return INK if entry.matches is None else GREEN if entry.matches else RED


def _legend(lists: Sequence[RankedList]) -> list[tuple[str, str]]:
    """What the colours of the frames mean, as far as they occur."""
    used = {colour_of(entry) for ranked in lists for entry in ranked.entries} | {BLUE}
    words = {BLUE: "query", GREEN: "same person", RED: "other person", GREY: "skipped by the rule"}
    return [(colour, meaning) for colour, meaning in words.items() if colour in used]


def _chosen(
    trial: Trial, valid: np.ndarray, count: int, queries: Sequence[int] | None
) -> list[int]:
    if queries is not None:
        position = {int(row): q for q, row in enumerate(trial.query)}
        absent = [row for row in queries if int(row) not in position]
        if absent:
            raise InputError(f"Row {absent[0]} isn't a query of trial {trial.number}.")
        return [position[int(row)] for row in queries]
    possible = np.flatnonzero(valid)
    # One of each of `count` equal parts of all queries, which are sorted by identity, then camera.
    # Their middles would be of one camera where each identity has as many images: each part's
    # place moves on by the golden ratio.
    count = min(count, len(possible))
    number = np.arange(count)
    places = number + (0.5 + _GOLDEN * number) % 1
    return possible[(places * len(possible) / max(1, count)).astype(np.int64)].tolist()


def _label(pid: int, camid: int) -> str:
    return f"{pid} · cam {camid}" if camid >= 0 else str(pid)


def _tile(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    image: np.ndarray,
    at: tuple[int, int],
    colour: str,
    *,
    pale: bool = False,
) -> None:
    (x, y), (height, width) = at, _TILE
    tile = Image.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), Image.Resampling.LANCZOS
    )
    if pale:
        tile = Image.blend(tile, Image.new("RGB", tile.size, "white"), 0.65)
    sheet.paste(tile, at)
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
    pen.text((middle, at[1] + _TILE[0] + 21), second, FAINT, font, anchor="ma")
