"""What identifies the images and labels of a data set, whatever folder and machine they are on."""

from __future__ import annotations

import contextlib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vireid.cores import sensible_threads
from vireid.data.pixels import cache_folders, content_key
from vireid.data.protocol import Dataset
from vireid.files import file_hash, write_text
from vireid.types import InputError

_MISSING = "missing"


def data_hash(dataset: Dataset) -> str:
    """SHA-256 over every image's path, identity, camera, modality and file, as 64 hexadecimal
    digits.

    The division into parts, the folder's place and times of change don't matter. Reading every
    file takes a while, so the answer is kept beside the decoded images until a file changes.
    """
    digest = hashlib.sha256()
    for sample in dataset.samples:
        words = (sample.path, sample.pid, sample.camid, sample.modality.word)
        digest.update("\0".join(map(str, words)).encode("utf-8", "surrogateescape") + b"\n")
    name = f"{dataset.name}-{content_key(dataset)}-{digest.hexdigest()[:16]}.sha256"
    folders = cache_folders(dataset.root)
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):  # absent, or damaged
            kept, check = (folder / name).read_text(encoding="utf-8").split()
            if check == _check_of(kept):
                return kept
    paths = [dataset.root / path for path in _paths(dataset)]
    with ThreadPoolExecutor(sensible_threads(1)) as pool:
        for of_file in pool.map(_hash_of, paths):
            digest.update(of_file.encode())
    if dataset.root.exists():
        found = digest.hexdigest()
        _keep(f"{found} {_check_of(found)}", [folder / name for folder in folders])
    return digest.hexdigest()


def _paths(dataset: Dataset) -> list[str]:
    """The files with the images: those of a published array instead of the images in it."""
    in_file = {int(row) for file in dataset.pixel_files for row in file.rows}
    single = [s.path for row, s in enumerate(dataset.samples) if row not in in_file]
    return single + [os.fspath(file.path) for file in dataset.pixel_files]


def _check_of(kept: str) -> str:
    """What stands beside a hash that is kept, so that a damaged one isn't taken for another."""
    return hashlib.sha256(kept.encode()).hexdigest()[:16]


def _hash_of(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError:
        return _MISSING


def _keep(text: str, places: list[Path]) -> None:
    for place in places:
        with contextlib.suppress(InputError):
            write_text(place, text + "\n")
            return
