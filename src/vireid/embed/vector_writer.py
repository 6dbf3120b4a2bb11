"""Vectors into their file in the background: rows as they come, parts once they are whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vireid.embed.storage import VectorFile
from vireid.runtime.background import BackgroundWriter

WAITING = 64  # batches, and parts, that may wait to be written; bounds the memory


class VectorWriter:
    """One thread writes rows, another has parts on the disk and then says so.

    So neither the network nor the next rows wait for the disk. An error of a thread is raised by
    one of the next calls. A context manager: leaving it ends what was begun, whole parts included.
    """

    def __init__(self, open_file: Callable[[dict[str, int]], VectorFile]) -> None:
        """
        Args:
            open_file: opens the file when the vectors' widths by name are known.
        """
        self._open = open_file
        self._file: VectorFile | None = None
        self._rows = BackgroundWriter(waiting=WAITING)
        self._parts = BackgroundWriter(waiting=WAITING)

    def before_parts(self, task: Callable[[], None]) -> None:
        """Do this in the background, and finish parts only after it."""
        self._parts.submit(task)

    def write(self, rows: np.ndarray, vectors: dict[str, np.ndarray]) -> None:
        """Write rows (n,), ascending, of vectors (n, D) by name; waits if too many are waiting.

        Raises:
            InputError: something can't be written, these rows or earlier ones.
        """
        self._rows.submit(self._write, rows, vectors)

    def end_part(self, mark: Callable[[dict[str, int]], None]) -> None:
        """Call `mark` once all rows before are on the disk, with checksums of those since the last
        part; see `VectorFile.take_sums`.

        Raises:
            InputError: see `write`.
        """
        self._rows.submit(self._end_part, mark)  # after the rows are written

    def finish(self) -> None:
        """Wait for all of it.

        Raises:
            InputError: something can't be written.
        """
        self._rows.finish()
        self._parts.finish()

    def _write(self, rows: np.ndarray, vectors: dict[str, np.ndarray]) -> None:
        if self._file is None:
            self._file = self._open({name: value.shape[1] for name, value in vectors.items()})
        self._file.write(rows, vectors)

    def _end_part(self, mark: Callable[[dict[str, int]], None]) -> None:
        sums = {} if self._file is None else self._file.take_sums()
        self._parts.submit(self._sync, mark, sums)

    def _sync(self, mark: Callable[[dict[str, int]], None], sums: dict[str, int]) -> None:
        if self._file is not None:
            self._file.sync()
        mark(sums)

    def __enter__(self) -> VectorWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._rows.close()
        self._parts.close()
        if self._file is not None:
            self._file.close()
