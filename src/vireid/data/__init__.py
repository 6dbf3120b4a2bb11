"""Folders on disk as samples, protocols, decoded pixels and training batches.

A data set is added by one file with a function `load(root, *, trial, split_seed,
camera_pattern) -> Dataset`, one line in `DATASETS` and one test.
"""

from __future__ import annotations

import importlib
from typing import Any

DATASETS = {
    "sysu": "vireid.data.sysu_mm01:load",
    "regdb": "vireid.data.regdb:load",
    "llcm": "vireid.data.llcm:load",
    "folder": "vireid.data.folder:load",
}
ALIASES = {"sysu-mm01": "sysu", "sysumm01": "sysu", "own": "folder", "csv": "folder"}

# Public name → module; imported when first used, so that `--help` needs neither NumPy nor torch.
_EXPORTS = {
    "Augment": "augment",
    "AugmentOptions": "options",
    "Dataset": "protocol",
    "IdentitySampler": "sampler",
    "PixelStore": "pixels",
    "ProtocolOptions": "protocol",
    "TrainingRows": "protocol",
    "Trial": "protocol",
    "decode": "pixels",
    "load_dataset": "registry",
    "normalise": "augment",
    "prepare": "pixels",
    "rank_columns": "sampler",
    "training_rows": "protocol",
    "trials": "gallery",
    "without": "protocol",
    "write_published_npy": "published",
}

__all__ = ["ALIASES", "DATASETS", *sorted(_EXPORTS)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'vireid.data' has no attribute '{name}'")
    return getattr(importlib.import_module(f"vireid.data.{_EXPORTS[name]}"), name)
