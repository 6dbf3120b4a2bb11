"""Who searched when: one JSON line per event, without images, vectors or file names."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vireid.types import InputError

logger = logging.getLogger(__name__)


class AuditLog:
    """Appends events to a file that only its owner can read; thread-safe.

    Every line is written with one call. Searches are flushed to the disk before they are
    answered, so that none is missing after a crash.
    """

    def __init__(self, path: Path | None) -> None:
        """
        Args:
            path: the file, created if missing; None writes nothing.

        Raises:
            InputError: the file can't be written.
        """
        self._lock = threading.Lock()
        self._path = path  # None: nothing is written, or nothing any more
        self._file: int | None = None
        self._is_cut = False  # within a line, by a full disk
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open(path)
        except OSError as error:
            raise InputError(
                f"The audit log '{path}' can't be written: {error.strerror}. Name a file in a "
                "folder you can write to; the server does not start without its log."
            ) from error

    def write(
        self, event: str, *, user: str, client: str, durable: bool = True, **facts: Any
    ) -> None:
        """Append one event.

        Args:
            event: what happened: search, search_by_row, sightings, view, refused, sign_in.
            user: name of the token's owner, "local" where no token is needed.
            client: network address.
            durable: flush to the disk before returning.
            **facts: JSON values; JSON escapes control characters.

        Raises:
            OSError: the disk is full; the search must not be answered then.
        """
        if self._path is None:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "user": user,
            "client": client,
            **facts,
        }
        data = json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._path is None:
                return
            if self._file is not None and not _is_at(self._file, self._path):  # rotated or deleted
                os.close(self._file)
                self._file = None
            if self._file is None:
                self._file, self._is_cut = _open(self._path), False
            data = b"\n" + data if self._is_cut else data
            written = os.write(self._file, data)
            self._is_cut = written < len(data)
            if self._is_cut:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if durable:
                os.fsync(self._file)

    def close(self) -> None:
        """Close the file; later events are dropped."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = self._path = None


def _open(path: Path) -> int:
    binary = getattr(os, "O_BINARY", 0)  # Windows would write other line ends
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | binary, 0o600)


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one with this path."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file), there)
