"""Hits for people and scripts: a table, JSON values, CSV, a figure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from vireid.console import count_text, table
from vireid.data.decoding import ImageError, decode
from vireid.data.facts import UPRIGHT, Decoding
from vireid.files import csv_text
from vireid.index.cameras import camera_text
from vireid.index.entries import Hit
from vireid.index.roots import ImageRoot, file_of

SIZE = (288, 144)
GREY = np.full((*SIZE, 3), 128, np.uint8)
MAX_DRAWN = 40
"""Queries in one figure; viewers don't open much taller ones."""
COLUMNS = ("query", "rank", "path", "similarity", "one_in", "camid", "pid", "modality", "time",
           "camera", "time_utc")  # fmt: skip


@dataclass(frozen=True)
class Query:
    """What one list of hits was searched with.

    Attributes:
        images: image files, several of one person.
        boxes: the part of each that was searched with; without them, all of each.
        pid, camid: whom they show and which camera took them; -1 where that isn't known.
    """

    images: tuple[Path, ...]
    boxes: tuple[Sequence[int] | None, ...] = ()
    pid: int = -1
    camid: int = -1

    @property
    def parts(self) -> list[tuple[Path, Sequence[int] | None]]:
        """Each image with its box."""
        return list(zip(self.images, self.boxes or [None] * len(self.images)))

    def __str__(self) -> str:
        more = len(self.images) - 1
        return f"{self.images[0]} and {more} more" if more else str(self.images[0])


def where_they_are(hit: Hit, roots: Sequence[ImageRoot]) -> Hit:
    """A hit whose path leads to its image from the working folder, if it is there."""
    file = file_of(hit.path, roots)
    return hit if file is None else replace(hit, path=_short_path(str(file)))


def hits_as_json(
    queries: Sequence[Query],
    hits: Sequence[Sequence[Hit]],
    notes: Sequence[Sequence[str]],
    names: Mapping[int, str],
) -> list[dict[str, Any]]:
    """JSON values: for each query its images, notes on them (`Searcher.notes`) and its hits, best
    first; -1 and None become null.

    Args:
        queries, hits, notes: as many of each.
        names: of cameras.
    """
    return [
        {
            "query": str(query),
            "images": [{"path": str(path), "box": box} for path, box in query.parts],
            "notes": list(said),
            "hits": [_as_json(hit, rank, names) for rank, hit in enumerate(ranked, 1)],
        }
        for query, ranked, said in zip(queries, hits, notes)
    ]


def _as_json(hit: Hit, rank: int, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "rank": rank,
        "path": hit.path,
        "similarity": round(hit.similarity, 6),
        "one_in": hit.one_in,
        "camid": None if hit.camid < 0 else hit.camid,
        "camera": names.get(hit.camid),
        "pid": None if hit.pid < 0 else hit.pid,
        "modality": hit.modality.word,
        "time": hit.time,
        "row_id": hit.row_id,
    }


def hits_table(query: Query, hits: Sequence[Hit], names: Mapping[int, str]) -> Table:
    """A table for `console.print`; empty columns are left out, so that paths have more room."""
    columns = ("path", "similarity", "strangers this alike", "camera", "identity", "time (UTC)")
    rows = [
        (
            _short_path(hit.path),
            f"{hit.similarity:.3f}",
            _strangers_text(hit.one_in),
            camera_text(hit.camid, names),
            "" if hit.pid < 0 else hit.pid,
            "" if hit.time is None else time_text(hit.time),
        )
        for hit in hits
    ]
    filled = [n for n in range(len(columns)) if any(row[n] != "" for row in rows)]
    who = (("person", query.pid), ("camera", query.camid))
    known = ", ".join(f"{name} {number}" for name, number in who if number >= 0)
    return table(
        f"Most similar to {query}" + (f" ({known})" if known else ""),
        [columns[n] for n in filled],
        [[row[n] for n in filled] for row in rows],
    )


def _strangers_text(one_in: int | None) -> str:
    """Which of the strangers look as alike: "1 in 1" would be more than half of them."""
    return "" if one_in is None else "most" if one_in < 2 else f"1 in {one_in:,}"


def _short_path(path: str) -> str:
    """Relative to this folder if it lies in it: long paths break a table's lines."""
    return path.removeprefix(os.path.join(os.getcwd(), ""))


def time_text(seconds: float) -> str:
    """A time for people, in UTC, as `types.parse_time` reads it: 2026-03-01 18:00:05."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def hits_as_csv(
    queries: Sequence[object], hits: Sequence[Sequence[Hit]], names: Mapping[int, str]
) -> str:
    """One row per hit, with the columns of `COLUMNS`; no cell is a formula.

    Args:
        queries: what each list of `hits` was searched with, as text.
        hits: lists of hits.
        names: of cameras.
    """
    rows = [
        [
            {
                "query": str(query),
                "time_utc": None if hit.time is None else time_text(hit.time),
                **_as_json(hit, rank, names),
            }[column]
            for column in COLUMNS
        ]
        for query, ranked in zip(queries, hits)
        for rank, hit in enumerate(ranked, 1)
    ]
    return csv_text(COLUMNS, rows)


def save_figure(
    path: Path,
    queries: Sequence[Query],
    hits: Sequence[Sequence[Hit]],
    decoding: Decoding = UPRIGHT,
    searched: int | None = None,
) -> list[str]:
    """Draw the ranked results of the first `MAX_DRAWN` queries, ten results each. Of a query of
    several images the first is drawn. Where it is known who a query is, frames say which hits are
    right.

    The hits' paths lead to their images (`where_they_are`).

    Args:
        searched: how many images were.

    Returns:
        Paths of the hits whose images are missing or broken, and so are grey.
    """
    from vireid.figures import Entry, RankedList, draw_ranked, save_image

    lists, missing = [], []

    def pixels_of(path: str) -> np.ndarray:
        pixels = _pixels(path, decoding)
        if pixels is None:
            missing.append(path)
            return GREY
        return pixels

    for query, ranked in islice(zip(queries, hits), MAX_DRAWN):
        entries = [
            Entry(
                pixels_of(hit.path),
                hit.similarity,
                _label(hit.pid, hit.camid),
                None if query.pid < 0 else hit.pid == query.pid,
            )
            for hit in ranked[:10]
        ]
        image, box = query.parts[0]
        pixels = _pixels(image, decoding, box)
        shown = GREY if pixels is None else pixels
        who = _label(query.pid, query.camid) or image.parent.name
        lists.append(RankedList(shown, image.name, who, entries))
    among = "" if searched is None else f", of {count_text(searched, 'image', 'images')} searched"
    save_image(draw_ranked(lists, f"Most similar first{among}"), path)
    return missing


def _label(pid: int, camid: int) -> str:
    parts = (("pid", pid), ("cam", camid))
    return " · ".join(f"{name} {number}" for name, number in parts if number >= 0)


def _pixels(
    path: str | Path, decoding: Decoding, box: Sequence[int] | None = None
) -> np.ndarray | None:
    with contextlib.suppress(ImageError):
        return decode(path, SIZE, decoding, box)
    return None
