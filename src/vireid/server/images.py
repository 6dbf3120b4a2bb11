"""Gallery images for the page: only regular files under the index's image roots."""

from __future__ import annotations

import io
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from vireid.data.facts import UPRIGHT, Decoding
from vireid.index.base import Index
from vireid.index.roots import places_of
from vireid.server.uploads import decode_upload
from vireid.types import InputError

Size = Literal["thumb", "full"]
MAX_SIDE: dict[str, int] = {"thumb": 288, "full": 1600}
MAX_FILE_BYTES = 64 * 2**20
MAX_THUMBNAILS = 2000  # in memory, of some 10 KB each


class ImageError(InputError):
    """An image that can't be shown; the sentence names no path."""


class GalleryImages:
    """Opens, checks, shrinks and re-encodes images of the gallery.

    An image leaves as a JPEG of our own making, so that nothing but pixels (no EXIF, no location,
    no disguised file) leaves the server.
    """

    def __init__(self, index: Index, *, max_pixels: int, decoding: Decoding = UPRIGHT) -> None:
        self._index = index
        self._decoding = decoding
        self._max_pixels = max_pixels
        self._thumbnails: OrderedDict[tuple, bytes] = OrderedDict()

    def jpeg(self, row_id: int, size: Size) -> bytes:
        """One entry's image as JPEG bytes.

        Raises:
            ImageError: no such entry, or no readable image of it under the image roots.
        """
        try:
            (entry,) = self._index.entries([row_id])
        except InputError as error:
            raise ImageError("The index has no such entry; it may have been removed.") from error
        roots = self._index.roots
        folders = [root.folder for root in roots]
        places = list(places_of(entry.path, roots))
        if size == "full":
            return self._encode(_read(places, folders), size)
        # A file that was deleted or replaced must not be shown from memory.
        state = tuple(_state(file) for _, file in _inside(places, folders))
        data = self._thumbnails.get(state)
        if data is None:
            data = self._encode(_read(places, folders), size)
            self._thumbnails[state] = data
            while len(self._thumbnails) > MAX_THUMBNAILS:
                self._thumbnails.popitem(last=False)
        return data

    def _encode(self, data: bytes, size: Size) -> bytes:
        try:
            image = decode_upload(
                data, max_pixels=self._max_pixels, min_side=1, decoding=self._decoding
            )
        except InputError as error:
            raise ImageError(f"The file of this entry can't be shown. {error}") from error
        image.thumbnail((MAX_SIDE[size], MAX_SIDE[size]))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=92 if size == "full" else 85)
        return out.getvalue()


def read_under(roots: Sequence[str | Path], path: str) -> bytes:
    """Read a regular file that lies under one of `roots`, links resolved.

    A link inside a root may point to another file inside a root, never outside. The resolved
    path is opened component by component without following links, so that a link put there
    meanwhile is refused, too.

    Args:
        roots: folders whose files may be shown.
        path: absolute, or relative to one of the roots.

    Raises:
        ImageError: no such file under any root; the sentence doesn't say which.
    """
    return _read([(root, path) for root in roots], roots)


def _read(places: Sequence[tuple[str | Path, str]], roots: Sequence[str | Path]) -> bytes:
    """See `read_under`; `places` are folders and paths relative to them, tried in this order."""
    if not roots:
        raise ImageError("This index has no image root, so its images can't be shown.")
    for base, file in _inside(places, roots):
        data = _read_regular(base, file.relative_to(base).parts)
        if data is not None:
            return data
    raise ImageError("The image of this entry is not under the index's image roots.")


def _inside(
    places: Sequence[tuple[str | Path, str]], roots: Sequence[str | Path]
) -> Iterator[tuple[Path, Path]]:
    """Root and file, links resolved, of each place that is there and leads into a root."""
    resolved_roots = [Path(root).resolve() for root in roots]
    for folder, path in places:
        try:
            file = (Path(folder).resolve() / path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # ValueError: a zero byte
            continue
        for base in resolved_roots:
            if file.is_relative_to(base) and file != base:
                yield base, file


def _state(file: Path) -> tuple:
    """What tells a file from the one that was there before."""
    try:
        status = file.stat()
    except OSError:
        return (file,)
    return file, status.st_ino, status.st_size, status.st_mtime_ns


def _read_regular(root: Path, parts: tuple[str, ...]) -> bytes | None:
    """The bytes of root/parts, following no link; None if it isn't a regular file of at most
    `MAX_FILE_BYTES`."""
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
