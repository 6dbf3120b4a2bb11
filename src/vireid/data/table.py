"""The one reader of CSV tables of images: whoever asks states the columns it needs."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from vireid.data.listing import check_exist, check_path, read_text
from vireid.types import (
    InputError,
    Modality,
    Sample,
    is_missing,
    parse_pid,
    parse_time,
    shown,
)

T = TypeVar("T")

_COLUMNS = ("path", "pid", "modality", "camid", "time", "split", "role")  # of any table
_SPLITS = {"train": "fit", "val": "val", "test": "test"}
_ROLES = {"query": 0, "gallery": 1, "": -1}
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_SENSORS = {"visible", "vis", "rgb", "infrared", "ir", "nir", "thermal"}  # words of nothing else


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
        names: identity → what the user calls it.
        notes: sentences on what was left out.
    """

    samples: list[Sample]
    split: dict[str, str] | None = None
    roles: dict[str, int] | None = None
    names: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_rows(
    path: Path,
    *,
    required: Sequence[str] = ("path",),
    optional: Sequence[str] = (),
    key: str = "path",
) -> list[Row]:
    """The rows of a table with one image, or another thing, per row.

    Args:
        path: a CSV file in UTF-8 or UTF-16, separated by commas, semicolons or tabs, with the
            columns' names in its first line (in any case). Blank lines are skipped.
        required: columns that have to be there; `key` among them.
        optional: columns that the caller reads besides. Others are allowed.
        key: the column of what a row is about. Of images, none may be listed twice.

    Raises:
        InputError: it is missing, not text or not CSV; a required column is missing, one that is
            read is there twice or under another name; a row is too short or too long, or lists an
            image again.
    """
    text = read_text(path, "table")
    if "\0" in text:
        raise InputError(f"The table '{path}' has a zero byte in it; it is not a CSV table.")
    separator = find_separator(text, required) or ","
    lines = _split(text, separator, path)
    header = [name.strip().lower() for name in lines[0][1]] if lines else []
    _check_header(path, header, required, optional)
    if not lines[1:]:
        raise InputError(f"The table '{path}' has no row below its first line.")
    rows: list[Row] = []
    for number, cells in lines[1:]:
        row = Row(f"Line {number} of '{path}'", dict(zip(header, map(str.strip, cells))))
        if len(cells) != len(header):
            raise InputError(
                f"{row.where} has {len(cells)} values, the first line {len(header)}. Put values "
                f"that hold a {_SEPARATORS[separator]} in quotation marks."
            )
        rows.append(row)
    if key == "path":
        check_once(rows)
    if "modality" in (*required, *optional) and "modality" not in header:
        _check_no_other_name(path, rows, known={*required, *optional})
    return rows


def unread(rows: Sequence[Row]) -> list[str]:
    """A note on columns that nobody reads: one of them may be a camera or a time under another
    name. The row numbers of pandas and spreadsheets are none."""
    names = [name for name in rows[0].cells if name not in {*_COLUMNS, "", "index", "unnamed: 0"}]
    if not names:
        return []
    some = ", ".join(shown(name, 40) for name in names[:3]) + (" …" if len(names) > 3 else "")
    return [f"Left out: columns of other names ({some}) than are read ({', '.join(_COLUMNS)})."]


def find_separator(text: str, required: Sequence[str] = ("path",)) -> str | None:
    """What separates the columns of a table; None if its first line lacks a required column."""
    first = next((line for line in text.splitlines() if line.strip() and not _said(line)), "")
    for separator in _SEPARATORS:
        with contextlib.suppress(csv.Error):
            names = next(csv.reader([first], delimiter=separator), [])
            if {*required} <= {name.strip().lower() for name in names}:
                return separator
    return None


def _said(line: str) -> bool:
    """Whether it is the line by which Excel names the separator."""
    return line.strip().strip('"').lower() in {f"sep={separator}" for separator in _SEPARATORS}


def _split(text: str, separator: str, path: Path) -> list[tuple[int, list[str]]]:
    """(number, cells) of each line that isn't blank, the header first."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(
            f"The table '{path}' is not CSV (near line {reader.line_num}): {error}."
        ) from error
    return lines[1:] if lines and _said(separator.join(lines[0][1])) else lines


def check_once(rows: Sequence[Row]) -> None:
    """Every image is listed once.

    Raises:
        InputError: a row has no path, or that of an earlier one.
    """
    first: dict[PurePosixPath, str] = {}
    for row in rows:
        if not row.cells["path"]:
            raise InputError(f"{row.where} has no path.")
        image = PurePosixPath(row.cells["path"])
        if first.setdefault(image, row.where) != row.where:
            line = first[image].partition(" of ")[0].lower()
            raise InputError(
                f"{row.where} lists {shown(str(image), 400)} again (first in {line}). Remove one."
            )


def _check_header(
    path: Path, header: list[str], required: Sequence[str], optional: Sequence[str]
) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(
            f"The table '{path}' lacks the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}; its first line is '{','.join(header)[:120]}'. Required: "
            f"{', '.join(required)}; optional: {', '.join(optional)}; separated by commas, "
            "semicolons or tabs."
        )
    twice = [name for name in (*required, *optional) if header.count(name) > 1]
    if twice:
        raise InputError(f"The table '{path}' has the column {twice[0]} twice. Remove one.")


def _check_no_other_name(path: Path, rows: Sequence[Row], known: set[str]) -> None:
    """A column that says the sensor under another name must not be passed over."""
    for name in rows[0].cells.keys() - known:
        words = {row.cells[name].lower() for row in rows}
        if words <= _SENSORS:
            raise InputError(
                f"The column '{name}' of the table '{path}' seems to be the modality (it says "
                f"'{rows[0].cells[name]}'), but a column of that name isn't read. Name it modality."
            )


def read_number(row: Row, column: str) -> int:
    """A whole number of at most 9 digits, also written as 7.0 or 007; -1 where it is unknown.

    Raises:
        InputError: something else is there.
    """
    text = row.cells.get(column, "")
    if is_missing(text):
        return -1
    number = re.fullmatch(r"0*(\d{1,9})(?:\.0*)?", text, re.ASCII)
    if number is None:
        raise InputError(
            f"{row.where}: the {column} is {shown(text)}; a whole number of at most 9 digits was "
            "expected."
        )
    return int(number[1])


def read_pid(row: Row) -> int:
    """The identity's number, -1 where it is unknown.

    Raises:
        InputError: see `vireid.types.parse_pid`.
    """
    return _located(row, parse_pid, row.cells.get("pid", ""))


def read_modality(row: Row, otherwise: Modality | None = None) -> Modality:
    """The row's sensor.

    Args:
        otherwise: that of rows that don't say; others must not contradict it.

    Raises:
        InputError: it is neither visible nor infrared, unknown, or not `otherwise`.
    """
    text = row.cells.get("modality", "")
    if is_missing(text):
        if otherwise is None:
            raise InputError(
                f"{row.where}: the modality of '{row.cells['path']}' is unknown. Set `modality` to "
                "visible or infrared, or give a CSV table with the column modality."
            )
        return otherwise
    modality = _located(row, Modality.parse, text)
    if otherwise not in (None, modality):
        raise InputError(
            f"{row.where}: the modality is '{text[:40]}', but `modality` is {otherwise.word}. "
            "Leave `modality` out, or correct the table."
        )
    return modality


def read_time(row: Row) -> float | None:
    """Seconds since 1970, or None where the row has no time.

    Raises:
        InputError: see `vireid.types.parse_time`.
    """
    text = row.cells.get("time", "")
    return None if is_missing(text) else _located(row, parse_time, text)


def _located(row: Row, parse: Callable[[str], T], text: str) -> T:
    """What a parser makes of a cell; its sentence then says where the cell is."""
    try:
        return parse(text)
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
    for row in rows:
        if is_missing(row.cells["pid"]) and not row.cells["pid"].startswith("-1"):
            raise InputError(
                f"{row.where} has no pid, which every image needs; -1 leaves an image out."
            )
    table = Table(samples=[], notes=unread(rows))
    split: dict[str, str] = {}
    roles: dict[str, int] = {}
    for row in rows:
        image = check_path(row.cells["path"], row.where)
        pid = read_pid(row)
        table.names[pid] = row.cells["pid"]
        table.samples.append(
            Sample(
                path=image,
                pid=pid,
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
            f"{row.where}: the {column} is {shown(text)}; expected one of "
            f"{', '.join(filter(None, choices))}."
        )
    return choices[text.lower()]
