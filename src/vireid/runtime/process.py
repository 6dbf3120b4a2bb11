"""How a process that is a command ends. Nothing heavy is imported here: Ctrl-C may come early."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def own_process() -> Iterator[None]:
    """Let the block, which is all that this process does, end it with the code that it exits with.

    Threads are awaited and what was registered for the exit is done, but Python's own teardown is
    left out: a thread that is within PyTorch then aborts the process, and an interruption that was
    met within `exec` is answered a second time.
    """
    ends: list[int] = []
    atexit.register(_leave, ends)  # the first one registered is the last to run
    try:
        yield
    except SystemExit as end:
        if isinstance(end.code, int):
            ends.append(end.code)
        raise
    except KeyboardInterrupt:  # before the command line could answer it
        sys.stderr.write("vireid: interrupted.\n")
        ends.append(130)
        sys.exit(130)


def _leave(ends: list[int]) -> None:
    """End the process with the command's exit code, if it has one; else Python ends it."""
    if ends:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(ends[0])
