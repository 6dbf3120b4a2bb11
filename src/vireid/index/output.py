"""Hits for people and scripts: a table, JSON values, CSV, a figure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from vireid.console import table
from vireid.data.facts import UPRIGHT, Decoding
from vireid.files import csv_text, write_text
from vireid.index.entries import Hit
from vireid.index.roots import ImageRoot, file_of

SIZE = (288, 144)
GREY = np.full((*SIZE, 3), 128, np.uint8)
MAX_DRAWN = 40
"""Queries in one figure; viewers don't open much taller ones."""
COLUMNS = ("query", "rank", "path", "similarity", "one_in", "camid", "pid", "modality", "time")


def where_they_are(hit: Hit, roots: Sequence[ImageRoot]) -> Hit:
    """A hit whose path leads to its image from the working folder, if it is there."""
    file = file_of(hit.path, roots)
    return hit if file is None else replace(hit, path=_short_path(str(file)))


def hits_as_json(
    queries: Sequence[Path], hits: Sequence[Sequence[Hit]], notes: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """JSON values: for each query its path, notes on it (`Searcher.notes`) and its hits, best
    first; -1 and None become null."""
    return [
        {
            "query": str(query),
            "notes": list(said),
            "hits": [_as_json(hit, rank) for rank, hit in enumerate(ranked, 1)],
        }
        for query, ranked, said in zip(queries, hits, notes)
    ]


def _as_json(hit: Hit, rank: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "path": hit.path,
        "similarity": round(hit.similarity, 6),
        "one_in": hit.one_in,
        "camid": None if hit.camid < 0 else hit.camid,
        "pid": None if hit.pid < 0 else hit.pid,
        "modality": hit.modality.word,
        "time": hit.time,
        "row_id": hit.row_id,
    }


def hits_table(query: Path, hits: Sequence[Hit]) -> Table:
    """A table for `console.print`; empty columns are left out, so that paths have more room."""
    names = ("path", "similarity", "strangers", "camera", "identity", "time (UTC)")
    rows = [
        (
            _short_path(hit.path),
            f"{hit.similarity:.3f}",
            "" if hit.one_in is None else f"1 in {hit.one_in:,}",
            "" if hit.camid < 0 else hit.camid,
            "" if hit.pid < 0 else hit.pid,
            "" if hit.time is None else time_text(hit.time),
        )
        for hit in hits
    ]
    filled = [n for n in range(len(names)) if any(row[n] != "" for row in rows)]
    return table(
        f"Most similar to {query}",
        [names[n] for n in filled],
        [[row[n] for n in filled] for row in rows],
    )


def _short_path(path: str) -> str:
    """Relative to this folder if it lies in it: long paths break a table's lines."""
    return path.removeprefix(os.path.join(os.getcwd(), ""))


def time_text(seconds: float) -> str:
    """A time for people, in UTC, as `types.parse_time` reads it: 2026-03-01 18:00:05."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def write_csv(path: Path, queries: Sequence[Path], hits: Sequence[Sequence[Hit]]) -> None:
    """One row per hit, with the columns of `COLUMNS`."""
    rows = [
        [{"query": result["query"], **hit}[name] for name in COLUMNS]
        for result in hits_as_json(queries, hits, [()] * len(queries))
        for hit in result["hits"]
    ]
    write_text(path, csv_text(COLUMNS, rows))


def save_figure(
    path: Path,
    queries: Sequence[Path],
    hits: Sequence[Sequence[Hit]],
    decoding: Decoding = UPRIGHT,
) -> list[str]:
    """Draw the ranked results of the first `MAX_DRAWN` queries, ten results each.

    The hits' paths lead to their images (`where_they_are`).

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

    for query, ranked in list(zip(queries, hits))[:MAX_DRAWN]:
        entries = [
            Entry(pixels_of(hit.path), hit.similarity, _label(hit), None) for hit in ranked[:10]
        ]
        pixels = _pixels(query, decoding)
        shown = GREY if pixels is None else pixels
        lists.append(RankedList(shown, query.name, query.parent.name, entries))
    save_image(draw_ranked(lists, "Most similar first"), path)
    return missing


def _label(hit: Hit) -> str:
    parts = (("pid", hit.pid), ("cam", hit.camid))
    return " · ".join(f"{name} {number}" for name, number in parts if number >= 0)


def _pixels(path: str | Path, decoding: Decoding) -> np.ndarray | None:
    from vireid.data.decoding import ImageError, decode

    with contextlib.suppress(ImageError):
        return decode(path, SIZE, decoding)
    return None
