"""What `vireid embed` is pointed at: a folder, a list of paths, or a CSV table."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vireid.console import path_meant
from vireid.data.listing import IMAGE_ENDINGS, read_text, walk
from vireid.data.table import (
    Row,
    check_once,
    find_separator,
    read_modality,
    read_number,
    read_pid,
    read_rows,
    read_time,
    unread,
)
from vireid.types import InputError, Modality, shown

COLUMNS = ("pid", "camid", "modality", "time")
_EXPECTED = "a folder of images, a text file with one path per line, or a CSV table"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images to embed and what is known of them.

    Attributes:
        files: where each image is.
        paths: what each image is called in the embeddings file: as given in a list or table,
            the whole path for a folder's images.
        pids, camids, modality: (N,) int64; times: (N,) float64. -1 and NaN where unknown.
        base: the folder that relative paths start from.
        root: the folder that was named, or that of the list or table.
        notes: sentences on what was left out.
    """

    files: list[str]
    paths: list[str]
    pids: np.ndarray
    camids: np.ndarray
    modality: np.ndarray
    times: np.ndarray
    base: str
    root: str
    notes: tuple[str, ...]


def read_source(
    images: str | Path, *, modality: Modality | None = None, camera_pattern: str | None = None
) -> Source:
    """List the images that `images` names.

    Args:
        images: a folder (searched with its subfolders), a text file with one path per line, or a
            table with the column path and any of pid, camid, modality, time (see
            `vireid.data.table.read_rows`). Paths are relative to the file's folder.
        modality: of images whose row doesn't say; no row may contradict it.
        camera_pattern: regular expression with a named group `camid`, and `pid` or `time` if
            the names hold them, searched in each path.

    Raises:
        InputError: nothing there, a row that can't be read, or no modality.
    """
    source = Path(images)
    notes: list[str] = []
    rows = _read_rows(source, notes)
    columns = set(rows[0].cells)
    if camera_pattern is not None:
        notes += _add_from_names(rows, camera_pattern)
        columns |= set(COLUMNS)

    def column(name: str, read: Callable[[Row], float | None], default: float) -> np.ndarray:
        """A column's values; of millions of images in a folder none has to be looked at."""
        dtype = np.float64 if name == "time" else np.int64
        if name not in columns:
            return np.full(len(rows), default, dtype)
        return np.array([read(row) for row in rows], dtype)  # None becomes NaN

    def sensor(row: Row) -> Modality:
        return read_modality(row, modality)

    paths = [row.cells["path"] for row in rows]
    root = os.path.abspath(source if source.is_dir() else source.parent)
    return Source(
        files=paths if source.is_dir() else [str(source.parent / path) for path in paths],
        paths=paths,
        pids=column("pid", read_pid, -1),
        camids=column("camid", lambda row: read_number(row, "camid"), -1),
        modality=column("modality", sensor, -1 if "modality" in columns else sensor(rows[0])),
        times=column("time", read_time, float("nan")),
        base=os.getcwd() if source.is_dir() else root,
        root=root,
        notes=tuple(notes),
    )


def check_source(images: str | Path) -> None:
    """Refuse a source that isn't there, or is one image; what is in it isn't read.

    Raises:
        InputError: it is so.
    """
    source = Path(images)
    if source.suffix.lower() in IMAGE_ENDINGS and source.is_file():
        raise InputError(f"'{source}' is one image; {_EXPECTED} was expected.")
    if not (source.is_dir() or source.is_file()):
        raise InputError(f"There is no '{source}'; {_EXPECTED} was expected.{path_meant(source)}")


def _read_rows(source: Path, notes: list[str]) -> list[Row]:
    check_source(source)
    if source.is_dir():
        found, start = walk(source), os.path.join(source, "")
        notes += found.notes()
        files = [start + path for path in found.images]
        rows = [Row(f"'{file}'", {"path": file}) for file in files]
    else:
        text = read_text(source, "list of images")
        table = source.suffix.lower() in (".csv", ".tsv") or find_separator(text)
        rows = read_rows(source, optional=COLUMNS) if table else _read_list(source, text)
        notes += unread(rows)
    if not rows:
        raise InputError(" ".join([f"'{source}' names no image (.jpg, .png, .tif …).", *notes]))
    return rows


def _read_list(path: Path, text: str) -> list[Row]:
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    rows = [Row(f"Line {number} of '{path}'", {"path": line}) for number, line in lines if line]
    first = rows[0].cells["path"]  # enough to know other text by
    if not (first.lower().endswith(IMAGE_ENDINGS) or os.path.isfile(path.parent / first)):
        raise InputError(
            f"'{path}' is no list of images: its first line, {shown(first)}, names none; "
            f"{_EXPECTED} was expected."
        )
    check_once(rows)
    return rows


def _add_from_names(rows: list[Row], pattern: str) -> list[str]:
    """Fill empty cells with what the pattern's groups find in each path; notes on those where
    it finds nothing."""
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"`camera_pattern` is '{pattern}', which is not a regular expression: {error}."
        ) from error
    missed = []
    for row in rows:
        match = compiled.search(row.cells["path"])
        if match is None:
            missed.append(row.cells["path"])
            continue
        groups = match.groupdict() or {
            "camid": match.group(1) if compiled.groups else match.group()
        }
        for name, value in groups.items():
            if name in COLUMNS and value and not row.cells.get(name):
                row.cells[name] = value
    if not missed:
        return []
    return [
        f"`camera_pattern` finds nothing in {len(missed):,} of {len(rows):,} paths, such as "
        f"'{missed[0][:200]}'; what it stands for is unknown there."
    ]
