"""What cloth, hair, walls and floors share: tileable noise textures, and compiled arithmetic."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from vireid.synthetic.jit import jit

SIZE = 512
"""Pixels on a side of every texture; a power of two, so that wrapping is a mask."""


class Textures(NamedTuple):
    """Noise of period 1, mean 0 and deviation 1, float32.

    Attributes:
        soft, fine: (512, 512) cloudy and grainy noise.
        crease: (512, 512, 2) slope along u and v of broad folds.
    """

    soft: np.ndarray
    fine: np.ndarray
    crease: np.ndarray


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
def textures() -> Textures:
    """The textures, made once a process."""
    folds = _fractal(4, 0.5, 5)
    slopes = [np.roll(folds, -2, axis) - np.roll(folds, 2, axis) for axis in (1, 0)]
    crease = np.stack(slopes, -1)
    return Textures(
        soft=np.ascontiguousarray(_fractal(6, 0.55, 0)),
        fine=np.ascontiguousarray(_fractal(7, 0.85, 3)),
        crease=np.ascontiguousarray(crease / crease.std(), dtype=np.float32),
    )


@jit
def lookup(texture, u, v):
    """Nearest texel of one (512, 512) texture that repeats with period 1."""
    return texture[int(np.floor(v * SIZE)) & (SIZE - 1), int(np.floor(u * SIZE)) & (SIZE - 1)]


@jit
def fraction(x):
    """What is left above the next lower whole number, 0 to 1."""
    return x - np.floor(x)


@jit
def bump(x):
    """A bell of height 1 that is about 2 wide; cheaper than a Gaussian."""
    q = 1 + x * x
    return 1 / (q * q)


def lookup_many(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """`lookup` for arrays, in NumPy."""
    return texture[
        np.floor(v * SIZE).astype(np.int64) & (SIZE - 1),
        np.floor(u * SIZE).astype(np.int64) & (SIZE - 1),
    ]
