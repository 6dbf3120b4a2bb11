"""The one reader of NumPy files: arrays of numbers, never objects."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from vireid.types import InputError

# What NumPy and the zip archive around several arrays raise on damaged files.
_DAMAGED = (
    OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, OverflowError, MemoryError,
    RuntimeError, RecursionError, NotImplementedError, tokenize.TokenError, struct.error,
    zlib.error, zipfile.BadZipFile,
)  # fmt: skip
_MOST = 2**28  # bytes of all arrays of an archive, which a small file can unpack to


def map_array(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped for reading.

    Raises:
        InputError: it is missing, damaged, something else, or holds Python objects.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except _DAMAGED as error:
        raise InputError(
            f"'{path}' is not a readable NumPy array: {_first_line(error)}. Write it again, or "
            "remove it."
        ) from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a .npz file.

    Raises:
        InputError: as in `map_array`, or they are too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # not np.load, which also opens what is no archive
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            arrays = {}
            if sum(archive.getinfo(name).file_size for name in names) > _MOST:
                raise ValueError(f"they take more than {_MOST / 2**20:.0f} MiB")
            for name in names:
                with archive.open(name) as file:
                    arrays[name[:-4]] = np.lib.format.read_array(file, allow_pickle=False)
            return arrays
    except _DAMAGED as error:
        raise InputError(f"'{path}' holds no readable arrays: {_first_line(error)}.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
