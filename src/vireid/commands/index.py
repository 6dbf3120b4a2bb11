"""index create, add, update, remove, info, verify, compact."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from vireid.commands.common import AFRESH, going_on, next_step, print_json, suggest
from vireid.console import console, facts_table, quoted, results, say, warn
from vireid.models.shipped import is_shipped_hash
from vireid.types import Embeddings, InputError, Modality, parse_pid

if TYPE_CHECKING:
    from vireid.index import Index
    from vireid.index.entries import Hit

TRIED = 8
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def create(
    *,
    index: str,
    embeddings: Path,
    image_root: tuple[Path, ...] = (),
    prefix: str | None = None,
    which: str | None = None,
    camera_names: Path | None = None,
) -> int:
    """Make an index from an embeddings file.

    Args:
        index: Index to make: a folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file
            (.db).
        embeddings: File that `vireid embed` wrote.
        image_root: Folder that holds the images; paths in the index start with its name, and the
            page shows only files in it (default: the folder that was embedded).
        prefix: Word that paths in the index start with instead.
        which: Vectors to put into the index: pooled, embedding or part (default: those that the
            weights recommend, else embedding).
        camera_names: Table with the columns camid and name: what the cameras are called on the
            page, in tables, CSV and JSON.
    """
    from vireid.embed import load_embeddings
    from vireid.index import build_index

    names = _camera_names(camera_names)
    with going_on(AFRESH):
        rows = load_embeddings(embeddings)
        made = build_index(index, rows, which=which, image_roots=image_root, prefix=prefix)
    with made as created:
        if names is not None:
            created.set_camera_names(names)
        _tell_hidden(created, _some(created, rows))
        count = len(created)
    weights = "synth" if is_shipped_hash(rows.weights_hash) else "THE_SAME"
    night = len(rows) > 0 and bool((rows.modality == Modality.INFRARED).all())
    other = Modality.VISIBLE if night else Modality.INFRARED
    next_step(
        f"index '{index}' with {count:,} images",
        f"vireid search --index {quoted(index)} --weights {weights} --image FILE "
        f"--modality {other.word}",
    )
    return 0


def add(
    *,
    index: str,
    embeddings: Path,
    image_root: tuple[Path, ...] = (),
    prefix: str | None = None,
) -> int:
    """Add an embeddings file to an index. Images that are in it already are skipped.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        embeddings: File that `vireid embed` wrote, with the index's weights.
        image_root: Folder that holds the images (default: the index's, or else the folder that
            was embedded).
        prefix: Word that their paths in the index start with (default: the folder's name); tells
            apart images of two places with the same names.
    """
    return _put(index, embeddings, image_root, prefix, update=False)


def update(
    *,
    index: str,
    embeddings: Path | None = None,
    image_root: tuple[Path, ...] = (),
    prefix: str | None = None,
    camera_names: Path | None = None,
) -> int:
    """Replace the images of an embeddings file in an index by path, and add new ones.

    Without --embeddings: say where the images are after a move (--image-root), or what the cameras
    are called (--camera-names).

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        embeddings: File that `vireid embed` wrote, with the index's weights.
        image_root: Folder that holds the images.
        prefix: Word that their paths in the index start with.
        camera_names: Table with the columns camid and name; its names replace all that there are.
    """
    from vireid.index import open_index

    names = _camera_names(camera_names)
    if names is not None:
        with open_index(index, write=True) as opened:
            opened.set_camera_names(names)
        say(f"{len(names):,} cameras of '{index}' have names.")
        if embeddings is None and not image_root:
            return 0
    if embeddings is not None:
        return _put(index, embeddings, image_root, prefix, update=True)
    import numpy as np

    from vireid.index.roots import move

    if len(image_root) != 1:
        raise InputError(
            "Give `embeddings` to replace images, one `image_root` to say where they are now, or "
            "`camera_names`."
        )
    with open_index(index, write=True) as opened:
        opened.set_roots(move(opened.roots, image_root[0], prefix))
        _tell_hidden(opened, opened.search(np.ones((1, opened.dim), np.float32), top=TRIED)[0])
    say(f"The images of '{index}' are looked for in '{image_root[0]}'.")
    return 0


def _camera_names(table: Path | None) -> dict[int, str] | None:
    from vireid.index.cameras import read_camera_names

    return None if table is None else read_camera_names(table)


@going_on(AFRESH)
def _put(
    index: str, embeddings: Path, image_root: tuple[Path, ...], prefix: str | None, *, update: bool
) -> int:
    from vireid.embed import load_embeddings
    from vireid.index import add_images, open_index

    rows = load_embeddings(embeddings)
    with open_index(index, write=True) as opened:
        before = opened.roots
        result = add_images(opened, rows, image_roots=image_root, prefix=prefix, update=update)
        new = [root for root in opened.roots if root not in before]
        if new:
            _tell_hidden(opened, _some(opened, rows))
    replaced = f", {result.replaced:,} replaced" if update else ""
    say(f"{result.added:,} images added{replaced} in '{index}'.")
    for root in new:
        say(f"The page shows images in '{root.folder}' from now on, called '{root.prefix}/…'.")
    if result.skipped:
        say(f"{result.skipped:,} were in it already; `vireid index update` replaces them.")
    if result.replaced:
        suggest(
            f"vireid index compact --index {quoted(index)}   # frees the space of the old vectors"
        )
    return 0


def _some(index: Index, rows: Embeddings) -> list[Hit]:
    """Some of the images that were put into an index, as a search finds them."""
    vectors = rows.vectors[index.embedding]
    some = vectors[:: max(1, len(vectors) // TRIED)][:TRIED]
    return [hits[0] for hits in index.search(some, top=1)] if len(some) else []


def _tell_hidden(index: Index, hits: list[Hit]) -> None:
    """Warn if the server couldn't show these."""
    from vireid.server.images import GalleryImages, ImageError
    from vireid.server.settings import ServerSettings

    images = GalleryImages(index, max_pixels=ServerSettings().max_pixels)
    problems = []
    for hit in hits:
        try:
            images.jpeg(hit.row_id, "thumb")
        except ImageError as error:
            problems.append(f"'{hit.path}': {error}")
    if problems:
        warn(
            f"the page can't show {len(problems)} of {len(hits)} images that were tried. "
            f"{problems[0]} `vireid index update --index {quoted(index.url)} --image-root FOLDER` "
            "says where they are."
        )


def remove(
    *,
    index: str,
    paths: tuple[str, ...] = (),
    older_than: str | None = None,
    cameras: tuple[int, ...] = (),
    pids: tuple[str, ...] = (),
    dry_run: bool = False,
    yes: bool = False,
) -> int:
    """Remove the images that match every condition; `vireid index compact` then frees the space.

    Args:
        index: The index's folder, milvus://HOST:PORT/COLLECTION, or a Milvus Lite file (.db).
        paths: Remove the images with these paths.
        older_than: Remove images taken longer ago than this, such as 30d, 12h or 2w; asks first.
        cameras: Remove images of these cameras; asks first.
        pids: Remove images of these identities, numbers or names.
        dry_run: Only say how many would be removed.
        yes: Don't ask.
    """
    from vireid.index import Filters, open_index

    if not (paths or older_than or cameras or pids):
        raise InputError("Say what to remove: --paths, --older-than, --cameras or --pids.")
    limit = None if older_than is None else time.time() - _duration(older_than)
    identities = tuple(map(parse_pid, pids)) or None
    filters = Filters(camids=cameras or None, pids=identities) if cameras or pids else None
    conditions: dict[str, Any] = {"older_than": limit, "filters": filters}
    with open_index(index) as opened:  # nobody else has to wait for the answer
        conditions["paths"] = _entries_of(opened, paths) if paths else None
        total, count = len(opened), opened.count(**conditions)
    if dry_run:
        say(f"{count:,} of {total:,} images would be removed from '{index}'.")
        return 0
    if count and (older_than or cameras) and not yes:
        _ask(f"Remove {count:,} of {total:,} images from '{index}'?")
    with open_index(index, write=True) as opened:
        count = opened.remove(**conditions)
    say(f"{count:,} images removed from '{index}'.")
    if count:
        suggest(f"vireid index compact --index {quoted(index)}   # frees the space")
    return 0


def _entries_of(index: Index, paths: tuple[str, ...]) -> list[str]:
    """Paths of entries, of which each was given as the index has it or as the image is found."""
    from vireid.index.roots import namer

    name = namer(index.roots)
    return [path if index.count(paths=[path]) else name(path) or path for path in paths]


def _ask(question: str) -> None:
    """Raises InputError unless the answer on standard input is yes."""
    console.print(f"{escape(question)} [bold]\\[y/N][/] ", end="")
    try:
        answer = sys.stdin.readline()
    except OSError:  # there is no standard input
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise InputError("Nothing was removed. Answer y, or give --yes where nobody can answer.")


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
    from vireid.index.strangers import TOO_FEW, Strangers

    size, times = facts.pop("size_on_disk"), facts.pop("time_range")
    prefixes = [*facts.pop("prefixes"), *[""] * len(facts["image_roots"])]
    facts["image_roots"] = [
        f"{prefix}: {folder}" if prefix else folder
        for prefix, folder in zip(prefixes, facts["image_roots"])
    ]
    facts["camera_names"] = [f"{camid} {name}" for camid, name in facts["camera_names"].items()]
    strangers = Strangers.read(facts.pop("strangers"))
    if strangers is not None and strangers.enough:
        compared = sum(tail.pairs for tail in strangers.tails.values())
        known = "known" if strangers.labelled else "unknown"
        facts["strangers"] = f"{compared:,} pairs of images compared, identities {known}"
    else:
        facts["strangers"] = f"nothing is said of them: {TOO_FEW}"
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


@going_on(AFRESH)
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
