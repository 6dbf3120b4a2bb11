"""Indexes of embeddings and how to search them: one folder on a laptop, Milvus on a cluster."""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "AddResult": "vireid.search.index",
    "Entry": "vireid.search.index",
    "Filters": "vireid.search.index",
    "Hit": "vireid.search.index",
    "Index": "vireid.search.index",
    "IndexInfo": "vireid.search.index",
    "Searcher": "vireid.search.searcher",
    "create_index": "vireid.search.index",
    "open_index": "vireid.search.index",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
