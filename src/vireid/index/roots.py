"""Where an index's images are, and what its entries are called.

An image root is a folder with a prefix: the image `0001/a.jpg` in the root `/data/day` with the
prefix `day` is the entry `day/0001/a.jpg`, however its path was spelled. When the folder moves,
only the root changes. Roots without a prefix are those of an index whose paths are its maker's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from vireid.console import path_meant
from vireid.types import Embeddings, InputError

TRIED = 8
"""Images that are looked for on the disk, to see whether a folder is the right one."""


@dataclass(frozen=True)
class ImageRoot:
    """One folder of images.

    Attributes:
        folder: absolute.
        prefix: one word that begins the paths of its entries, or "".
    """

    folder: str
    prefix: str = ""


def places_of(path: str, roots: Sequence[ImageRoot]) -> Iterator[tuple[str, str]]:
    """Where the image of an entry may be: a root's folder, and the path relative to it."""
    first, _, rest = path.partition("/")
    for root in roots:
        if root.prefix and rest and root.prefix == first:
            yield root.folder, rest
    for root in roots:
        if not root.prefix:
            yield root.folder, path


def file_of(path: str, roots: Sequence[ImageRoot]) -> Path | None:
    """The image of an entry, if it is there."""
    files = (Path(folder, relative) for folder, relative in places_of(path, roots))
    return next((file for file in files if file.is_file()), None)


def namer(roots: Sequence[ImageRoot]) -> Callable[[str], str | None]:
    """A function: image file → the entry that it is, or None if it is in no root.

    The innermost root counts. Folders are compared with their links resolved, so that every
    spelling of a path gives one name.
    """
    # Links first: a linked folder within a root is called by the folder that it leads to.
    real = [(os.path.realpath(root.folder), root.prefix) for root in roots]
    real.sort(key=lambda item: -len(item[0]))
    spelled = [(root.folder, root.prefix) for root in roots]

    @cache
    def start(folder: str) -> str | None:
        for spelling in (os.path.realpath(folder), folder):
            for root, prefix in (*real, *spelled):
                if _lies_in(spelling, root):
                    below = spelling[len(root) :].replace(os.sep, "/").strip("/")
                    return "".join(f"{part}/" for part in (prefix, below) if part)
        return None

    def name(file: str) -> str | None:
        folder, last = os.path.split(os.path.abspath(file))
        begin = start(folder)
        return None if begin is None else begin + last

    return name


def place(
    embeddings: Embeddings,
    roots: Sequence[ImageRoot],
    *,
    folders: Sequence[str | Path] = (),
    prefix: str | None = None,
) -> tuple[Embeddings, tuple[ImageRoot, ...]]:
    """Give embeddings the paths of entries.

    Args:
        embeddings: as `vireid embed` wrote them.
        roots: the index's.
        folders: that hold the images; none means the folder that was embedded, or the nearest
            one that holds all images.
        prefix: of a single new root; None means the folder's name.

    Returns:
        The embeddings, and the image roots that the index needs besides its own.

    Raises:
        InputError: the images aren't in `folders`, or the prefix is another folder's.
    """
    if prefix is not None:
        _check_prefix(prefix)
    if prefix is not None and len(folders) > 1:
        raise InputError(
            f"`prefix` is '{prefix}', and `image_root` names {len(folders)} folders. Add their "
            "images one by one, each with a prefix."
        )
    files = _files(embeddings)
    if files is None and not folders:  # nobody knows where they are
        return embeddings, ()
    new: list[ImageRoot] = []
    for folder in map(_check_folder, folders):
        new += _new(folder, prefix, (*roots, *new))
    names = _names(embeddings, files, (*roots, *new), new or roots)
    if files and not folders and (prefix is not None or None in names):
        new = _new(_common(embeddings, files), prefix, roots)
        names = _names(embeddings, files, (*roots, *new), new)
    named = [name for name in names if name is not None]
    if len(named) < len(names):
        missing = names.index(None)
        example = files[missing] if files else embeddings.paths[missing]
        where = " and ".join(f"'{root.folder}'" for root in new or roots)
        raise InputError(
            f"{names.count(None):,} of {len(names):,} images are not in {where}: '{example}' is "
            "one. Name the folder that holds all of them as `image_root`."
        )
    return replace(embeddings, paths=named, base="", root=""), tuple(new)


def move(roots: Sequence[ImageRoot], folder: str | Path, prefix: str | None) -> list[ImageRoot]:
    """The image roots of an index, one of which is elsewhere now, or new.

    Args:
        roots: the index's.
        folder: where the images are.
        prefix: of the root that is meant; None if there is but one.

    Raises:
        InputError: no such folder, or it isn't clear which root is meant.
    """
    here = _check_folder(folder)
    if prefix is None and len(roots) > 1:
        listed = ", ".join(f"'{root.prefix}' ({root.folder})" for root in roots)
        raise InputError(
            f"The index has {len(roots)} image roots: {listed}. Say with `prefix` which of them is "
            f"in '{here}' now."
        )
    if prefix:
        _check_prefix(prefix)
    if prefix is None:
        prefix = roots[0].prefix if roots else ""
    return [*(root for root in roots if root.prefix != prefix), ImageRoot(here, prefix)]


def _check_prefix(prefix: str) -> None:
    if prefix in ("", ".", "..") or set(prefix) & set("/\\\0"):
        raise InputError(f"`prefix` is '{prefix}'; a word without slashes was expected.")


def _check_folder(folder: str | Path) -> str:
    if not os.path.isdir(folder):
        meant = path_meant(folder, Path.is_dir)
        raise InputError(f"`image_root` is '{folder}', where there is no folder.{meant}")
    return os.path.abspath(folder)


def _lies_in(folder: str, root: str) -> bool:
    return folder == root or folder.startswith(os.path.join(root, ""))


def _files(embeddings: Embeddings) -> list[str] | None:
    """The image files, absolute; None if it isn't known where they are."""
    if embeddings.base:
        return [os.path.normpath(os.path.join(embeddings.base, p)) for p in embeddings.paths]
    files = [os.path.abspath(path) for path in embeddings.paths]  # of an earlier commit, or Python
    return files if all(map(os.path.isfile, files)) else None


def _common(embeddings: Embeddings, files: Sequence[str]) -> str:
    """The folder that was embedded, or the nearest one that holds all images."""
    folders = {os.path.dirname(file) for file in files}
    if embeddings.root and all(_lies_in(folder, embeddings.root) for folder in folders):
        return embeddings.root
    try:
        return os.path.commonpath(folders)
    except ValueError as error:
        raise InputError(
            "The images are on several drives. Name each drive's folder as `image_root`."
        ) from error


def _new(folder: str, prefix: str | None, roots: Sequence[ImageRoot]) -> list[ImageRoot]:
    """The image root that `folder` becomes; none if it lies in one already."""
    real = os.path.realpath(folder)
    for root in roots:
        if _lies_in(real, os.path.realpath(root.folder)):
            if prefix in (None, root.prefix):
                return []
            raise InputError(
                f"The folder '{folder}' lies in an image root of the index already "
                f"('{root.folder}'), so its images have their names. Leave `prefix` out."
            )
    word = prefix or os.path.basename(folder) or "images"
    for root in roots:
        if root.prefix == word:
            raise InputError(
                f"These images are in '{folder}', but in this index '{word}/' stands for "
                f"'{root.folder}'. If they are other images, give them a `prefix` of their own. If "
                "it is the same folder and has moved, first run `vireid index update --index INDEX "
                f"--image-root {folder}`."
            )
    return [ImageRoot(folder, word)]


def _names(
    embeddings: Embeddings,
    files: Sequence[str] | None,
    roots: Sequence[ImageRoot],
    likely: Sequence[ImageRoot],
) -> list[str | None]:
    """What the images are called in an index with these roots; None where one is in none of them.

    If they aren't where they were embedded (or nobody knows where that was), a `likely` root may
    hold what the embedded folder held, or what the paths say, or be a folder that begins them.
    """
    name = namer(roots)
    names: list[str | None] = [None] * len(embeddings)
    if files:
        names = [name(file) for file in files]
    outside = [n for n, known in enumerate(names) if known is None]
    some = outside[:: -(-len(outside) // TRIED)] if outside else []
    if files and any(os.path.isfile(files[n]) for n in some):
        return names
    for root in likely if some else ():
        for way in _ways(embeddings, files, outside):
            if all(os.path.isfile(os.path.join(root.folder, way(n))) for n in some):
                begin = f"{root.prefix}/" if root.prefix else ""
                return [known or begin + way(n) for n, known in enumerate(names)]
    return names


def _ways(
    embeddings: Embeddings, files: Sequence[str] | None, rows: Sequence[int]
) -> Iterator[Callable[[int], str]]:
    """How the paths of these rows, relative to a folder, may follow from what was embedded."""
    paths = [path.replace(os.sep, "/") for path in embeddings.paths]
    start = os.path.join(embeddings.root, "")
    if files and embeddings.root and all(files[n].startswith(start) for n in rows):
        yield lambda n: files[n][len(start) :].replace(os.sep, "/")
    if not any(os.path.isabs(paths[n]) for n in rows):
        yield lambda n: paths[n]
    for depth in range(1, min(paths[n].count("/") for n in rows) + 1):
        yield lambda n, depth=depth: paths[n].split("/", depth)[depth]  # type: ignore[misc]
