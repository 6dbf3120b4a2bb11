"""Vectors into the file behind the network's back: rows as they come, parts once they are whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from vireid.embed.storage import Canvas

WAITING = 64  # batches that may wait to be written; bounds the memory


class Settler:
    """One thread puts rows into the canvas, another has them on the disk and then says so.

    So neither the network nor the next rows wait for the disk. An error of a thread is raised by
    the next call. A context manager: leaving it ends what was begun, whole parts included.
    """

    def __init__(self, open_canvas: Callable[[dict[str, int]], Canvas]) -> None:
        """
        Args:
            open_canvas: makes the canvas when the vectors' widths by name are known.
        """
        self._open = open_canvas
        self._canvas: Canvas | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="vireid-write")
        self._settler = ThreadPoolExecutor(1, thread_name_prefix="vireid-settle")
        self._puts: deque[Future[Canvas]] = deque()  # not known to be done
        self._settled: deque[Future[None]] = deque()
        self._part: list[Future[Canvas]] = []  # puts since the last part's end
        self._last: Future[None] | None = None

    def before(self, task: Callable[[], None]) -> None:
        """Do this in the background, and settle parts only after it."""
        self._follow(task)

    def put(self, rows: np.ndarray, vectors: dict[str, np.ndarray]) -> None:
        """Write rows (n,), ascending, of vectors (n, D) by name; waits if too many are waiting.

        Raises:
            InputError: something can't be written, these rows or earlier ones.
        """
        self._check()
        if len(self._puts) >= WAITING:
            self._puts.popleft().result()
        future = self._writer.submit(self._put, rows, vectors)
        self._puts.append(future)
        self._part.append(future)

    def settle(self, mark: Callable[[], None]) -> None:
        """Call `mark` once the rows put since the last call are on the disk."""
        puts, self._part = self._part, []

        def sync() -> None:
            for canvas in {future.result() for future in puts}:  # one, once all are written
                canvas.sync()
            mark()

        self._follow(sync)

    def finish(self) -> None:
        """Wait for all of it.

        Raises:
            InputError: something can't be written.
        """
        for put in self._puts:
            put.result()
        for settled in self._settled:
            settled.result()

    def _follow(self, task: Callable[[], None]) -> None:
        last = self._last

        def run() -> None:
            # After an error nothing more is said to be on the disk: it tells of lost rows once,
            # and they may be those of a later part.
            if last is not None:
                last.result()
            task()

        self._last = self._settler.submit(run)
        self._settled.append(self._last)

    def _put(self, rows: np.ndarray, vectors: dict[str, np.ndarray]) -> Canvas:
        if self._canvas is None:
            self._canvas = self._open({name: value.shape[1] for name, value in vectors.items()})
        self._canvas.put(rows, vectors)
        return self._canvas

    def _check(self) -> None:
        while self._puts and self._puts[0].done():
            self._puts.popleft().result()
        while self._settled and self._settled[0].done():
            self._settled.popleft().result()

    def __enter__(self) -> Settler:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.shutdown()
        self._settler.shutdown()
        if self._canvas is not None:
            self._canvas.close()
