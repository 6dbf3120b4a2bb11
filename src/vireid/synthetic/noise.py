"""Tileable noise textures that cloth, hair, walls and floors share."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from vireid.synthetic.jit import jit

SIZE = 512
"""Pixels on a side of every texture; a power of two, so that wrapping is a mask."""


def _fractal(octaves: int, persistence: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out, amplitude = np.zeros((SIZE, SIZE), np.float32), 1.0
    for octave in range(octaves):
        cells = 4 * 2**octave
        grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
        scale = SIZE // cells
        fine = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        edge = 2 * scale
        out += amplitude * fine[edge : edge + SIZE, edge : edge + SIZE]
        amplitude *= persistence
    return (out - out.mean()) / out.std()


@lru_cache(maxsize=1)
def textures() -> np.ndarray:
    """(4, 512, 512) float32, each of mean 0 and deviation 1: soft noise, fine noise, and the
    horizontal and vertical slope of the soft one (for creases)."""
    soft = _fractal(6, 0.55, 0)
    fine = _fractal(7, 0.85, 3)
    slope_u = np.roll(soft, -2, 1) - np.roll(soft, 2, 1)
    slope_v = np.roll(soft, -2, 0) - np.roll(soft, 2, 0)
    scale = np.stack([slope_u, slope_v]).std()
    return np.ascontiguousarray(
        np.stack([soft, fine, slope_u / scale, slope_v / scale]), dtype=np.float32
    )


@jit
def lookup(texture, u, v):
    """Nearest texel of one (512, 512) texture that repeats with period 1."""
    return texture[int(np.floor(v * SIZE)) & (SIZE - 1), int(np.floor(u * SIZE)) & (SIZE - 1)]


def lookup_many(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """`lookup` for arrays, in NumPy."""
    return texture[
        np.floor(v * SIZE).astype(np.int64) & (SIZE - 1),
        np.floor(u * SIZE).astype(np.int64) & (SIZE - 1),
    ]
