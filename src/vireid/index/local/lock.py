"""One writer at a time: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from vireid.config import convert
from vireid.files import parse_json
from vireid.types import InputError


class _Holder(TypedDict):
    """The text of the file."""

    pid: int
    host: str
    since: str


class WriterLock:
    """Holds `folder`/writer.lock until `release`, or until this process ends.

    The file stays; what counts is the system's lock on it, so that a killed writer never
    leaves the index locked. Its text only tells others who holds it.

    Raises:
        InputError: another process holds the lock (the message says which), or the folder is
            not writable.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "writer.lock"
        try:
            # Held open, and unbuffered: a full disk must not be noticed when it is closed.
            self._file = open(path, "ab+", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise InputError(
                f"The index '{folder}' can't be written: {error.strerror or error}. Open it for "
                "searching only, or get write permission for the folder."
            ) from error
        try:
            _try_lock(self._file.fileno())
        except OSError as error:
            self._file.seek(0)
            holder = _holder(self._file.read().decode("utf-8", "replace"))
            self._file.close()
            raise InputError(
                f"The index '{folder}' is being written by {holder}. An index has one writer at a "
                "time: wait until it has finished, or stop it. You can still search."
            ) from error
        now = datetime.now().isoformat(sep=" ", timespec="seconds")
        self._describe({"pid": os.getpid(), "host": socket.gethostname(), "since": now})

    def release(self) -> None:
        """Let other processes write. Releasing twice is fine."""
        if not self._file.closed:
            self._describe(None)
            self._file.close()

    def _describe(self, holder: dict[str, object] | None) -> None:
        """Say who holds the lock. On a full disk it holds without a word."""
        with contextlib.suppress(OSError):
            self._file.truncate(0)
            self._file.write(b"" if holder is None else json.dumps(holder).encode())


def _try_lock(handle: int) -> None:
    """Raises OSError if another holder has the lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        # One byte far beyond the text: others can't read bytes that are locked there.
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(text: str) -> str:
    try:
        holder = convert(_Holder, parse_json(text, "the lock"), "the lock")
        return f"process {holder['pid']} on {holder['host'][:80]} (since {holder['since'][:40]})"
    except InputError:
        return "another process"
