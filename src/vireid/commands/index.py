"""index create, add, update, remove, info, verify, compact."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vireid.commands.common import next_step, print_json, suggest
from vireid.console import facts_table, results, say
from vireid.types import Embeddings, InputError, parse_pid

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def create(
    *,
    index: str,
    embeddings: Path,
    image_root: tuple[Path, ...] = (),
    which: str | None = None,
) -> int:
    """Make an index from an embeddings file.

    Args:
        index: Index to make: a folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file
            (.db).
        embeddings: File that `vireid embed` wrote.
        image_root: Folder that the images' paths are relative to; the page shows only files in it
            (default: the nearest folder that contains all images).
        which: Vectors to put into the index: pooled, embedding or part (default: those that the
            weights recommend, else embedding).
    """
    from vireid.embed import load_embeddings
    from vireid.index import create_index

    rows = load_embeddings(embeddings)
    which = _which(which, rows)
    roots = tuple(str(path.resolve()) for path in image_root) or _roots(rows.paths)
    with create_index(
        index,
        weights_hash=rows.weights_hash,
        embedding=which,
        dim=rows.vectors[which].shape[1],
        image_roots=roots,
        preprocessing=rows.preprocessing,
    ) as created:
        result = created.add(rows, which=which)
    next_step(
        f"index '{index}' with {result.added:,} images",
        f"vireid search --index {index} --weights THE_SAME --image FILE --modality infrared",
    )
    return 0


def _which(which: str | None, rows: Embeddings) -> str:
    name = which or rows.preprocessing.get("search_with", "embedding")
    if name not in rows.vectors:
        raise InputError(
            f"The embeddings file has no '{name}'. Choose one of: {', '.join(rows.vectors)}."
        )
    return name


def _roots(paths: Sequence[str]) -> tuple[str, ...]:
    """The folder that contains all images, on each drive; nothing if an image is missing."""
    folders = [Path(path).resolve().parent for path in paths if Path(path).is_file()]
    if len(folders) < len(paths) or not folders:
        say(
            "Note: some images don't exist at their paths as seen from this folder, so the page "
            "can't show them. Name their folder with --image-root."
        )
        return ()
    drives = sorted({folder.anchor for folder in folders})
    return tuple(os.path.commonpath([f for f in folders if f.anchor == drive]) for drive in drives)


def add(*, index: str, embeddings: Path) -> int:
    """Add an embeddings file to an index. Images that are in it already are skipped.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        embeddings: File that `vireid embed` wrote, with the index's weights.
    """
    return _put(index, embeddings, replace=False)


def update(*, index: str, embeddings: Path) -> int:
    """Replace the images of an embeddings file in an index, by path; new ones are added.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        embeddings: File that `vireid embed` wrote, with the index's weights.
    """
    return _put(index, embeddings, replace=True)


def _put(index: str, embeddings: Path, *, replace: bool) -> int:
    from vireid.embed import load_embeddings
    from vireid.index import open_index

    with open_index(index, write=True) as opened:
        change = opened.update if replace else opened.add
        result = change(load_embeddings(embeddings))
    replaced = f", {result.replaced:,} replaced" if replace else ""
    say(f"{result.added:,} images added{replaced} in '{index}'.")
    if result.skipped:
        say(f"{result.skipped:,} were in it already; `vireid index update` replaces them.")
    if result.replaced:
        suggest(f"vireid index compact --index {index}   (frees the space of the old vectors)")
    return 0


def remove(
    *,
    index: str,
    paths: tuple[str, ...] = (),
    older_than: str | None = None,
    cameras: tuple[int, ...] = (),
    pids: tuple[str, ...] = (),
) -> int:
    """Remove the images that match every condition; `vireid index compact` then frees the space.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        paths: Remove the images with these paths.
        older_than: Remove images taken longer ago than this, such as 30d, 12h or 2w.
        cameras: Remove images of these cameras.
        pids: Remove images of these identities, numbers or names.
    """
    from vireid.index import Filters, open_index

    if not (paths or older_than or cameras or pids):
        raise InputError("Say what to remove: --paths, --older-than, --cameras or --pids.")
    limit = None if older_than is None else time.time() - _duration(older_than)
    filters = Filters(camids=cameras or None, pids=tuple(map(parse_pid, pids)) or None)
    with open_index(index, write=True) as opened:
        count = opened.remove(paths=list(paths) or None, older_than=limit, filters=filters)
    say(f"{count:,} images removed from '{index}'.")
    if count:
        suggest(f"vireid index compact --index {index}   (frees the space)")
    return 0


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip().lower())
    if match is None:
        raise InputError(
            f"--older-than is '{text}'; a number with s, m, h, d or w, such as 30d, was expected."
        )
    return float(match[1]) * SECONDS[match[2]]


def info(*, index: str, json: bool = False) -> int:
    """Show what an index holds.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        json: Print JSON on standard output.
    """
    from vireid.config import to_plain
    from vireid.index import open_index

    with open_index(index) as opened:
        facts = to_plain(opened.info())
    if json:
        print_json(facts)
    else:
        results.print(facts_table(f"Index {index}", _for_people(facts)))
    return 0


_NAMES = {"url": "index", "count": "images", "dim": "dimensions", "num_pids": "identities",
          "removed": "removed, not yet compacted", "mode": "search"}  # fmt: skip


def _for_people(facts: dict[str, Any]) -> dict[str, object]:
    """What an index holds, for people: no empty entries, readable sizes and times."""
    from vireid.index.output import time_text

    size, times = facts.pop("size_on_disk"), facts.pop("time_range")
    shown: dict[str, object] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {item}" for key, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value != "":
            shown[_NAMES.get(name, name.replace("_", " "))] = value
    shown["cameras"] = str(shown.get("cameras", "none")).replace("-1:", "unknown:")
    if times is not None:
        shown["time range"] = f"{time_text(times[0])} to {time_text(times[1])} UTC"
    if size is not None:
        shown["size on disk"] = f"{size / 2**20:,.1f} MiB"
    return shown


def verify(*, index: str) -> int:
    """Check all rows and files of an index against their checksums.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
    """
    from vireid.index import open_index

    with open_index(index) as opened:
        problems = opened.verify()
    for problem in problems:
        say(problem)
    if problems:
        raise InputError(
            f"The index '{index}' has {len(problems)} problems, listed above. If their sentences "
            "don't help, make a new index from the embeddings files."
        )
    say(f"The index '{index}' is intact.")
    return 0


def compact(*, index: str) -> int:
    """Free the space of removed images.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
    """
    from vireid.index import open_index

    with open_index(index, write=True) as opened:
        freed = opened.compact()
    size = f"; {freed / 2**20:,.1f} MiB freed" if freed > 0 else ""
    say(f"Compacted the index '{index}'{size}.")
    return 0
