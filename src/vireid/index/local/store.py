"""Append-only float16 vector files, one for each generation of a local index."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vireid.files import sync_folder
from vireid.types import InputError

CHUNK = 8192
"""Rows handled together, so that a large add needs little memory."""


def file_of(folder: Path, generation: int) -> Path:
    """The vector file of a generation: rows of D little-endian float16, nothing else."""
    return folder / f"vectors-{generation:04d}.f16"


def map_vectors(path: Path, written: int, dim: int) -> np.ndarray:
    """(written, D) float16, memory-mapped for reading.

    Raises:
        FileNotFoundError: the file is gone (another generation took its place).
        InputError: the file is shorter than the catalog says.
    """
    if written == 0:
        return np.empty((0, dim), dtype=np.float16)
    _check_size(path, path.stat().st_size, written * dim * 2)
    return np.memmap(path, dtype="<f2", mode="r", shape=(written, dim))


def append(path: Path, written: int, chunks: Iterator[np.ndarray], dim: int) -> list[int]:
    """Write float16 rows after the first `written` ones and wait until they are on the disk.

    What was there before (the tail of an unfinished add) is overwritten or cut off. On an error
    the file is truncated to `written` rows.

    Returns:
        The rows' checksums.

    Raises:
        InputError: the disk is full or can't be written.
    """
    checksums: list[int] = []
    start = written * dim * 2
    is_new = not path.exists()
    _check_size(path, 0 if is_new else path.stat().st_size, start)
    try:
        with open(path, "ab") as file:
            file.truncate(start)
            try:
                for chunk in chunks:
                    data = np.ascontiguousarray(chunk, dtype="<f2")
                    file.write(data.data)
                    checksums.extend(checksums_of(data))
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(start)
                raise
    except OSError as error:
        raise InputError(
            f"The vectors could not be written to '{path}': {error.strerror or error}. The index "
            "is unchanged. Free some space and try again."
        ) from error
    if is_new:
        sync_folder(path.parent)
    return checksums


def _check_size(path: Path, size: int, written: int) -> None:
    if size < written:
        raise InputError(
            f"The vector file '{path}' has {size} bytes, but {written} were written: it was cut "
            "off. Restore it from a copy, or rebuild the index from its embeddings."
        )


def checksums_of(rows: np.ndarray) -> list[int]:
    """CRC-32 of the bytes of each row of a contiguous float16 array."""
    return [zlib.crc32(row) for row in rows]
