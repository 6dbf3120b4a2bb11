"""Files written in the background, so that whoever makes them goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class BackgroundWriter:
    """Writes files in one background thread, in order, so that training goes on meanwhile. A
    failure is raised at one of the next calls."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="vireid-save")
        self._pending: list[Future[Any]] = []

    def submit(self, write: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Let `write(*args, **kwargs)` happen soon; at most two wait in memory."""
        while len(self._pending) >= 2:
            self._pending.pop(0).result()
        self._pending.append(self._pool.submit(write, *args, **kwargs))

    def finish(self) -> None:
        """Wait until everything is on the disk."""
        while self._pending:
            self._pending.pop(0).result()

    def close(self) -> None:
        """End the thread, after what it has to write."""
        self._pool.shutdown(wait=True)
