"""One process at a time, by locks that the operating system releases when their holder dies."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_AGAIN = 0.05  # seconds


@contextlib.contextmanager
def alone(
    path: Path, waiting: Callable[[], object] = lambda: None, *, most: float | None = None
) -> Iterator[bool]:
    """Let one process at a time into a block, which is told whether it is alone; the others wait.

    Where files can't be locked (on Windows, on some network file systems, in a folder that can't be
    written) nobody waits and nobody is known to be alone, so the block must be right for several at
    once, too.

    Args:
        path: a file that stands for the block; it is made, and stays.
        waiting: is called by who has to wait.
        most: seconds to wait; after them a process goes in beside the other one, which may have
            been stopped.
    """
    held = False
    with contextlib.ExitStack() as stack:
        try:
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = True
            except BlockingIOError:
                waiting()
                held = _wait(file, most)
        except (ImportError, OSError):
            pass
        yield held


def _wait(file: IO[str], most: float | None) -> bool:
    """Whether the lock was had in time."""
    import fcntl

    if most is None:
        fcntl.flock(file, fcntl.LOCK_EX)
        return True
    end = time.monotonic() + most
    while time.monotonic() < end:
        time.sleep(_AGAIN)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False
