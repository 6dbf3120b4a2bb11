"""A user's table of images: CSV with the columns path, pid, modality and optional others."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from vireid.data.labels import number_names
from vireid.data.listing import check_exist, check_path, read_text
from vireid.types import InputError, Modality, Sample

T = TypeVar("T")

NEEDED = ("path", "pid", "modality")
OPTIONAL = ("camid", "split", "role", "time")
_SPLITS = {"train": "fit", "val": "val", "test": "test"}
_ROLES = {"query": 0, "gallery": 1, "": -1}


@dataclass(kw_only=True)
class Table:
    """Images, and what the user said of each.

    Attributes:
        split: path → "fit", "val" or "test", or None where no split is given.
        roles: path → 0 (query), 1 (gallery) or -1, or None where no roles are given.
    """

    samples: list[Sample]
    split: dict[str, str] | None = None
    roles: dict[str, int] | None = None
    notes: list[str] = field(default_factory=list)


def read_table(path: Path) -> Table:
    """Read a table; paths are relative to its folder.

    Raises:
        InputError: a needed column is missing, a value cannot be understood, an image is listed
            twice or does not exist, or a column is filled in some rows only.
    """
    rows = _rows(path)
    samples: list[Sample] = []
    split: dict[str, str] = {}
    roles: dict[str, int] = {}
    first_line: dict[str, int] = {}
    pids = number_names({row["pid"] for _, row in rows})
    if "" in pids:
        raise InputError(f"The table '{path}' has a row without a pid. Every image needs one.")
    for line, row in rows:
        where = f"Line {line} of '{path}'"
        image = check_path(row["path"], where)
        if image in first_line:
            raise InputError(
                f"{where} lists '{image}' again (first in line {first_line[image]}). Remove one."
            )
        first_line[image] = line
        try:
            modality = Modality.parse(row["modality"])
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        samples.append(
            Sample(
                path=image,
                pid=pids[row["pid"]],
                camid=_camera(row.get("camid", ""), where),
                modality=modality,
                time=_time(row.get("time", ""), where),
            )
        )
        if "split" in row:
            split[image] = _word(row["split"], _SPLITS, "split", where)
        if "role" in row:
            roles[image] = _word(row["role"], _ROLES, "role", where)
    check_exist(path.parent, [sample.path for sample in samples], f"'{path}'")
    unknown = sum(sample.camid < 0 for sample in samples)
    if 0 < unknown < len(samples):
        raise InputError(
            f"'{path}' gives a camid in {len(samples) - unknown} rows and none in {unknown}. Fill "
            "the column in every row, or leave it out."
        )
    return Table(samples=samples, split=split or None, roles=roles or None)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, column → value) of each row, with columns checked."""
    text = read_text(path, "table")
    if "\0" in text:
        raise InputError(f"The table '{path}' holds a zero byte; it is not a CSV table.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(
            f"The table '{path}' is not CSV (near line {reader.line_num}): {error}."
        ) from error
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise InputError(
            f"The table '{path}' lacks the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}; its first line is '{','.join(header)[:120]}'. Needed: "
            f"{', '.join(NEEDED)}; optional: {', '.join(OPTIONAL)}; separated by commas."
        )
    twice = [name for name in (*NEEDED, *OPTIONAL) if header.count(name) > 1]
    if twice:
        raise InputError(f"The table '{path}' has the column {twice[0]} twice. Remove one.")
    if not lines:
        raise InputError(f"The table '{path}' has no row below its first line.")
    out = []
    for number, row in lines:
        if len(row) != len(header):
            raise InputError(
                f"Line {number} of '{path}' has {len(row)} values, the first line {len(header)}. "
                "Put values that hold a comma in quotation marks."
            )
        values = {name: cell.strip() for name, cell in zip(header, row)}
        out.append((number, values))
    return out


def _camera(text: str, where: str) -> int:
    if text in ("", "-1"):
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"{where}: the camid is '{text[:40]}'; a whole number was expected.")
    return int(text)


def _time(text: str, where: str) -> float | None:
    """Seconds since 1970 from a number or an ISO 8601 date; without a zone it is UTC."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            seconds = moment.timestamp()
        except (ValueError, OverflowError):
            seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(
            f"{where}: the time is '{text[:40]}'; seconds since 1970 or a date such as "
            "2026-05-01T22:15:00 was expected."
        )
    return seconds


def _word(text: str, legal: dict[str, T], column: str, where: str) -> T:
    found = legal.get(text.lower())
    if found is None:
        words = ", ".join(word for word in legal if word)
        raise InputError(f"{where}: the {column} is '{text[:40]}'; expected one of {words}.")
    return found
