"""Visible-infrared person re-identification: train, test, index, search."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vireid.data import load_dataset
    from vireid.embed import Embedder, import_published, load
    from vireid.evaluation import rerank, score
    from vireid.search import Searcher, create_index, open_index
    from vireid.types import Embeddings, InputError, Modality

__version__ = "0.1.0"

_PUBLIC = {
    "Embedder": "vireid.embed",
    "Embeddings": "vireid.types",
    "InputError": "vireid.types",
    "Modality": "vireid.types",
    "Searcher": "vireid.search",
    "create_index": "vireid.search",
    "import_published": "vireid.embed",
    "load": "vireid.embed",
    "load_dataset": "vireid.data",
    "open_index": "vireid.search",
    "rerank": "vireid.evaluation",
    "score": "vireid.evaluation",
}

__all__ = [
    "Embedder", "Embeddings", "InputError", "Modality", "Searcher", "__version__",
    "create_index", "import_published", "load", "load_dataset", "open_index", "rerank", "score",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'vireid' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
