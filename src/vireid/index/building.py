"""Embeddings files into indexes: entries named by image roots, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vireid.index.backends import create_index
from vireid.index.base import Index
from vireid.index.entries import AddResult
from vireid.index.roots import place
from vireid.types import Embeddings, InputError


def build_index(
    url: str | Path,
    embeddings: Embeddings,
    *,
    which: str | None = None,
    image_roots: Sequence[str | Path] = (),
    prefix: str | None = None,
) -> Index:
    """Make an index of embeddings, and open it for writing. If it fails, nothing is left of it.

    Args:
        url: as for `create_index`.
        embeddings: of image files, as `vireid embed` wrote them.
        which: the test embedding to search with; None means the weights' recommendation.
        image_roots, prefix: as in `add_images`.

    Raises:
        InputError: see `create_index` and `add_images`.
    """
    name = which or embeddings.preprocessing.get("search_with", "embedding")
    if name not in embeddings.vectors:
        raise InputError(
            f"The embeddings file has no '{name}'. Choose one of: {', '.join(embeddings.vectors)}."
        )
    placed, roots = place(embeddings, (), folders=image_roots, prefix=prefix)
    index = create_index(
        url,
        weights_hash=embeddings.weights_hash,
        embedding=name,
        dim=embeddings.vectors[name].shape[1],
        preprocessing=embeddings.preprocessing,
    )
    try:
        if roots:
            index.set_roots(roots)
        index.add(placed)
    except BaseException:
        index.discard()
        raise
    return index


def add_images(
    index: Index,
    embeddings: Embeddings,
    *,
    image_roots: Sequence[str | Path] = (),
    prefix: str | None = None,
    update: bool = False,
) -> AddResult:
    """Add embeddings of image files under the names that the index's image roots give them.

    `Index.add` and `Index.update` take paths as they are.

    Args:
        index: open for writing.
        embeddings: as `vireid embed` wrote them.
        image_roots: folders that hold the images; none means those of the index, or else the
            folder that was embedded.
        prefix: one word that begins the entries' paths, for a new image root; None means the
            folder's name.
        update: whether images that are there already are replaced.

    Raises:
        InputError: the images aren't in these folders, the prefix stands for another folder, or
            see `Index.add`.
    """
    before = index.roots
    placed, new = place(embeddings, before, folders=image_roots, prefix=prefix)
    if new:
        index.set_roots([*before, *new])
    try:
        return index.update(placed) if update else index.add(placed)
    except BaseException:
        if new:
            index.set_roots(before)
        raise
