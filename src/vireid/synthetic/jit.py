"""The one way this room compiles: numba without fast-math, cached where the cache can be written.

Fast-math is off because it lets the last bits depend on the processor; division follows NumPy's
rules so that the NumPy twin of the rasteriser stays equal to the bit.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

import numba


def _point_cache_at_a_writable_folder() -> None:
    if os.environ.get("NUMBA_CACHE_DIR"):
        return  # the user has decided
    beside_the_source = Path(__file__).parent / "__pycache__"
    try:
        beside_the_source.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=beside_the_source):
            return
    except OSError:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            user = str(os.getpid())
        folder = Path(tempfile.gettempdir()) / f"vireid-numba-{user}"
        numba.config.CACHE_DIR = str(folder)


_point_cache_at_a_writable_folder()

jit = numba.njit(cache=True, nogil=True, error_model="numpy")
