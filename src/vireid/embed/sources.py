"""What `vireid embed` is pointed at: a folder, a list of paths, or a CSV table."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from vireid.data.listing import IMAGE_ENDINGS, is_image_name
from vireid.types import InputError, Modality

COLUMNS = ("path", "pid", "camid", "modality", "time")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images to embed and what is known of them.

    Attributes:
        files: where each image is.
        paths: what each image is called in the embeddings file: as given in a list or table,
            the whole path for a folder's images.
        pids, camids, modality: (N,) int64; times: (N,) float64. -1 and NaN where unknown.
    """

    files: list[str]
    paths: list[str]
    pids: np.ndarray
    camids: np.ndarray
    modality: np.ndarray
    times: np.ndarray


def read_source(
    images: str | Path, *, modality: Modality | None = None, camera_pattern: str | None = None
) -> Source:
    """List the images that `images` names.

    Args:
        images: a folder (searched through), a text file with a path a line, or a CSV table with
            the column path and any of pid, camid, modality, time (ISO or seconds since 1970).
            Relative paths are meant from the file's folder.
        modality: of images whose row doesn't say.
        camera_pattern: regular expression with a named group `camid`, and `pid` or `time` if
            the names hold them, searched in each path.

    Raises:
        InputError: nothing there, a row that can't be read, or no modality.
    """
    place = Path(images)
    if place.is_dir():
        files = _walk(place)
        rows: list[dict[str, str]] = [{"path": file} for file in files]
    elif place.is_file():
        rows = _table(place) if place.suffix.lower() == ".csv" else _list(place)
        files = [str(place.parent / row["path"]) for row in rows]
    else:
        raise InputError(
            f"There is no '{place}'. A folder of images, a text file with a path a "
            "line, or a CSV table was expected."
        )
    if not files:
        raise InputError(f"'{place}' names no image (endings: {', '.join(sorted(IMAGE_ENDINGS))}).")
    known = set(rows[0])
    if camera_pattern is not None:
        _add_from_names(rows, camera_pattern)
        known |= set(COLUMNS)

    def column(name: str, read: Callable[[dict[str, str]], float], unknown: float) -> np.ndarray:
        """A column's values; of millions of pictures in a folder none has to be looked at."""
        dtype = np.float64 if name == "time" else np.int64
        if name not in known:
            return np.full(len(rows), unknown, dtype)
        return np.array([read(row) for row in rows], dtype)

    def kind(row: dict[str, str]) -> int:
        if text := row.get("modality"):
            return int(Modality.parse(text))
        if modality is not None:
            return int(modality)
        raise InputError(
            f"The modality of '{row['path']}' is unknown. Give --modality "
            "visible or infrared, or a CSV table with the column modality."
        )

    return Source(
        files=files,
        paths=[row["path"] for row in rows],
        pids=column("pid", lambda row: _number(row, "pid"), -1),
        camids=column("camid", lambda row: _number(row, "camid"), -1),
        modality=column("modality", kind, -1 if "modality" in known else kind(rows[0])),
        times=column("time", _time, float("nan")),
    )


def _walk(folder: Path) -> list[str]:
    """Image files below a folder, as strings: there may be millions."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        start = os.path.join(parent, "")
        found += [start + name for name in sorted(names) if is_image_name(name)]
    return found


def _list(path: Path) -> list[dict[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is no text file with a path a line.") from error
    return [{"path": line.strip()} for line in lines if line.strip()]


def _table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path}' is not a readable CSV table: {error}.") from error
    known = set(rows[0]) if rows else set()
    if rows and "path" not in known:
        raise InputError(
            f"The table '{path}' has no column 'path'; its columns are "
            f"{', '.join(map(str, known))}. Legal: {', '.join(COLUMNS)}."
        )
    for number, row in enumerate(rows, 2):
        if not row["path"]:
            raise InputError(f"Line {number} of '{path}' has no path.")
    return rows


def _add_from_names(rows: list[dict[str, str]], pattern: str) -> None:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--camera-pattern '{pattern}' is no regular expression: {error}."
        ) from error
    for row in rows:
        match = compiled.search(row["path"])
        if match is None:
            continue
        found = match.groupdict() or {"camid": match.group(1) if compiled.groups else match.group()}
        for name, value in found.items():
            if name in COLUMNS and value and not row.get(name):
                row[name] = value


def _number(row: dict[str, str], column: str) -> int:
    text = (row.get(column) or "").strip()
    if not text:
        return -1
    try:
        return int(text)
    except ValueError as error:
        raise InputError(
            f"The {column} of '{row['path']}' is '{text}'; a whole number was expected."
        ) from error


def _time(row: dict[str, str]) -> float:
    text = (row.get("time") or "").strip()
    if not text:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        pass  # not seconds: an ISO time, or wrong
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise InputError(
            f"The time of '{row['path']}' is '{text}'; seconds since 1970 or a time as "
            "2026-01-31T08:00 was expected."
        ) from error
