"""From weights and images to embeddings: in memory, or as a file, on one or many ranks.

Names are imported when first used, so that the command line's `--help` needs no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Embedder": "embedder",
    "load": "loading",
    "import_published": "loading",
    "save_embeddings": "storage",
    "load_embeddings": "storage",
    "EmbedSummary": "job",
    "embed_files": "job",
    "embed_images": "job",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'vireid.embed' has no attribute '{name}'")
    return getattr(importlib.import_module(f"vireid.embed.{_NAMES[name]}"), name)
