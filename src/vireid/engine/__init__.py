"""How a training step is run: eager, compiled or captured in one CUDA graph; precision; ranks.

Names are imported when first used, so that the command line's `--help` needs no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "ENGINES": "options",
    "PRECISIONS": "options",
    "TrainOptions": "options",
    "MAY_CHANGE": "options",
    "Precision": "precision",
    "choose_precision": "precision",
    "RankLost": "heartbeat",
    "World": "distributed",
    "join": "distributed",
    "Step": "step",
    "Plan": "step",
    "build_engine": "engines",
    "Engine": "engines",
    "Optimisers": "optimisers",
    "ImageStore": "store",
    "place_images": "store",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'vireid.engine' has no attribute '{name}'")
    return getattr(importlib.import_module(f"vireid.engine.{_NAMES[name]}"), name)
