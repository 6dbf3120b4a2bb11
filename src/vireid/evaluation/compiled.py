"""How this room compiles: numba without Python's lock, kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable | None = None, **options: Any) -> Any:
    """Decorate a function to be compiled when first called, as `@compiled` or with options of
    `numba.njit`. Where compiled code can't be kept (a read-only installation without a home),
    each process compiles again, which takes seconds."""
    if function is None:
        return lambda function: compiled(function, **options)
    try:
        return njit(function, nogil=True, cache=True, error_model="numpy", **options)
    except RuntimeError:
        return njit(function, nogil=True, error_model="numpy", **options)
