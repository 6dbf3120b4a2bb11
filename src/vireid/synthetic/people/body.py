"""The human body: a mesh with shape targets, bones and joints, read from `body.npz`.

Units are metres; y points up, z forward, x to the person's left; the rest pose stands with its
joints around the origin. Vertices are those of the MakeHuman base mesh with its helper geometry
(tights, skirt, hair), from which clothes are cut.

Source: base mesh, targets and rig of MakeHuman/MPFB2, CC0 1.0; compacted by tools/bake_body.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from vireid.synthetic.jit import jit

NUM_BODY_VERTICES = 13_380
"""Vertices before this one are skin; the rest are helpers."""


@dataclass(frozen=True, kw_only=True)
class BodyShape:
    """Macro weights of a body.

    Attributes:
        gender: 0 female to 1 male.
        age: 0 young adult to 1 old.
        muscle, weight: 0.1 to 0.9; beyond, the targets leave human sizes.
        height: -0.45 to 0.45, for the same reason.
        proportions: -1 uncommon to 1 ideal.
        ancestry: weights of the African, Asian and Caucasian targets, summing to 1.
    """

    gender: float
    age: float
    muscle: float
    weight: float
    height: float
    proportions: float
    ancestry: tuple[float, float, float]


@jit
def _add_basis(template, coefficients, basis):
    out = template.copy()
    for k in range(len(coefficients)):
        c = coefficients[k]
        for i in range(out.shape[0]):
            for j in range(3):
                out[i, j] += c * basis[k, i, j]
    return out


@jit
def vertex_normals(vertices, faces):
    """(V, 3) unit normals, area-weighted, of vertices (V, 3) under faces (F, 3)."""
    n = np.zeros_like(vertices)
    for t in range(len(faces)):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux = vertices[b, 0] - vertices[a, 0]
        uy = vertices[b, 1] - vertices[a, 1]
        uz = vertices[b, 2] - vertices[a, 2]
        wx = vertices[c, 0] - vertices[a, 0]
        wy = vertices[c, 1] - vertices[a, 1]
        wz = vertices[c, 2] - vertices[a, 2]
        x = uy * wz - uz * wy
        y = uz * wx - ux * wz
        z = ux * wy - uy * wx
        for k in range(3):
            i = faces[t, k]
            n[i, 0] += x
            n[i, 1] += y
            n[i, 2] += z
    for i in range(len(vertices)):
        length = np.sqrt(n[i, 0] * n[i, 0] + n[i, 1] * n[i, 1] + n[i, 2] * n[i, 2])
        scale = np.float32(1.0) / (length + np.float32(1e-12))
        for j in range(3):
            n[i, j] *= scale
    return n


def _triangles(quads: np.ndarray) -> np.ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


class Body:
    """The body model and what is precomputed on its template.

    Attributes:
        template: (V, 3) float32 rest vertices of the neutral body.
        bone: bone name → number; parent (B,) int, -1 for the root.
        influences: (V, 4) bone numbers, weights (V, 4) float32.
        faces: group name ("body", "tights", "skirt", "hair", "l-eye", …) → (F, 3) int32.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as data:
            self.template = np.ascontiguousarray(data["V"], dtype=np.float32)
            self._target_names = [str(name) for name in data["names"]]
            self._target_rows = data["US"].astype(np.float32)
            self._basis = np.ascontiguousarray(
                data["Vt"].astype(np.float32).reshape(-1, len(self.template), 3)
            )
            self.bone = {str(name): i for i, name in enumerate(data["bones"])}
            self.parent = data["par"].astype(np.int64)
            self._heads = data["heads"]
            self.influences = np.ascontiguousarray(data["idx4"], dtype=np.int64)
            self.weights = np.ascontiguousarray(data["w4"], dtype=np.float32)
            self.faces = {
                key[2:]: _triangles(data[key]) for key in data.files if key.startswith("f_")
            }

    def target_weights(self, shape: BodyShape) -> np.ndarray:
        """(192,) weights of the shape targets for macro weights: products of tent functions, as
        MakeHuman blends its macro targets."""
        gender = {"female": 1 - shape.gender, "male": shape.gender}
        age = {"young": 1 - shape.age, "old": shape.age}

        def tents(x: float, name: str) -> dict[str, float]:
            return {
                f"min{name}": max(0.0, 1 - 2 * x),
                f"average{name}": 1 - abs(2 * x - 1),
                f"max{name}": max(0.0, 2 * x - 1),
            }

        muscle, weight = tents(shape.muscle, "muscle"), tents(shape.weight, "weight")
        extra = {
            "minheight": max(0.0, -shape.height),
            "maxheight": max(0.0, shape.height),
            "idealproportions": max(0.0, shape.proportions),
            "uncommonproportions": max(0.0, -shape.proportions),
        }
        ancestry = dict(zip(("african", "asian", "caucasian"), shape.ancestry))
        out = np.zeros(len(self._target_names), np.float32)
        for i, name in enumerate(self._target_names):
            first, *rest = name.split("-")
            if first in ancestry:
                out[i] = ancestry[first] * gender[rest[0]] * age[rest[1]]
                continue
            keys = [*rest, ""] if first == "universal" else [first, *rest]
            product = gender[keys[0]] * age[keys[1]] * muscle[keys[2]] * weight[keys[3]]
            out[i] = product * (extra[keys[4]] if keys[4] else 1.0)
        return out

    def coefficients(self, shape: BodyShape) -> np.ndarray:
        """(48,) float32 weights of the compact basis. The sum is taken target by target, so that
        it does not depend on how many threads a matrix product would use."""
        return (self.target_weights(shape)[:, None] * self._target_rows).sum(0, dtype=np.float32)

    def shaped(self, shape: BodyShape) -> np.ndarray:
        """(V, 3) float32 rest vertices of a body."""
        return _add_basis(self.template, self.coefficients(shape), self._basis)

    def stature(self, shape: BodyShape) -> float:
        """Height in metres from soles to crown, without computing the whole mesh."""
        ends = self._ends
        y = self.template[ends, 1] + (
            self.coefficients(shape)[:, None] * self._basis[:, ends, 1]
        ).sum(0)
        return float(y.max() - y.min())

    @cached_property
    def _ends(self) -> np.ndarray:
        """Skin vertices near the crown or the soles of the template."""
        y = self.template[:NUM_BODY_VERTICES, 1]
        return np.flatnonzero((y > y.max() - 0.04) | (y < y.min() + 0.04))

    def joints(self, vertices: np.ndarray) -> np.ndarray:
        """(B, 3) heads of the bones in a shaped rest mesh."""
        return vertices[self._heads].mean(1)

    def bone_weight(self, *names: str) -> np.ndarray:
        """(V,) summed skinning weight of the named bones."""
        wanted = np.isin(self.influences, [self.bone[name] for name in names])
        return (self.weights * wanted).sum(1)


@lru_cache(maxsize=1)
def load_body() -> Body:
    """The body model of the package, read once a process."""
    return Body(Path(__file__).with_name("body.npz"))
