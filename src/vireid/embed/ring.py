"""Pixels that processes share while a job runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vireid.types import InputError


@contextmanager
def shared_pixels(rows: int, size: tuple[int, int]) -> Iterator[tuple[np.memmap, int]]:
    """(rows, H, W, 3) uint8 in a file without a name, and the file's descriptor.

    Without a name it goes with the last process that has it, even if they are killed.

    Raises:
        InputError: there is no room for it.
    """
    folder = _fast_folder(rows, size)
    try:
        with tempfile.TemporaryFile(prefix="vireid-", dir=folder) as file:
            pixels = np.memmap(file, dtype=np.uint8, mode="w+", shape=(rows, *size, 3))
            handle = os.dup(file.fileno())
    except OSError as error:
        raise InputError(
            f"There is no room for {rows} pictures of {size[0]}x{size[1]} in "
            f"'{folder or tempfile.gettempdir()}': {error}. Free some room, or name another place "
            "in TMPDIR."
        ) from error
    try:
        yield pixels, handle
    finally:
        os.close(handle)


def _fast_folder(rows: int, size: tuple[int, int]) -> str | None:
    """Shared memory if the ring fits well into it, else the usual temporary folder."""
    shared = Path("/dev/shm")
    need = 2 * rows * size[0] * size[1] * 3
    if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > need:
        return str(shared)
    return None
