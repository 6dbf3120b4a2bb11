"""index create, add, update, remove, info, verify, compact."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from vireid.commands.common import next_step, print_json, suggest
from vireid.console import facts_table, results, say
from vireid.types import Embeddings, InputError

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
        index: folder to make, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        embeddings: file that `vireid embed` wrote.
        image_root: folder that the images' paths start from; the page shows only files in it
            (default: the nearest folder that holds all images).
        which: which vectors: pooled, embedding or part (default: what the weights say is best to
            search with, else embedding).
    """
    from vireid.embed import load_embeddings
    from vireid.index import create_index

    vectors = load_embeddings(embeddings)
    which = _which(which, vectors)
    roots = tuple(str(path.resolve()) for path in image_root) or _roots(vectors.paths)
    with create_index(
        index,
        weights_hash=vectors.weights_hash,
        embedding=which,
        dim=vectors.vectors[which].shape[1],
        image_roots=roots,
        preprocessing=vectors.preprocessing,
    ) as made:
        result = made.add(vectors, which=which)
    next_step(
        f"index '{index}' with {result.added:,} images",
        f"vireid search --index {index} --weights THE_SAME --image FILE --modality infrared",
    )
    return 0


def _which(given: str | None, vectors: Embeddings) -> str:
    names = vectors.vectors
    if given is None:
        given = vectors.preprocessing.get("search_with", "embedding")
    if given not in names:
        raise InputError(f"The embeddings file has no '{given}'. It holds: {', '.join(names)}.")
    return given


def _roots(paths: Sequence[str]) -> tuple[str, ...]:
    """The folder that holds all images, where they can be found from here."""
    found = [str(Path(path).resolve().parent) for path in paths if Path(path).is_file()]
    if len(found) < len(paths) or not found:
        say(
            "note: not all images can be found from here, so the page can't show them; "
            "name their folder with --image-root."
        )
        return ()
    return (os.path.commonpath(found),)


def add(*, index: str, embeddings: Path) -> int:
    """Add an embeddings file to an index. Images that it holds already are passed over.

    Args:
        index: the index.
        embeddings: file that `vireid embed` wrote, with the index's weights.
    """
    from vireid.embed import load_embeddings
    from vireid.index import open_index

    with open_index(index, write=True) as opened:
        result = opened.add(load_embeddings(embeddings))
    say(f"{result.added:,} images added to '{index}'.")
    if result.skipped:
        say(f"{result.skipped:,} are in it already and stayed; `vireid index update` replaces.")
    return 0


def update(*, index: str, embeddings: Path) -> int:
    """Replace the images of an embeddings file in an index, by path; new ones are added.

    Args:
        index: the index.
        embeddings: file that `vireid embed` wrote, with the index's weights.
    """
    from vireid.embed import load_embeddings
    from vireid.index import open_index

    with open_index(index, write=True) as opened:
        result = opened.update(load_embeddings(embeddings))
    say(f"{result.added:,} images added, {result.replaced:,} replaced in '{index}'.")
    if result.replaced:
        suggest(f"vireid index compact --index {index}   (frees the old vectors' space)")
    return 0


def remove(
    *,
    index: str,
    paths: tuple[str, ...] = (),
    older_than: str | None = None,
    cameras: tuple[int, ...] = (),
    pids: tuple[int, ...] = (),
) -> int:
    """Remove images from an index; `compact` then frees the space.

    Args:
        index: the index.
        paths: images by path.
        older_than: images taken longer ago than this, as 30d, 12h or 2w.
        cameras: images of these cameras.
        pids: images of these identities.
    """
    from vireid.index import Filters, open_index

    if not (paths or older_than or cameras or pids):
        raise InputError("Say what to remove: --paths, --older-than, --cameras or --pids.")
    limit = None if older_than is None else time.time() - _duration(older_than)
    filters = Filters(camids=cameras or None, pids=pids or None) if cameras or pids else None
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
            f"--older-than is '{text}'; a number with s, m, h, d or w, as 30d, was expected."
        )
    return float(match[1]) * SECONDS[match[2]]


def info(*, index: str, json: bool = False) -> int:
    """Show what an index holds.

    Args:
        index: the index.
        json: print JSON on standard output.
    """
    from vireid.config import to_plain
    from vireid.index import open_index

    with open_index(index) as opened:
        facts = to_plain(opened.info())
    if json:
        print_json(facts)
    else:
        results.print(facts_table(f"Index {index}", _in_words(facts)))
    return 0


_NAMES = {"url": "index", "count": "images", "dim": "dimensions", "num_pids": "identities",
          "removed": "removed, not yet compacted", "mode": "search"}  # fmt: skip


def _in_words(facts: dict[str, Any]) -> dict[str, object]:
    """What an index holds, for people: no empty entries, sizes and times as they are said."""
    size, times = facts.pop("size_on_disk"), facts.pop("time_range")
    words: dict[str, object] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {item}" for key, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value != "":
            words[_NAMES.get(name, name.replace("_", " "))] = value
    words["cameras"] = str(words.get("cameras", "none")).replace("-1:", "unknown:")
    if times is not None:
        first, last = (datetime.fromtimestamp(t).isoformat(" ", "seconds") for t in times)
        words["time range"] = f"{first} to {last}"
    if size is not None:
        words["size on disk"] = f"{size / 2**20:,.1f} MiB"
    return words


def verify(*, index: str) -> int:
    """Check every row and file of an index against its checksums.

    Args:
        index: the index.
    """
    from vireid.index import open_index

    with open_index(index) as opened:
        problems = opened.verify()
    for problem in problems:
        say(str(problem))
    if problems:
        raise InputError(
            f"The index '{index}' has {len(problems)} problems, listed above. "
            "Make it anew from its embeddings files."
        )
    say(f"The index '{index}' is whole.")
    return 0


def compact(*, index: str) -> int:
    """Free the space of removed images.

    Args:
        index: the index.
    """
    from vireid.index import open_index

    with open_index(index, write=True) as opened:
        won = opened.compact()
    freed = f"; {won / 2**20:,.1f} MiB are free again" if won > 0 else ""
    say(f"The index '{index}' is compacted{freed}.")
    return 0
