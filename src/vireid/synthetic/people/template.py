"""What tailoring needs to know of the neutral body: where arms, legs and head are, and how cloth
coordinates run over it. Computed once a process."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vireid.synthetic.jit import jit
from vireid.synthetic.people.body import NUM_BODY_VERTICES, load_body, vertex_normals


class Template:
    """Per-vertex facts of the rest mesh; V vertices.

    Attributes:
        x, y, z: (V,) coordinates; front (V,): z of the normal.
        is_arm: (V,) bool; arm_distance (V,): metres from the shoulder along the arm, -1 off it.
        is_head: (V,) bool; head (V, 3): position relative to the middle of the head.
        coordinates: (V, 8) as `Mesh.coordinates`.
        skin_faces, eye_faces, scalp_faces, tights, skirt, hair: (F, 3) int32.
    """

    def __init__(self) -> None:
        body = load_body()
        rest, bone = body.template, body.bone
        count = len(rest)
        faces = body.faces
        normals = vertex_normals(
            rest, np.concatenate([faces["body"], faces["tights"], faces["skirt"], faces["hair"]])
        )
        joints = body.joints(rest)
        self.x, self.y, self.z = (np.ascontiguousarray(rest[:, i]) for i in range(3))
        self.front = normals[:, 2]
        self.arm_distance = np.full(count, -1.0, np.float32)
        across = self.x.copy()
        for side in "lr":
            names = [f"{name}_{side}" for name in ("upperarm", "lowerarm", "hand")]
            shoulder, elbow, wrist = (joints[bone[name]] for name in names)
            on_arm = body.bone_weight(*names) > 0.3
            on_forearm = body.bone_weight(*names[1:]) > 0.5
            upper, lower = np.linalg.norm(elbow - shoulder), np.linalg.norm(wrist - elbow)
            axis = (elbow - shoulder) / upper
            distance = np.where(
                on_forearm,
                upper + (rest - elbow) @ ((wrist - elbow) / lower),
                (rest - shoulder) @ axis,
            )
            self.arm_distance[on_arm] = distance[on_arm]
            across[on_arm] = ((rest - shoulder) @ np.array([-axis[1], axis[0], 0]))[on_arm]
        self.is_arm = self.arm_distance > -0.9
        up = np.where(self.is_arm, 0.53 - self.arm_distance, self.y)
        leg_side = np.abs(normals[:, 0]) * (np.abs(self.x) > 0.06)
        centre = joints[bone["head"]] + np.array([0, 0.06, 0.035])
        self.head = (rest - centre).astype(np.float32)
        self.is_head = body.bone_weight("head") > 0.6
        self.coordinates = np.concatenate(
            [np.stack([across, up, self.front, leg_side, self.is_arm], 1), self.head], 1
        ).astype(np.float32)
        skull = self.is_head & (self.head[:, 1] > -0.13) & (np.abs(rest[:, 2]) < 1)
        self.skin_faces = _within(faces["body"], np.arange(count) < NUM_BODY_VERTICES)
        self.eye_faces = np.concatenate([faces["l-eye"], faces["r-eye"]])
        self.scalp_faces = _within(faces["body"], skull)
        self.tights, self.skirt, self.hair = faces["tights"], faces["skirt"], faces["hair"]
        self._start, self._neighbour = _adjacency(self.tights, count)

    def smoothed(self, vertices: np.ndarray, rounds: int, strength: np.ndarray) -> np.ndarray:
        """`vertices` (V, 3) with the tights moved towards their neighbours' mean, so that cloth
        bridges the hollows of the body.

        Args:
            rounds: how often.
            strength: (V,) share of the way, 0 to 1.
        """
        return _smooth(vertices, self._start, self._neighbour, strength.astype(np.float32), rounds)


def _within(faces: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return faces[mask[faces].all(1)]


def _adjacency(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of each vertex as compressed rows: start (V + 1,), neighbour (E,)."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, 1), axis=0)
    edges = np.concatenate([edges, edges[:, ::-1]])
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    start = np.searchsorted(edges[:, 0], np.arange(count + 1))
    return start.astype(np.int64), np.ascontiguousarray(edges[:, 1], dtype=np.int64)


@jit
def _smooth(vertices, start, neighbour, strength, rounds):
    now = vertices.copy()
    for _ in range(rounds):
        before = now.copy()
        for i in range(len(vertices)):
            first, last = start[i], start[i + 1]
            if first == last or strength[i] == 0:
                continue
            share = strength[i]
            scale = np.float32(1.0) / np.float32(last - first)
            for j in range(3):
                total = np.float32(0)
                for e in range(first, last):
                    total += before[neighbour[e], j]
                now[i, j] += share * (total * scale - before[i, j])
    return now


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The template of the package's body, computed once a process."""
    return Template()
