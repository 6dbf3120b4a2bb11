"""Plain data of a dressed person, and the solids that bags, hats and umbrellas are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Part(IntEnum):
    """What a vertex belongs to; the row of the material table that shades it."""

    SKIN = 0
    BOTTOM = 1
    TOP = 2
    OUTER = 3
    SKIRT = 4
    HAIR = 5
    SHOE = 6
    BAG = 7
    HAT = 8
    EYE = 9
    SCARF = 10
    METAL = 11
    UMBRELLA = 12


NUM_PARTS = len(Part)


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """A dressed person at rest.

    Attributes:
        heads: (B, 3) float joints of the body.
        vertices: (V, 3) float32; faces (F, 3) int32.
        cut: (V,) float32; negative where nothing is drawn.
        part: (V,) int32, values of `Part`.
        double_sided: (F,) bool.
        influences: (V, 4) int64 bones; weights (V, 4) float32.
        coordinates: (V, 8) float32: across and up the cloth (metres), front-facing (-1 to 1),
            side of the leg (0 to 1), 1 on arms, and the position relative to the head (3).
    """

    heads: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    cut: np.ndarray
    part: np.ndarray
    double_sided: np.ndarray
    influences: np.ndarray
    weights: np.ndarray
    coordinates: np.ndarray


def superellipsoid(around: int, along: int, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (F, 3) of a unit solid: exponent 1 a ball, near 0 a box."""
    u = np.linspace(0, 2 * np.pi, around, endpoint=False)
    v = np.linspace(-np.pi / 2, np.pi / 2, along)

    def bend(c: np.ndarray) -> np.ndarray:
        return np.sign(c) * np.abs(c) ** exponent

    vv, uu = np.meshgrid(v, u, indexing="ij")
    vertices = np.stack(
        [
            bend(np.cos(vv)) * bend(np.cos(uu)),
            bend(np.sin(vv)),
            bend(np.cos(vv)) * bend(np.sin(uu)),
        ],
        -1,
    ).reshape(-1, 3)
    return vertices.astype(np.float32), _grid_faces(along, around)


def dome(around: int = 16, along: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A unit umbrella: the upper part of a flattened ball with a scalloped rim."""
    u = np.linspace(0, 2 * np.pi, around, endpoint=False)
    v = np.linspace(0.12, np.pi / 2, along)
    vv, uu = np.meshgrid(v, u, indexing="ij")
    rim = 1 - 0.06 * np.abs(np.sin(4 * uu)) * (vv < 0.3)
    vertices = np.stack(
        [np.cos(vv) * np.cos(uu) * rim, np.sin(vv), np.cos(vv) * np.sin(uu) * rim], -1
    ).reshape(-1, 3)
    return vertices.astype(np.float32), _grid_faces(along, around)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    faces = []
    for j in range(rows - 1):
        for i in range(columns):
            a, b = j * columns + i, j * columns + (i + 1) % columns
            faces += [[a, a + columns, b], [b, a + columns, b + columns]]
    return np.array(faces, np.int32)


BALL = superellipsoid(16, 11, 1.0)
BOX = superellipsoid(20, 11, 0.35)
ROD = superellipsoid(8, 5, 0.5)
DOME = dome()
