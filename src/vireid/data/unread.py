"""What lies in a data set's folder and isn't part of it: nothing is left out without a word."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from vireid.data.listing import left_out, walk
from vireid.data.protocol import Dataset


def unread(dataset: Dataset, root: str | Path | None) -> list[str]:
    """Notes on images below the folder that no sample names; none where `root` is a table."""
    if root is not None and os.path.isfile(root):
        return []
    found = walk(dataset.root)
    taken = {sample.path for sample in dataset.samples}
    known = dataset.left_out
    others = [path for path in found.images if path not in taken and not path.startswith(known)]
    if others and found.again:  # the same files by the paths of links?
        real = _files(dataset.root, taken)
        others = [path for path in others if not _files(dataset.root, {path}) <= real]
    found.again.clear()  # which of the paths is read is the loader's choice
    reason = f"images outside {dataset.facts.layout}"
    return [*([left_out(reason, others)] if others else []), *found.notes()]


def _files(root: Path, paths: set[str]) -> set[tuple[int, int, str]]:
    """(device, folder, name) of files, the same by every path that leads to their folder."""
    names = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        names[folder].append(name)
    files = set()
    for folder, held in names.items():
        if (root / folder).is_dir():
            status = os.stat(root / folder)
            files |= {(status.st_dev, status.st_ino, name) for name in held}
    return files
