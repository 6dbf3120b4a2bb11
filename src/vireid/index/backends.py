"""Which backend keeps an index: one table, scheme → class."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vireid.index.base import Index
from vireid.types import InputError

# scheme of a URL → "module:class" of its backend, imported when first used; an address without
# a scheme is a folder.
BACKENDS = {
    "folder": "vireid.index.local.index:LocalIndex",
    "milvus": "vireid.index.milvus.index:MilvusIndex",
}


def create_index(
    url: str | Path,
    *,
    weights_hash: str,
    dim: int,
    embedding: str = "embedding",
    image_roots: Sequence[str | Path] = (),
    preprocessing: dict[str, Any] | None = None,
) -> Index:
    """Make an empty index and open it for writing.

    Args:
        url: a folder (new or empty), `milvus://[USER:PASSWORD@]HOST:PORT/COLLECTION`, or a
            path that ends in `.db` (a Milvus Lite file).
        weights_hash: hash of the weights whose vectors it will take; all others are refused.
        dim: D.
        embedding: the test embedding it will hold.
        image_roots: folders that hold the images, for those who show them.
        preprocessing: of the images; None takes that of the first vectors added.

    Raises:
        InputError: something is there already, or the place cannot be written or reached.
    """
    options: dict[str, Any] = {
        "weights_hash": weights_hash,
        "dim": dim,
        "embedding": embedding,
        "image_roots": tuple(str(Path(root).absolute()) for root in image_roots),
        "preprocessing": dict(preprocessing or {}),
    }
    if not weights_hash:
        raise InputError(
            "An index needs the hash of the weights whose vectors it takes; the one given is empty."
        )
    if dim < 1:
        raise InputError(f"The dimension of an index is {dim}; at least 1 was expected.")
    return backend_of(url).create(url, **options)


def open_index(url: str | Path, *, write: bool = False) -> Index:
    """Open an index that exists.

    Args:
        url: as for `create_index`.
        write: whether to add, update, remove or compact. A local index has one writer at a
            time and any number of readers beside it.

    Raises:
        InputError: there is no index, it is broken, or another process is writing to it.
    """
    return backend_of(url).open(url, write=write)


def backend_of(url: str | Path) -> type[Index]:
    """The class that keeps the index at `url`.

    Raises:
        InputError: no backend has this scheme; those that exist are named.
    """
    scheme = scheme_of(url)
    if scheme not in BACKENDS:
        others = ", ".join(f"{name}://…" for name in BACKENDS if name != "folder")
        raise InputError(
            f"No index backend reads '{scheme}://' addresses. Give a folder, or one of {others}."
        )
    module, name = BACKENDS[scheme].split(":")
    return getattr(importlib.import_module(module), name)


def scheme_of(url: str | Path) -> str:
    """The scheme of an index's address: "folder" for a path, "milvus" for a Milvus Lite file."""
    text = str(url)
    if "://" in text:
        return text.split("://", 1)[0].lower()
    # Milvus Lite 3 keeps a folder under that name, so that its being one says nothing.
    is_lite = text.endswith(".db") and not (Path(text) / "index.sqlite").exists()
    return "milvus" if is_lite else "folder"
