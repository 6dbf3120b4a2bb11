"""One writer at a time: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import json
import os
import socket
from datetime import datetime
from pathlib import Path

from vireid.types import InputError

try:
    import fcntl
except ImportError:  # Windows has no fcntl
    fcntl = None  # type: ignore[assignment]


class WriterLock:
    """Holds `folder`/writer.lock until `release`, or until this process ends.

    The file stays; what counts is the system's lock on it, so that a killed writer never
    leaves the index locked. Its text only tells others who holds it.

    Raises:
        InputError: another process holds the lock (named in the message), or the folder can't
            be written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "writer.lock"
        try:
            self._file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held open on purpose)
        except OSError as error:
            raise InputError(
                f"The index '{folder}' cannot be written: {error.strerror or error}. Open it for "
                "searching only, or get the right to write there."
            ) from error
        try:
            _lock(self._file.fileno())
        except OSError as error:
            self._file.seek(0)
            holder = _describe(self._file.read())
            self._file.close()
            raise InputError(
                f"The index '{folder}' is being written by {holder}. An index has one writer at a "
                "time: wait until that one has ended, or end it. Searching goes on meanwhile."
            ) from error
        self._file.truncate(0)
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": now}, self._file)
        self._file.flush()

    def release(self) -> None:
        """Let others write. Releasing twice is fine."""
        if not self._file.closed:
            self._file.truncate(0)
            self._file.close()


def _lock(handle: int) -> None:
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        # Far behind the text, so that others can still read who holds the lock.
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]


def _describe(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
