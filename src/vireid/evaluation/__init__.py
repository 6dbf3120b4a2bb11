"""Metrics, re-ranking, protocols and reports.

Exports are imported when first used, so that `vireid --help` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "Comparison": "comparison",
    "Protocol": "report",
    "Report": "report",
    "Scores": "metrics",
    "average_reports": "comparison",
    "bootstrap": "evaluator",
    "chance": "metrics",
    "compare": "comparison",
    "evaluate": "evaluator",
    "rerank": "reranking",
    "score": "metrics",
    "score_embeddings": "metrics",
}

__all__ = sorted(_EXPORTS)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'vireid.evaluation' has no attribute '{name}'")
    return getattr(importlib.import_module(f"vireid.evaluation.{_EXPORTS[name]}"), name)
