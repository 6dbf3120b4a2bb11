"""Files written in the background, so that whoever makes them goes on meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class BackgroundWriter:
    """Does writes in one background thread, in order.

    An error is raised by one of the next calls. After it nothing more is written: what comes
    later may say that the earlier is on the disk. A context manager: leaving it does what waits.
    """

    def __init__(self, *, waiting: int = 2) -> None:
        """
        Args:
            waiting: writes that may wait, with what they hold in memory.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vireid-write")
        self._waiting = waiting
        self._pending: deque[Future[None]] = deque()
        self._error: BaseException | None = None

    def submit(self, write: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Let `write(*args, **kwargs)` happen soon; waits while too many wait already."""
        while self._pending and (len(self._pending) >= self._waiting or self._pending[0].done()):
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._write, write, args, kwargs))

    def _write(self, write: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> None:
        if self._error is not None:
            raise self._error
        try:
            write(*args, **kwargs)
        except BaseException as error:
            self._error = error
            raise

    def finish(self) -> None:
        """Wait until everything is on the disk."""
        while self._pending:
            self._pending.popleft().result()

    def close(self) -> None:
        """End the thread, after what it has to write."""
        self._thread.shutdown(wait=True)

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
