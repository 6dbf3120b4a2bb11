"""How a process that is a command ends. Nothing heavy is imported here: Ctrl-C may come early."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Iterator

_BY_SIGNAL = 128  # below the exit codes of what a signal ended


@contextlib.contextmanager
def own_process() -> Iterator[None]:
    """Let the block, which is all that this process does, end it with the code that it exits with.

    After an interruption, threads are awaited and what was registered for the exit is done, but
    Python's own teardown is left out: a thread that is within PyTorch then aborts the process, and
    an interruption that was met within `exec` is answered a second time. Ctrl-C during all this
    ends the process at once, with the same code.
    """
    ends: list[int] = []
    atexit.register(_leave, ends)  # the first one registered is the last to run
    try:
        yield
    except SystemExit as end:
        if isinstance(end.code, int):
            _end_at_once(end.code)
            if end.code > _BY_SIGNAL:
                ends.append(end.code)
        raise
    except KeyboardInterrupt:  # before the command line could answer it
        _end_at_once(130)
        sys.stderr.write("vireid: interrupted.\n")
        ends.append(130)
        sys.exit(130)


def _end_at_once(code: int) -> None:
    """What Ctrl-C does from now on, unless it is ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(code))


def _leave(ends: list[int]) -> None:
    """End the process with the exit code of an interrupted command; else Python ends it, which
    Ctrl-C would make a death by a signal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if ends:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(ends[0])
