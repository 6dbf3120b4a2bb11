"""Decoded images on their way to the network, in memory that processes share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from vireid.data.decode_pool import DecodePool
from vireid.data.decode_worker import Problems
from vireid.embed.copying import STAYS
from vireid.types import InputError

AHEAD = 6  # batches that are decoded while one is embedded
RING = AHEAD + STAYS  # batches being decoded, read and copied at one time


@contextmanager
def shared_pixels(rows: int, size: tuple[int, int]) -> Iterator[tuple[np.ndarray, int | None]]:
    """(rows, H, W, 3) uint8 in a file without a name, and the file's descriptor.

    Without a name it goes with the last process that has it, even if they are killed. Windows has
    no such files: there it is this process's memory, into which threads decode.

    Raises:
        InputError: there is no room for it.
    """
    if os.name == "nt":
        yield np.empty((rows, *size, 3), np.uint8), None
        return
    folder = _fast_folder(rows, size)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(prefix="vireid-", dir=folder))
            pixels = np.memmap(file, dtype=np.uint8, mode="w+", shape=(rows, *size, 3))
        except OSError as error:
            raise InputError(
                f"There is no room for {rows} images of {size[0]}x{size[1]} in "
                f"'{folder or tempfile.gettempdir()}': {error}. Free some space, or name another "
                "folder in TMPDIR."
            ) from error
        yield pixels, file.fileno()


def _fast_folder(rows: int, size: tuple[int, int]) -> str | None:
    """Shared memory if the ring fits well into it, else the usual temporary folder."""
    shared = Path("/dev/shm")
    need = 2 * rows * size[0] * size[1] * 3
    if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > need:
        return str(shared)
    return None


def decoded_ahead(
    pool: DecodePool,
    batches: Sequence[np.ndarray],
    files: Sequence[str],
    found: Callable[[int, str | None], None],
) -> Iterator[np.ndarray]:
    """Each batch's images, while the next AHEAD are being decoded.

    Args:
        pool: its pixels have room for RING batches of the largest size.
        batches: rows of `files`.
        files: all image files.
        found: called with the row of a broken image, which becomes black, and what is wrong; or
            with the row of one that is not shaped like a person, and None.

    Yields:
        (n, H, W, 3) uint8 in the pool's pixels, unchanged until STAYS further ones were asked for.
    """
    room = len(pool.pixels) // RING
    decoding: deque[list[Future[Problems]]] = deque()

    def submit(number: int) -> None:
        if number < len(batches):
            first, batch = number % RING * room, batches[number].tolist()
            rows = range(first, first + len(batch))
            decoding.append(pool.submit(rows, [files[row] for row in batch]))

    for number in range(AHEAD):
        submit(number)
    for number, batch in enumerate(batches):
        first = number % RING * room
        for future in decoding.popleft():
            for row, problem in future.result():
                found(int(batch[row - first]), problem)
                if problem is not None:
                    pool.pixels[row] = 0
        submit(number + AHEAD)
        yield pool.pixels[first : first + len(batch)]
