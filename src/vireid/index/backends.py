"""Which backend keeps an index: one table, scheme → class."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vireid.index.base import Index
from vireid.index.local.catalog import FILE, check_is_index
from vireid.types import InputError

# Scheme of a URL → "module:class" of its backend, imported when first used. An address without
# a scheme is a folder. An `Index` of your own is one more entry.
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
        weights_hash: hash of the weights whose vectors it will hold; all others are refused.
        dim: D.
        embedding: the test embedding it will hold.
        image_roots: folders that hold the images, for pages that show them.
        preprocessing: of the images; None takes that of the first vectors added.

    Raises:
        InputError: there is something at `url` already, or it can't be written or reached.
    """
    if not weights_hash:
        raise InputError(
            "`weights_hash` is empty; the hash of the weights that make the vectors was expected."
        )
    if dim < 1:
        raise InputError(f"`dim` is {dim}; at least 1 was expected.")
    return backend_of(url).create(
        url,
        weights_hash=weights_hash,
        dim=dim,
        embedding=embedding,
        image_roots=tuple(str(Path(root).absolute()) for root in image_roots),
        preprocessing=dict(preprocessing or {}),
    )


def open_index(url: str | Path, *, write: bool = False) -> Index:
    """Open an index that exists.

    Args:
        url: as for `create_index`.
        write: whether to add, update, remove or compact. A local index has one writer at a
            time and any number of readers besides.

    Raises:
        InputError: there is no index, it is broken, or another process is writing to it.
    """
    return backend_of(url).open(url, write=write)


def check_index(url: str | Path) -> None:
    """Refuse an address at which there is no index, as far as that is known without opening it.

    Raises:
        InputError: no backend has this scheme, or the folder holds no index.
    """
    backend_of(url)
    if scheme_of(url) == "folder":
        check_is_index(Path(url))


def backend_of(url: str | Path) -> type[Index]:
    """The class that keeps the index at `url`.

    Raises:
        InputError: no backend has this scheme; the message lists those that exist.
    """
    scheme = scheme_of(url)
    if scheme not in BACKENDS:
        valid = ", ".join(f"{name}://…" for name in BACKENDS if name != "folder")
        raise InputError(
            f"There is no index backend for '{scheme}://'. Give a folder, or one of: {valid}."
        )
    module, name = BACKENDS[scheme].split(":")
    return getattr(importlib.import_module(module), name)


def scheme_of(url: str | Path) -> str:
    """The scheme of an index's address: "folder" for a path, "milvus" for a Milvus Lite file."""
    text = str(url)
    if "://" in text:
        return text.split("://", 1)[0].lower()
    # Milvus Lite 3 makes a folder of that name, so being a folder tells nothing.
    is_lite = text.endswith(".db") and not (Path(text) / FILE).exists()
    return "milvus" if is_lite else "folder"
