"""Synthetic people: folders in the layouts of the real data sets, made from a seed.

Exports are lazy, so that asking for help compiles nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

_EXPORTS = {
    "write_dataset": "writer",
    "Summary": "writer",
    "render_person": "sheet",
    "contact_sheet": "sheet",
    "LAYOUTS": "layouts",
    "PRESETS": "preset",
    "sample_person": "identity",
    "Person": "identity",
    "V1": "v1",
    "regenerate_v1": "v1",
    "verify_v1": "v1",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
