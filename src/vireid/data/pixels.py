"""Every image of a data set decoded once, in one file that is mapped into memory.

The file lies in `<root>/.vireid/` where that can be written, else under
`$XDG_CACHE_HOME/vireid/`. Its name holds a hash of every image's path, size and time of change,
so a changed folder is noticed and prepared again. A table beside it (path, pid, camid, modality,
crc32, valid) says what each row is; `PixelStore.check` compares the pixels with their checksums.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vireid.console import count_text, progress
from vireid.cores import usable_cores
from vireid.data.arrays import map_array
from vireid.data.decode_pool import decode_into
from vireid.data.decoding import decode
from vireid.data.facts import AS_PUBLISHED
from vireid.data.protocol import Dataset, PixelFile, few
from vireid.data.table import read_rows
from vireid.files import csv_cell, csv_text, sync_folder, write_text
from vireid.locks import alone
from vireid.types import InputError

__all__ = ["PixelStore", "decode", "prepare"]

log = logging.getLogger(__name__)
SKIP = "Restore broken images, or leave them out with `skip_broken`."
_WAITING = "Waiting for another process that decodes images into '%s'."
_FORMAT = "1"  # part of the key: raise it when the file's content changes its meaning


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelStore:
    """Decoded images of a data set.

    Attributes:
        images: (N, H, W, 3) uint8, mapped from the file, read-only; row i is `samples[i]`.
        size: (height, width).
        key: hash of the folder's content and the size.
        valid: (N,) bool; False for broken images that were skipped (their pixels are 0).
        broken: their paths.
        path: the file.
        unchecked: row → CRC-32 of its pixels, for rows that `check` hasn't seen yet; none in a file
            of an earlier version.
    """

    images: np.ndarray
    size: tuple[int, int]
    key: str
    valid: np.ndarray
    broken: list[str]
    path: Path
    unchecked: dict[int, int] = field(default_factory=dict)

    def check(self, rows: np.ndarray) -> None:
        """Compare the pixels of rows with what was decoded; each row once, as that reads them.

        Raises:
            InputError: they have changed.
        """
        new = [row for row in rows.tolist() if row in self.unchecked]
        found = dict(zip(new, _checksums(self.images, new)))
        if wrong := [row for row in new if found[row] != self.unchecked[row]]:
            raise InputError(
                f"The decoded images '{self.path}' are damaged: "
                f"{count_text(len(wrong), 'image has', 'images have')} changed, the first in row "
                f"{wrong[0]}. Delete the file and its .csv; they will be decoded again."
            )
        for row in found:
            del self.unchecked[row]


def _checksums(images: np.ndarray, rows: Sequence[int]) -> list[int]:
    """CRC-32 of the pixels of each row, over all cores."""
    parts = [rows[start : start + 256] for start in range(0, len(rows), 256)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        found = pool.map(lambda part: [zlib.crc32(images[row]) for row in part], parts)
        return list(itertools.chain.from_iterable(found))


def prepare(
    dataset: Dataset,
    *,
    size: tuple[int, int] = (288, 144),
    cache: Path | None = None,
    workers: int | None = None,
    skip_broken: bool = False,
) -> PixelStore:
    """Decode and resize every image of a data set, unless that was done before.

    Args:
        size: (height, width).
        cache: folder of the file; None for the default ones.
        workers: decoding processes; None for one per core.
        skip_broken: go on at images that cannot be read; see `PixelStore.valid`.

    Raises:
        InputError: broken images (named) without `skip_broken`, no room on the disk, or no
            folder that can be written.
    """
    key = content_key(dataset, size)
    name = f"{dataset.name}-{size[0]}x{size[1]}-{key}.npy"
    folders = [Path(cache)] if cache else cache_folders(dataset.root)
    for folder in folders:
        if (folder / name).is_file():
            return _checked(_open(folder / name, dataset, size, key), skip_broken)
    folder = _writable(folders)
    # Of several processes that need the file, the first one writes it.
    with alone(folder / ".lock", lambda: log.warning(_WAITING, folder)) as held:
        if (folder / name).is_file():
            return _checked(_open(folder / name, dataset, size, key), skip_broken)
        # Without the lock another process may be writing one, which Windows alone wouldn't remove.
        if held or sys.platform == "win32":
            for leftover in folder.glob(f".{name}.*"):  # of a process that was killed
                with contextlib.suppress(PermissionError):
                    leftover.unlink(missing_ok=True)
        _decode_all(dataset, size, folder / name, workers, skip_broken)
    _mention_older(folder, name, f"{dataset.name}-{size[0]}x{size[1]}-*.npy")
    return _open(folder / name, dataset, size, key)


def content_key(dataset: Dataset, size: tuple[int, int] = (0, 0)) -> str:
    """16 hexadecimal digits that change when an image is added, removed or rewritten.

    Args:
        size: (height, width) of the decoded images; (0, 0) for the files as they are.
    """
    digest = hashlib.sha256(f"{_FORMAT} {size[0]}x{size[1]}\n".encode())
    if dataset.decoding != AS_PUBLISHED:
        digest.update(f"{dataset.decoding}\n".encode())
    in_file = {int(row) for file in dataset.pixel_files for row in file.rows}
    for row, sample in enumerate(dataset.samples):
        state = "array" if row in in_file else _state(dataset.root / sample.path)
        digest.update(f"{sample.path}\0{state}\n".encode())
    for file in dataset.pixel_files:
        digest.update(f"{file.path}\0{_state(dataset.root / file.path)}\n".encode())
    return digest.hexdigest()[:16]


def _state(path: Path) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "missing"
    return f"{status.st_size} {status.st_mtime_ns}"


def cache_folders(root: Path) -> list[Path]:
    """Where what was made of the images under `root` is kept; the first that can be written."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return [root / ".vireid", home / "vireid" / name]


def _writable(folders: list[Path]) -> Path:
    reasons = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            reasons.append(f"'{folder}': {error.strerror or error}")
    raise InputError(
        f"There is no folder to write decoded images to ({'; '.join(reasons)}). Set "
        "XDG_CACHE_HOME to a folder that you may write to."
    )


def _mention_older(folder: Path, name: str, pattern: str) -> None:
    older = [path for path in folder.glob(pattern) if path.name != name]
    if older:
        mib = sum(path.stat().st_size for path in older) / 2**20
        log.warning(
            "Decoded images of earlier states of the data take %s MiB and may be deleted: %s.",
            f"{mib:,.0f}",
            few([f"'{path}'" for path in older]),
        )


def _decode_all(
    dataset: Dataset, size: tuple[int, int], target: Path, workers: int | None, skip_broken: bool
) -> None:
    with _new_file(target, len(dataset) * size[0] * size[1] * 3 + 4096) as temporary:
        valid, sums = _fill(temporary, dataset, size, workers, skip_broken)
        write_text(target.with_suffix(".csv"), _table(dataset, valid, sums))


def _fill(
    path: Path, dataset: Dataset, size: tuple[int, int], workers: int | None, skip_broken: bool
) -> tuple[np.ndarray, list[int]]:
    """Decode into a new .npy file; (N,) bool, False for broken images, and the images' checksums.
    Nothing maps the file when this returns: Windows renames no mapped file."""
    shape = (len(dataset), *size, 3)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error here, not a crash later
        with open(path, "r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, os.path.getsize(path))
    files = [file for file in dataset.pixel_files if _usable(dataset, file, size)]
    from_file = {int(row) for file in files for row in file.rows}
    rows = [row for row in range(len(dataset)) if row not in from_file]
    paths = [dataset.root / dataset.samples[row].path for row in rows]
    valid = np.ones(len(dataset), dtype=bool)
    # closed at once on an error, so that no process goes on writing
    answers = contextlib.closing(
        decode_into(images, paths, rows, workers=workers, decoding=dataset.decoding)
    )
    with answers as decoded, progress() as bar:
        task = bar.add_task(f"Decoding {dataset.name}", total=len(dataset))
        for file in files:
            _copy(dataset.root / file.path, images, file.rows)
            bar.advance(task, len(file.rows))
        for position, problem in decoded:
            if problem is not None:
                if not skip_broken:
                    raise InputError(f"{problem} {SKIP}")
                log.warning("%s", problem)
                valid[rows[position]] = False
                images[rows[position]] = 0
            bar.advance(task)
    images.flush()
    return valid, _checksums(images, range(len(images)))


@contextlib.contextmanager
def _new_file(target: Path, need: int) -> Iterator[Path]:
    """A file for `need` bytes beside `target` that takes its name only when the block succeeds."""
    free = shutil.disk_usage(target.parent).free
    if need > free:
        raise InputError(
            f"Decoded images need {need / 2**30:.1f} GiB in '{target.parent}', where "
            f"{free / 2**30:.1f} GiB are free. Free some space, or set XDG_CACHE_HOME and make the "
            "data root read-only."
        )
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise InputError(
            f"'{target}' could not be written: {error.strerror or error}. Free some space or name "
            "a folder you may write to."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _usable(dataset: Dataset, file: PixelFile, size: tuple[int, int]) -> bool:
    """Arrays of another size are skipped where the images themselves are there.

    Raises:
        InputError: they are of another size, and there are no images.
    """
    shape = map_array(dataset.root / file.path).shape
    if shape == (len(file.rows), *size, 3):
        return True
    if (dataset.root / dataset.samples[file.rows[0]].path).is_file():
        return False
    raise InputError(
        f"'{dataset.root / file.path}' holds images of {shape[1]}x{shape[2]} pixels, but "
        f"{size[0]}x{size[1]} is wanted, and the original images are not there. Use the array's "
        "size."
    )


def _copy(source: Path, images: np.ndarray, rows: np.ndarray) -> None:
    array = map_array(source)
    for start in range(0, len(rows), 256):
        images[rows[start : start + 256]] = array[start : start + 256]


def _table(dataset: Dataset, valid: np.ndarray, sums: Sequence[int]) -> str:
    return csv_text(
        ["path", "pid", "camid", "modality", "crc32", "valid"],
        (
            [sample.path, sample.pid, sample.camid, sample.modality.word, f"{crc:08x}", int(good)]
            for sample, crc, good in zip(dataset.samples, sums, valid)
        ),
    )


def _open(path: Path, dataset: Dataset, size: tuple[int, int], key: str) -> PixelStore:
    try:
        images = map_array(path)
        rows = read_rows(path.with_suffix(".csv"), required=("path", "valid"), optional=("crc32",))
        paths = [row.cells["path"] for row in rows]
        fits = images.shape == (len(dataset), *size, 3) and images.dtype == np.uint8
        fits = fits and images.flags.c_contiguous  # as they were written
        fits = fits and paths == [csv_cell(sample.path) for sample in dataset.samples]
        fits = fits and all(row.cells["valid"] in ("0", "1") for row in rows)
        sums = {n: row.cells["crc32"] for n, row in enumerate(rows) if "crc32" in row.cells}
        fits = fits and all(re.fullmatch("[0-9a-f]{8}", crc) for crc in sums.values())
        valid = np.array([row.cells["valid"] == "1" for row in rows], dtype=bool)
    except InputError as error:
        raise InputError(
            f"The decoded images '{path}' can't be used ({error}). Delete the file and its .csv; "
            "they will be decoded again."
        ) from error
    if not fits:
        raise InputError(
            f"The decoded images '{path}' do not match the data set. Delete the file and its .csv; "
            "they will be decoded again."
        )
    broken = [sample.path for sample, good in zip(dataset.samples, valid) if not good]
    return PixelStore(
        images=images, size=size, key=key, valid=valid, broken=broken, path=path,
        unchecked={row: int(crc, 16) for row, crc in sums.items()},
    )  # fmt: skip


def _checked(store: PixelStore, skip_broken: bool) -> PixelStore:
    if store.broken and not skip_broken:
        raise InputError(f"Broken images: {few(store.broken)}. {SKIP}")
    return store
