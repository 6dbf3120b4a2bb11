"""The one way this room compiles: numba without fast-math, cached where a cache can be written.

Fast-math is off because it lets the last bits depend on the processor; division follows NumPy's
rules so that the NumPy twin of the rasteriser stays equal to the bit.

numba notices when a cached function's own file has changed, but not when a function that it calls
has. So the cache folder is named after all sources of this room.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba

_HERE = Path(__file__).parent


@lru_cache(maxsize=1)
def cache_folder() -> Path:
    """Where compiled code is kept: under $NUMBA_CACHE_DIR, beside the sources, in the user's
    cache folder, or, where none of these can be written, in a new private folder. (Never in one
    that others could have filled: numba loads what it finds.)"""
    digest = hashlib.sha256()
    for source in sorted(_HERE.rglob("*.py")):
        digest.update(source.read_bytes())
    name = f"numba-{digest.hexdigest()[:16]}"
    stated = os.environ.get("NUMBA_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vireid"
    for base in (Path(stated) if stated else None, _HERE / "__pycache__", user):
        if base is not None and _is_writable(base):
            return base / name
    return Path(tempfile.mkdtemp(prefix="vireid-")) / name


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


_config: Any = numba.config


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called."""
    before = _config.CACHE_DIR  # read by numba when it decorates
    _config.CACHE_DIR = str(cache_folder())
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        _config.CACHE_DIR = before
