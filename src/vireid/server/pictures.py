"""Gallery pictures for the page: only real files under the index's image roots."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vireid.index.base import Index
from vireid.server.uploads import decode_upload
from vireid.types import InputError

Size = Literal["thumb", "full"]
MAX_SIDE: dict[str, int] = {"thumb": 288, "full": 1600}
MAX_FILE_BYTES = 64 * 2**20


class PictureError(InputError):
    """A picture that cannot be shown; the sentence names no path."""


class Pictures:
    """Opens, checks, shrinks and re-encodes gallery pictures.

    A picture leaves as a JPEG of our own making, so that nothing but pixels (no EXIF, no place,
    no disguised file) leaves the server.
    """

    def __init__(self, index: Index, *, max_pixels: int, cache_bytes: int = 32 * 2**20) -> None:
        self._index = index
        self._max_pixels = max_pixels
        self._cache: OrderedDict[tuple[int, str, str], bytes] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._used = 0
        self._lock = threading.Lock()

    def jpeg(self, row_id: int, size: Size) -> bytes:
        """One entry's picture as JPEG bytes.

        Raises:
            PictureError: no such entry, or no readable picture of it under the image roots.
        """
        try:
            (entry,) = self._index.entries([row_id])
        except InputError as error:
            raise PictureError("There is no such entry in the index (any more).") from error
        key = (row_id, entry.path, size)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        data = self._encode(read_under(self._index.image_roots, entry.path), size)
        if size == "thumb":
            self._keep(key, data)
        return data

    def _encode(self, data: bytes, size: Size) -> bytes:
        try:
            image = decode_upload(data, max_pixels=self._max_pixels, min_side=1)
        except InputError as error:
            raise PictureError("The file of this entry is not a picture we can show.") from error
        image.thumbnail((MAX_SIDE[size], MAX_SIDE[size]))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=92 if size == "full" else 85)
        return out.getvalue()

    def _keep(self, key: tuple[int, str, str], data: bytes) -> None:
        with self._lock:
            if key in self._cache or len(data) > self._cache_bytes:
                return
            self._cache[key] = data
            self._used += len(data)
            while self._used > self._cache_bytes:
                _, dropped = self._cache.popitem(last=False)
                self._used -= len(dropped)


def read_under(roots: Sequence[str | Path], path: str) -> bytes:
    """Read a regular file that lies under one of `roots`, links resolved.

    A link inside a root may point to another place inside a root, never outside. The resolved
    path is opened component by component without following links, so that a link put there in
    between is refused, too.

    Args:
        roots: folders whose files may be shown.
        path: absolute, or relative to one of the roots.

    Raises:
        PictureError: no such file under any root; the sentence doesn't say which.
    """
    if not roots:
        raise PictureError(
            "This index names no image folder, so its pictures can't be shown. "
            "Make it with --image-root."
        )
    if "\0" in path:
        raise PictureError("The picture of this entry is not under the index's image folders.")
    resolved_roots = [Path(root).resolve() for root in roots]
    for root in resolved_roots:
        try:
            found = (root / path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            continue
        for base in resolved_roots:
            if found.is_relative_to(base) and found != base:
                data = _read_plain(base, found.relative_to(base).parts)
                if data is not None:
                    return data
    raise PictureError("The picture of this entry is not under the index's image folders.")


def _read_plain(root: Path, parts: tuple[str, ...]) -> bytes | None:
    """The bytes of root/parts, following no link; None if it isn't a plain, fair-sized file."""
    no_follow = getattr(os, "O_NOFOLLOW", 0)
    opened: list[int] = []
    try:
        if os.open in os.supports_dir_fd:
            folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            opened.append(folder)
            for part in parts[:-1]:
                folder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | no_follow, dir_fd=folder)
                opened.append(folder)
            file = os.open(parts[-1], os.O_RDONLY | os.O_NONBLOCK | no_follow, dir_fd=folder)
        else:  # Windows: no folder handles; the resolved path is all there is
            file = os.open(root.joinpath(*parts), os.O_RDONLY | getattr(os, "O_BINARY", 0))
        opened.append(file)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            return None
        with os.fdopen(os.dup(file), "rb") as stream:
            return stream.read(MAX_FILE_BYTES)
    except OSError:
        return None
    finally:
        for handle in opened:
            os.close(handle)
