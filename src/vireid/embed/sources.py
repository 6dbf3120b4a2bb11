"""What `vireid embed` is pointed at: a folder, a list of paths, or a CSV table."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vireid.data.listing import IMAGE_ENDINGS, is_image_name, read_text
from vireid.data.table import Row, read_modality, read_number, read_rows, read_time
from vireid.types import InputError, Modality

COLUMNS = ("pid", "camid", "modality", "time")


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
    """

    files: list[str]
    paths: list[str]
    pids: np.ndarray
    camids: np.ndarray
    modality: np.ndarray
    times: np.ndarray
    base: str
    root: str


def read_source(
    images: str | Path, *, modality: Modality | None = None, camera_pattern: str | None = None
) -> Source:
    """List the images that `images` names.

    Args:
        images: a folder (searched with its subfolders), a text file with one path per line, or a
            CSV table with the column path and any of pid, camid, modality, time (see
            `vireid.types.parse_time`). Paths are relative to the file's folder.
        modality: of images whose row doesn't say.
        camera_pattern: regular expression with a named group `camid`, and `pid` or `time` if
            the names hold them, searched in each path.

    Raises:
        InputError: nothing there, a row that can't be read, or no modality.
    """
    source = Path(images)
    rows = _read_rows(source)
    columns = set(rows[0].cells)
    if camera_pattern is not None:
        _add_from_names(rows, camera_pattern)
        columns |= set(COLUMNS)

    def column(name: str, read: Callable[[Row], float | None], default: float) -> np.ndarray:
        """A column's values; of millions of images in a folder none has to be looked at."""
        dtype = np.float64 if name == "time" else np.int64
        if name not in columns:
            return np.full(len(rows), default, dtype)
        return np.array([read(row) for row in rows], dtype)  # None becomes NaN

    def sensor(row: Row) -> Modality:
        if row.cells.get("modality"):
            return read_modality(row)
        if modality is not None:
            return modality
        raise InputError(
            f"The modality of '{row.cells['path']}' is unknown. Set `modality` to visible or "
            "infrared, or give a CSV table with the column modality."
        )

    paths = [row.cells["path"] for row in rows]
    root = os.path.abspath(source if source.is_dir() else source.parent)
    return Source(
        files=paths if source.is_dir() else [str(source.parent / path) for path in paths],
        paths=paths,
        pids=column("pid", lambda row: read_number(row, "pid", digits=18), -1),
        camids=column("camid", lambda row: read_number(row, "camid"), -1),
        modality=column("modality", sensor, -1 if "modality" in columns else sensor(rows[0])),
        times=column("time", read_time, float("nan")),
        base=os.getcwd() if source.is_dir() else root,
        root=root,
    )


def _read_rows(source: Path) -> list[Row]:
    if source.is_dir():
        rows = [Row(f"'{file}'", {"path": file}) for file in _walk(source)]
    elif source.is_file():
        table = source.suffix.lower() == ".csv"
        rows = read_rows(source, optional=COLUMNS) if table else _read_list(source)
    else:
        raise InputError(
            f"There is no '{source}'. A folder of images, a text file with one path per "
            "line, or a CSV table was expected."
        )
    if not rows:
        raise InputError(
            f"'{source}' names no image (endings: {', '.join(sorted(IMAGE_ENDINGS))})."
        )
    return rows


def _walk(folder: Path) -> list[str]:
    """Image files below a folder, as strings: there may be millions."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        start = os.path.join(parent, "")
        files += [start + name for name in sorted(names) if is_image_name(name)]
    return files


def _read_list(path: Path) -> list[Row]:
    lines = enumerate(map(str.strip, read_text(path, "list of images").splitlines()), 1)
    return [Row(f"Line {number} of '{path}'", {"path": line}) for number, line in lines if line]


def _add_from_names(rows: list[Row], pattern: str) -> None:
    """Fill empty cells with what the pattern's groups find in each path."""
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"`camera_pattern` is '{pattern}', which is not a regular expression: {error}."
        ) from error
    for row in rows:
        match = compiled.search(row.cells["path"])
        if match is None:
            continue
        groups = match.groupdict() or {
            "camid": match.group(1) if compiled.groups else match.group()
        }
        for name, value in groups.items():
            if name in COLUMNS and value and not row.cells.get(name):
                row.cells[name] = value
