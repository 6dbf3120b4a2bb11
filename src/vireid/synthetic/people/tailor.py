"""Puts pieces of cloth and solids on a body and joins them into one mesh."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.people.body import NUM_BODY_VERTICES, load_body, vertex_normals
from vireid.synthetic.people.mesh import Mesh, Part
from vireid.synthetic.people.person import Person
from vireid.synthetic.people.template import load_template

NEVER = np.float32(-1.0)
"""A cut that draws nothing."""


class Tailor:
    """A person's body at rest, and the pieces of the mesh so far.

    Attributes:
        person, body, t: who, the body model, its template.
        rest: (V, 3) the bare body; normal (V, 3); heads (B, 3): its joints.
        crown: height of the head's top; head_middle (3,).
    """

    def __init__(self, person: Person) -> None:
        self.person = person
        self.body, self.t = load_body(), load_template()
        t = self.t
        self.rest = self._with_closed_hands(self.body.shaped(person.shape))
        self.normal = vertex_normals(
            self.rest, np.concatenate([self.body.faces["body"], t.tights, t.skirt, t.hair])
        )
        self.heads = self.body.joints(self.rest)
        self.count = len(self.rest)
        self.pieces: list[dict[str, np.ndarray]] = []
        self.num_vertices = 0
        self.crown = float(self.rest[:NUM_BODY_VERTICES, 1].max())
        on_head = t.is_head & (np.arange(self.count) < NUM_BODY_VERTICES)
        self.head_middle = self.rest[on_head].mean(0)

    def _with_closed_hands(self, rest: np.ndarray) -> np.ndarray:
        """The base mesh spreads its fingers; draw them towards the hand's axis, as they hang."""
        rest = rest.copy()
        joints = self.body.joints(rest)
        for side in "lr":
            wrist = joints[self.body.bone[f"hand_{side}"]]
            of_hand = np.flatnonzero(self.body.bone_weight(f"hand_{side}") > 0.5)
            offset = rest[of_hand] - wrist
            axis = offset[:NUM_BODY_VERTICES].mean(0)
            axis /= np.linalg.norm(axis)
            along = offset @ axis
            beside = offset - along[:, None] * axis
            closed = 1 - 0.5 * np.clip((along - 0.05) / 0.08, 0, 1)
            shorter = along - 0.12 * np.clip(along - 0.08, 0, 1)
            rest[of_hand] = (wrist + shorter[:, None] * axis + beside * closed[:, None]).astype(
                np.float32
            )
        return rest

    def joint(self, bone: str) -> np.ndarray:
        """(3,) where a bone starts."""
        return self.heads[self.body.bone[bone]]

    # Pieces of the mesh

    def add(self, vertices, faces, cut, part: Part, double_sided: bool = True) -> None:
        """Add faces of the base mesh with moved vertices (V, 3) and a cut (V,)."""
        faces = faces[(cut[faces] >= 0).any(1)]
        if not len(faces):
            return
        used, faces = np.unique(faces, return_inverse=True)
        skin = self.body.influences[used], self.body.weights[used], self.t.coordinates[used]
        self._append(vertices[used], faces.reshape(-1, 3), cut[used], part, *skin, double_sided)

    def add_solid(self, solid, centre, size, bone: str, part: Part, turn=None) -> None:
        """Add a solid of `mesh`, scaled by half sizes (3,), turned, moved, fixed to a bone."""
        local, faces = solid
        local = local * np.asarray(size, np.float32)
        vertices = (local if turn is None else local @ np.asarray(turn, np.float32).T) + np.asarray(
            centre, np.float32
        )
        n = len(local)
        influences = np.zeros((n, 4), np.int64)
        influences[:, 0] = self.body.bone[bone]
        weights = np.zeros((n, 4), np.float32)
        weights[:, 0] = 1
        coordinates = np.zeros((n, 8), np.float32)
        coordinates[:, :2] = local[:, :2]
        coordinates[:, 1] += 0.3  # patterns are drawn about chest height
        coordinates[:, 2] = np.sign(local[:, 2])
        coordinates[:, 5:] = local
        skin = influences, weights, coordinates
        self._append(vertices, faces, np.ones(n, np.float32), part, *skin, double_sided=True)

    def _append(self, vertices, faces, cut, part, influences, weights, coordinates, double_sided):
        piece = {
            "vertices": vertices.astype(np.float32),
            "faces": (faces + self.num_vertices).astype(np.int32),
            "cut": cut.astype(np.float32),
            "part": np.full(len(vertices), part, np.int32),
            "double_sided": np.full(len(faces), double_sided),
            "influences": influences,
            "weights": weights,
            "coordinates": coordinates,
        }
        self.pieces.append(piece)
        self.num_vertices += len(vertices)

    def mesh(self) -> Mesh:
        """All pieces as one mesh."""
        columns = {
            name: np.ascontiguousarray(np.concatenate([piece[name] for piece in self.pieces]))
            for name in self.pieces[0]
        }
        return Mesh(heads=self.heads, **columns)

    def out(self, vertices, distance) -> np.ndarray:
        """`vertices` (V, 3) moved along the normals by `distance`, one or (V,) metres."""
        return vertices + self.normal * np.broadcast_to(distance, self.count)[:, None]
