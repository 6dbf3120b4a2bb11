"""Measures this machine: training step, extraction, evaluation, beside the published way."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "measure": "machine",
    "random_data": "workload",
    "StepBench": "workload",
    "time_extraction": "workload",
    "PublishedStyle": "published_style",
    "loop_evaluation": "published_style",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'vireid.bench' has no attribute '{name}'")
    return getattr(importlib.import_module(f"vireid.bench.{_NAMES[name]}"), name)
