"""The one reader of CSV tables of images: whoever asks states the columns it needs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from vireid.data.labels import number_names
from vireid.data.listing import check_exist, check_path, read_text
from vireid.types import InputError, Modality, Sample, parse_time

T = TypeVar("T")

_SPLITS = {"train": "fit", "val": "val", "test": "test"}
_ROLES = {"query": 0, "gallery": 1, "": -1}


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        where: line and file, for messages.
        cells: column → text without spaces around it; columns in lower case.
    """

    where: str
    cells: dict[str, str]


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


def read_rows(
    path: Path, *, required: Sequence[str] = ("path",), optional: Sequence[str] = ()
) -> list[Row]:
    """The rows of a table with one image per row.

    Args:
        path: a CSV file in UTF-8, separated by commas, with the columns' names in its first line
            (in any case). Blank lines are skipped.
        required: columns that have to be there; `path` among them.
        optional: columns that the caller reads besides. Others are allowed.

    Raises:
        InputError: it is missing, not UTF-8 or not CSV; a required column is missing, or one that
            is read is there twice; a row is too short or too long, or lists an image again.
    """
    text = read_text(path, "table")
    if "\0" in text:
        raise InputError(f"The table '{path}' has a zero byte in it; it is not a CSV table.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(
            f"The table '{path}' is not CSV (near line {reader.line_num}): {error}."
        ) from error
    _check_header(path, header, required, optional)
    if not lines:
        raise InputError(f"The table '{path}' has no row below its first line.")
    rows: list[Row] = []
    first: dict[PurePosixPath, int] = {}
    for number, cells in lines:
        row = Row(f"Line {number} of '{path}'", dict(zip(header, map(str.strip, cells))))
        if len(cells) != len(header):
            raise InputError(
                f"{row.where} has {len(cells)} values, the first line {len(header)}. "
                "Put values that hold a comma in quotation marks."
            )
        if not row.cells["path"]:
            raise InputError(f"{row.where} has no path.")
        image = PurePosixPath(row.cells["path"])
        if first.setdefault(image, number) != number:
            raise InputError(
                f"{row.where} lists '{image}' again (first in line {first[image]}). Remove one."
            )
        rows.append(row)
    return rows


def _check_header(
    path: Path, header: list[str], required: Sequence[str], optional: Sequence[str]
) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(
            f"The table '{path}' lacks the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}; its first line is '{','.join(header)[:120]}'. Required: "
            f"{', '.join(required)}; optional: {', '.join(optional)}; separated by commas."
        )
    twice = [name for name in (*required, *optional) if header.count(name) > 1]
    if twice:
        raise InputError(f"The table '{path}' has the column {twice[0]} twice. Remove one.")


def read_number(row: Row, column: str, *, digits: int = 9) -> int:
    """A whole number of at most so many digits; -1 where it is missing or the cell says so.

    Raises:
        InputError: something else is there.
    """
    text = row.cells.get(column, "")
    if text in ("", "-1"):
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise InputError(
            f"{row.where}: the {column} is '{text[:40]}'; a whole number of at most {digits} "
            "digits was expected."
        )
    return int(text)


def read_modality(row: Row) -> Modality:
    """The row's sensor.

    Raises:
        InputError: it is neither visible nor infrared.
    """
    try:
        return Modality.parse(row.cells["modality"])
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from error


def read_time(row: Row) -> float | None:
    """Seconds since 1970, or None where the row has no time.

    Raises:
        InputError: see `vireid.types.parse_time`.
    """
    text = row.cells.get("time", "")
    if not text:
        return None
    try:
        return parse_time(text)
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from error


def read_table(path: Path) -> Table:
    """A user's own data set; paths are relative to the table's folder.

    Raises:
        InputError: see `read_rows`; or a value can't be understood, an image does not exist, or
            `camid` is filled in some rows only.
    """
    rows = read_rows(
        path,
        required=("path", "pid", "modality"),
        optional=("camid", "split", "role", "time"),
    )
    pids = number_names({row.cells["pid"] for row in rows})
    if "" in pids:
        raise InputError(f"The table '{path}' has a row without a pid. Every image needs one.")
    table = Table(samples=[])
    split: dict[str, str] = {}
    roles: dict[str, int] = {}
    for row in rows:
        image = check_path(row.cells["path"], row.where)
        table.samples.append(
            Sample(
                path=image,
                pid=pids[row.cells["pid"]],
                camid=read_number(row, "camid"),
                modality=read_modality(row),
                time=read_time(row),
            )
        )
        if "split" in row.cells:
            split[image] = _choice(row, "split", _SPLITS)
        if "role" in row.cells:
            roles[image] = _choice(row, "role", _ROLES)
    table.split, table.roles = split or None, roles or None
    check_exist(path.parent, [sample.path for sample in table.samples], f"'{path}'")
    without = sum(sample.camid < 0 for sample in table.samples)
    if 0 < without < len(rows):
        raise InputError(
            f"'{path}' gives a camid in {len(rows) - without} rows and none in {without}. Fill "
            "the column in every row, or leave it out."
        )
    return table


def _choice(row: Row, column: str, choices: Mapping[str, T]) -> T:
    text = row.cells[column]
    if text.lower() not in choices:
        raise InputError(
            f"{row.where}: the {column} is '{text[:40]}'; expected one of "
            f"{', '.join(filter(None, choices))}."
        )
    return choices[text.lower()]
