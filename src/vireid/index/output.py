"""Hits for people and scripts: a table, JSON values, CSV, a picture."""

from __future__ import annotations

import csv
import datetime
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from vireid.console import table
from vireid.files import write_text
from vireid.index.base import Hit

MAX_DRAWN = 40
"""Queries in one picture; a taller one is more than a viewer opens."""
COLUMNS = ("query", "rank", "path", "similarity", "camid", "pid", "modality", "time")


def hits_as_plain(queries: Sequence[Path], hits: Sequence[Sequence[Hit]]) -> list[dict[str, Any]]:
    """JSON values: for each query its path and its hits, best first; -1 and NaN become null."""
    return [
        {"query": str(query), "hits": [_plain(hit, rank) for rank, hit in enumerate(found, 1)]}
        for query, found in zip(queries, hits)
    ]


def _plain(hit: Hit, rank: int) -> dict[str, Any]:
    return {
        "rank": rank,
        "path": hit.path,
        "similarity": round(hit.similarity, 6),
        "camid": None if hit.camid < 0 else hit.camid,
        "pid": None if hit.pid < 0 else hit.pid,
        "modality": hit.modality.word,
        "time": hit.time,
        "row_id": hit.row_id,
    }


def hits_table(query: Path, hits: Sequence[Hit]) -> Table:
    """A table for `console.print`; columns of which nothing is known leave the paths their room."""
    names = ("path", "similarity", "camera", "identity", "time")
    rows = [
        (
            _from_here(hit.path),
            f"{hit.similarity:.3f}",
            "" if hit.camid < 0 else hit.camid,
            "" if hit.pid < 0 else hit.pid,
            _moment(hit.time),
        )
        for hit in hits
    ]
    known = [n for n in range(len(names)) if any(row[n] != "" for row in rows)]
    return table(
        f"Most similar to {query}",
        [names[n] for n in known],
        [[row[n] for n in known] for row in rows],
    )


def _from_here(path: str) -> str:
    """As it would be typed in this folder, if it lies below: whole paths break a table's lines."""
    here = os.path.join(os.getcwd(), "")
    return path.removeprefix(here)


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="minutes")


def write_csv(path: Path, queries: Sequence[Path], hits: Sequence[Sequence[Hit]]) -> None:
    """One line a hit, with the columns of `COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for answer in hits_as_plain(queries, hits):
        for hit in answer["hits"]:
            writer.writerow({"query": answer["query"], **hit})
    write_text(path, text.getvalue())


def save_picture(
    path: Path, queries: Sequence[Path], hits: Sequence[Sequence[Hit]], image_roots: Sequence[str]
) -> None:
    """A picture of the ranked results of the first `MAX_DRAWN` queries, ten results each.

    Images that are gone are left grey.
    """
    from vireid.figures import Entry, RankedList, draw_ranked, save_image

    lists = []
    for query, found in list(zip(queries, hits))[:MAX_DRAWN]:
        entries = [
            Entry(_pixels(hit.path, image_roots), hit.similarity, _label(hit), None)
            for hit in found[:10]
        ]
        lists.append(RankedList(_pixels(str(query), ()), query.name, query.parent.name, entries))
    save_image(draw_ranked(lists, "Most similar first"), path)


def _label(hit: Hit) -> str:
    words = [] if hit.pid < 0 else [f"pid {hit.pid}"]
    return " · ".join([*words, *([] if hit.camid < 0 else [f"cam {hit.camid}"])])


def _pixels(path: str, roots: Sequence[str]) -> np.ndarray:
    from vireid.data.decoding import decode

    for place in (Path(path), *(Path(root) / path for root in roots)):
        if place.is_file():
            return decode(place, (288, 144))
    return np.full((288, 144, 3), 128, np.uint8)
