"""What the cameras of an index are called, for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vireid.data.table import read_number, read_rows
from vireid.types import InputError

LONGEST = 60


def read_camera_names(path: str | Path) -> dict[int, str]:
    """Camera number → name, from a table with the columns camid and name.

    Args:
        path: as for `vireid.data.table.read_rows`. A camera whose name is empty has none.

    Raises:
        InputError: the table can't be read, a camera is there twice, its number is missing, or a
            name is too long.
    """
    names: dict[int, str] = {}
    for row in read_rows(Path(path), required=("camid", "name"), key="camid"):
        camid, name = read_number(row, "camid"), row.cells["name"]
        if camid < 0:
            raise InputError(f"{row.where} has no camera number in its column camid.")
        if camid in names:
            raise InputError(f"{row.where} names camera {camid} again. Remove one of the lines.")
        if len(name) > LONGEST:
            raise InputError(
                f"{row.where}: the name of camera {camid} has {len(name)} characters; at most "
                f"{LONGEST} were expected."
            )
        names[camid] = name
    return {camid: name for camid, name in names.items() if name}


def camera_text(camid: int, names: Mapping[int, str]) -> str:
    """A camera for people: its name and number, or its number; nothing where it is unknown."""
    if camid < 0:
        return ""
    return f"{names[camid]} ({camid})" if camid in names else str(camid)


def stored(names: Mapping[int, str]) -> dict[str, str]:
    """Names as JSON can hold them."""
    return {str(camid): name for camid, name in names.items()}


def read_stored(facts: Mapping[str, object]) -> dict[int, str]:
    """What `stored` gave; without what somebody has made nonsense of."""
    return {
        int(camid): name
        for camid, name in facts.items()
        if isinstance(name, str) and name and re.fullmatch(r"\d{1,9}", camid, re.ASCII)
    }
