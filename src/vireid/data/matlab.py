"""The one reader of MATLAB files to version 7: their arrays of numbers, and cells of such arrays.

SciPy's reader takes the types in a file as indices without a look, and ends the whole program on a
damaged one (scipy/scipy#25349). Source: MathWorks, "MAT-File Level 5 File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vireid.types import InputError

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
_MATRIX, _COMPRESSED = 14, 15
_CELL, _FIRST_NUMERIC, _LAST_NUMERIC = 1, 6, 15  # classes of arrays
_COMPLEX = 0x800
_MOST = 2**28  # bytes of all decompressed variables


def read_variables(path: Path) -> dict[str, np.ndarray | None]:
    """The variables in a MATLAB file.

    Returns:
        Name → numbers, or an object array of cells, each such an array again; None where it is of
        another class, such as a text or a structure.

    Raises:
        InputError: it can't be read, is damaged, or of another version.
    """
    try:
        content = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}[content[126:128]]
        return dict(_matrix(inner, order) for kind, inner in _variables(content[128:], order)
                    if kind == _MATRIX)  # fmt: skip
    except OSError as error:
        raise InputError(f"'{path}' can't be read: {error.strerror or error}.") from error
    except (ValueError, LookupError, struct.error, zlib.error, RecursionError) as error:
        raise InputError(
            f"'{path}' is not a readable MATLAB file of version 5 to 7; it may be damaged. Copy it "
            "again."
        ) from error


def _variables(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element of a file, decompressed."""
    left = _MOST
    for kind, inner in _elements(content, order):
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(inner, left + 1)
            left -= len(unpacked)
            if left < 0:
                raise ValueError("the variables are too large")
            yield from _elements(unpacked, order)
        else:
            yield kind, inner


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of each element."""
    place = 0
    while place < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        start, step = place + 8, 8
        if kind >> 16:  # at most four bytes, in the tag itself
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
        elif kind == _COMPRESSED:
            step = 1
        end = start + size
        if end > len(content) or (start == place + 4 and size > 4):
            raise ValueError("an element was cut off")
        yield kind, content[start:end]
        place = end + -end % step


def _matrix(content: bytes, order: str) -> tuple[str, np.ndarray | None]:
    """Name and array of an element of type `_MATRIX`."""
    if not content:  # an empty cell
        return "", np.zeros((0, 0))
    (_, flags), (_, sizes), (_, name), *parts = _elements(content, order)
    (flag,) = struct.unpack_from(f"{order}I", flags)
    shape = tuple(np.frombuffer(sizes, f"{order}i4").tolist())
    array: np.ndarray | None = None
    if flag & 0xFF == _CELL:
        cells = np.empty(len(parts), object)
        for number, (_, inner) in enumerate(parts):
            cells[number] = _matrix(inner, order)[1]
        array = cells
    elif _FIRST_NUMERIC <= flag & 0xFF <= _LAST_NUMERIC and not flag & _COMPLEX:
        ((kind, inner),) = parts
        array = np.frombuffer(inner, order + _NUMBERS[kind])
    if array is not None:
        if min(shape) < 0 or math.prod(shape) != array.size:
            raise ValueError("an array doesn't have its size")
        array = array.reshape(shape, order="F")
    return name.decode("latin-1"), array
