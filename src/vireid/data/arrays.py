"""The one reader of NumPy files: arrays of numbers, never objects."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from vireid.files import cut_short, refused_header
from vireid.types import InputError

# What NumPy and the zip archive around several arrays raise on damaged files.
_DAMAGED = (
    OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, OverflowError, MemoryError,
    RuntimeError, RecursionError, NotImplementedError, tokenize.TokenError, struct.error,
    zlib.error, zipfile.BadZipFile,
)  # fmt: skip
_MAGIC = b"\x93NUMPY"
_ARRAY = "An array of numbers in NumPy's format (.npy)"
_ARCHIVE = "An archive of NumPy's (.npz) with numbers alone"
_MOST = 2**28  # bytes of all arrays of an archive, which a small file can unpack to


def map_array(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped for reading.

    Raises:
        InputError: it is missing, can't be read, is damaged or something else, or holds Python
            objects.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except _DAMAGED as error:
        _check_opens(path, error, _ARRAY)
        raise InputError(
            f"'{path}' is not a readable NumPy array: {_fault(path, error)}. {_ARRAY} was "
            "expected. Write the file again, or remove it."
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
                raise InputError(
                    f"'{path}' holds no readable arrays: they take more than "
                    f"{_MOST / 2**20:.0f} MiB. Write it again, or remove it."
                )
            for name in names:
                with archive.open(name) as file:
                    arrays[name[:-4]] = np.lib.format.read_array(file, allow_pickle=False)
            return arrays
    except _DAMAGED as error:
        _check_opens(path, error, _ARCHIVE)
        raise InputError(
            f"'{path}' holds no readable arrays: it is damaged, or something else. {_ARCHIVE} was "
            "expected. Write the file again, or remove it."
        ) from error


def _check_opens(path: Path, error: Exception, expected: str) -> None:
    """Refuse a path whose content can't be at fault, as the system doesn't open it.

    Raises:
        InputError: `error` is the system's.
    """
    if isinstance(error, FileNotFoundError):
        from vireid.console import path_meant

        raise InputError(
            f"There is no file '{path}'.{path_meant(path, Path.is_file)} {expected} was expected. "
            "Correct the path, or write the file again."
        ) from error
    if isinstance(error, OSError) and error.strerror:
        raise InputError(
            f"'{path}' can't be read: {error.strerror}. {expected} was expected. Correct the path, "
            "or the file's permissions."
        ) from error


def _fault(path: Path, error: Exception) -> str:
    """What is wrong with a .npy file, in words for whoever has it; NumPy's are for programmers."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(len(_MAGIC))
        if head != _MAGIC:
            return cut_short(size) if _MAGIC.startswith(head) else "it doesn't begin as one"
        file.seek(0)
        try:
            reads = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}
            shape, _, dtype = reads[read_magic(file)](file)
        except _DAMAGED:
            return refused_header(error)
        if dtype.hasobject:
            return "it holds Python objects, which aren't read, as they can run code"
        whole = file.tell() + dtype.itemsize * math.prod(shape)
    return cut_short(size, whole) if size < whole else refused_header(error)
