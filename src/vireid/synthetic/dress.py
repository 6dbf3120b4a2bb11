"""Dresses a person: skin, clothes, hair and things carried become one mesh.

Clothes are the base mesh's helper surfaces, moved off the body and cut per pixel in template
coordinates: a vertex attribute `cut` that turns negative where the cloth ends. An inner layer is
cut where an outer one covers it, or it would poke through.

To add a garment: draw it in `identity`, give it a method here that calls `_add`, and a `Part` if
it needs a cloth of its own.
"""

from __future__ import annotations

import numpy as np

from vireid.synthetic.body import NUM_BODY_VERTICES, load_body, vertex_normals
from vireid.synthetic.identity import Person
from vireid.synthetic.mesh import BALL, BOX, DOME, ROD, Mesh, Part
from vireid.synthetic.noise import lookup_many, textures
from vireid.synthetic.pose import align, turn_x, turn_z
from vireid.synthetic.template import load_template

_NEVER = np.float32(-1.0)


def dress(person: Person) -> Mesh:
    """The mesh of a person at rest."""
    tailor = _Tailor(person)
    tailor.clothes()
    tailor.hair()
    tailor.hat()
    tailor.carried()
    return tailor.mesh()


class _Tailor:
    def __init__(self, person: Person) -> None:
        self.person = person
        self.body, self.t = load_body(), load_template()
        t = self.t
        self.rest = self.body.shaped(person.shape)
        self.normal = vertex_normals(
            self.rest, np.concatenate([self.body.faces["body"], t.tights, t.skirt, t.hair])
        )
        self.heads = self.body.joints(self.rest)
        self.count = len(self.rest)
        self.pieces: list[tuple[np.ndarray, ...]] = []
        self.num_vertices = 0
        self.crown = float(self.rest[:NUM_BODY_VERTICES, 1].max())
        on_head = t.is_head & (np.arange(self.count) < NUM_BODY_VERTICES)
        self.head_middle = self.rest[on_head].mean(0)

    # Pieces of the mesh

    def _add(self, vertices, faces, cut, part: Part, double_sided: bool = True) -> None:
        """Add faces of the base mesh with moved vertices (V, 3) and a cut (V,)."""
        faces = faces[(cut[faces] >= 0).any(1)]
        if not len(faces):
            return
        used, faces = np.unique(faces, return_inverse=True)
        self._append(
            vertices[used],
            faces.reshape(-1, 3),
            cut[used],
            part,
            self.body.influences[used],
            self.body.weights[used],
            self.t.coordinates[used],
            double_sided,
        )

    def _add_solid(self, solid, centre, size, bone: str, part: Part, turn=None) -> None:
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
        self._append(
            vertices, faces, np.ones(n, np.float32), part, influences, weights, coordinates, True
        )

    def _append(self, vertices, faces, cut, part, influences, weights, coordinates, double_sided):
        self.pieces.append(
            (
                vertices.astype(np.float32),
                (faces + self.num_vertices).astype(np.int32),
                cut.astype(np.float32),
                np.full(len(vertices), part, np.int32),
                np.full(len(faces), double_sided),
                influences,
                weights,
                coordinates,
            )
        )
        self.num_vertices += len(vertices)

    def mesh(self) -> Mesh:
        columns = [np.ascontiguousarray(np.concatenate(column)) for column in zip(*self.pieces)]
        names = (
            "vertices",
            "faces",
            "cut",
            "part",
            "double_sided",
            "influences",
            "weights",
            "coordinates",
        )
        return Mesh(heads=self.heads, **dict(zip(names, columns)))

    def _out(self, vertices, distance) -> np.ndarray:
        return vertices + self.normal * np.broadcast_to(distance, self.count)[:, None]

    # Clothes

    def clothes(self) -> None:
        p, t = self.person, self.t
        y, front, arm = t.y, t.front, t.is_arm
        never = np.full(self.count, _NEVER)
        on_front = front > 0
        skirt_worn, trousers = p.lower == "skirt", p.lower != "skirt"
        wave = lookup_many(textures()[0], t.x * 1.3 + p.offset, y * 1.3) * 0.003

        top = np.minimum(np.where(arm, p.sleeve - t.arm_distance, 1), y - p.hem)
        top = np.minimum(
            top, np.where(on_front, (0.575 - p.neckline) + np.abs(t.x) * 0.4 - y, 0.6 - y)
        )
        if trousers:
            legs = np.minimum(0.13 - y, y - p.leg_end)
        else:
            legs = np.minimum(0.13 - y, y + 0.74) if p.leggings else never
        skirt = np.minimum(0.14 - y, y - p.skirt_end) if skirt_worn else never
        shoe = -0.735 + p.shoe.edge * 0.2 - y
        outer = coat = never
        if p.outer_kind != "none":
            end = 0.0 if p.outer_kind == "coat" else -0.02
            outer = np.minimum(np.where(arm, 0.45 - t.arm_distance, 1), y - end)
            outer = np.minimum(outer, 0.61 - y)
            opening = (
                0.035 + 0.07 * np.clip(y + 0.05, 0, 1)
                if p.outer_kind == "open_jacket"
                else 0.11 * np.maximum(0, y - 0.25)
            )
            outer = np.minimum(outer, np.where(on_front, np.abs(t.x) - opening, 1))
        if p.outer_kind == "coat":
            coat = np.minimum(0.1 - y, y - p.coat_end)
        draped = np.where(arm, _NEVER, np.maximum(skirt, coat) - 0.03)
        covered = np.maximum.reduce([top, legs, np.minimum(shoe, 1), outer, draped])
        self._add(
            self.rest,
            t.skin_faces,
            (0.022 - covered).astype(np.float32),
            Part.SKIN,
            double_sided=False,
        )
        self._add(
            self.rest, t.eye_faces, np.ones(self.count, np.float32), Part.EYE, double_sided=False
        )
        if trousers or p.leggings:
            self._trousers(legs, draped, np.where(arm, _NEVER, np.maximum(top, outer)), wave)
        self._upper(top, outer, draped, wave)
        if p.outer_kind == "coat":
            tail = np.minimum(coat, np.where(on_front, np.abs(t.x) - 0.004, 1))
            self._add(self._draped(0.030, 0.10 + 0.25 * p.flare), t.skirt, tail, Part.OUTER)
        if skirt_worn:
            self._add(self._draped(0.006, p.flare), t.skirt, skirt, Part.SKIRT)
        ankle = shoe - 0.04 if p.lower in ("skirt", "shorts") and p.leggings else shoe
        self._add(self._out(self.rest, 0.010 + 0.012 * (y < -0.79)), t.tights, ankle, Part.SHOE)
        if p.neck == "scarf":
            self._scarf()

    def _trousers(self, legs, draped, above, wave) -> None:
        p, y = self.person, self.t.y
        down = np.clip(-y / 0.75, 0, 1)
        rounds = {"slim": 0, "trousers": 8, "wide": 24}.get(p.lower, 8)
        vertices = self.t.smoothed(
            self.rest, rounds, np.where(self.t.is_arm, 0, 0.6 * np.clip((-y - 0.05) / 0.1, 0, 1))
        )
        distance = (
            p.leg_loose * np.clip((0.1 - y) * 6, 0.25, 1)
            + p.leg_flare * down
            + wave * (p.leg_loose > 0.01)
        )
        # Cloth hangs: it goes out sideways, not up or down with the normal.
        sideways = self.normal * np.array([1, 0.3, 1], np.float32)
        cut = np.minimum.reduce([legs, 0.02 - draped, 0.015 - above])
        self._add(vertices + sideways * distance[:, None], self.t.tights, cut, Part.BOTTOM)

    def _upper(self, top, outer, draped, wave) -> None:
        p, t = self.person, self.t
        y, arm = t.y, t.is_arm
        belly = np.clip((0.56 - y) / 0.06, 0, 1)  # not over the shoulders
        waist = 0.014 * (y < 0.12) * (y > -0.3) * ~arm
        distance = p.loose * np.clip(1.2 - np.abs(y - 0.2), 0.5, 1) + wave + 0.004 + waist
        hem_folds = (
            0.006
            * p.folds
            * np.clip((0.2 - y) / 0.3, 0, 1)
            * np.sin(p.fold_count * np.arctan2(t.x, t.z + 0.02) + 6 * p.offset)
        )
        distance = distance + np.where(arm, 0, hem_folds)
        inner = self.t.smoothed(self.rest, 10, np.where(arm, 0.15, 0.6) * belly)
        cut = np.where(y < 0.06, np.minimum(top, 0.02 - draped), top)
        self._add(
            self._out(inner, distance + 0.003), t.tights, np.minimum(cut, 0.03 - outer), Part.TOP
        )
        if p.outer_kind != "none":
            shell = self.t.smoothed(self.rest, 22, np.where(arm, 0.2, 0.7) * belly)
            self._add(
                self._out(shell, distance + 0.016 + np.where(arm, 0.002, 0.004)),
                t.tights,
                outer,
                Part.OUTER,
            )
            if p.hood:
                neck = self.heads[self.body.bone["neck_01"]]
                self._add_solid(
                    BALL,
                    [0, neck[1] - 0.04, neck[2] - 0.075],
                    [0.115, 0.075, 0.06],
                    "spine_03",
                    Part.OUTER,
                    turn_x(0.4),
                )

    def _draped(self, distance: float, flare: float) -> np.ndarray:
        """The skirt helper widened downwards and thrown into free folds."""
        p, y = self.person, self.t.y
        out = self._out(self.rest, distance)
        centre = self.rest[self.t.skirt].mean((0, 1))
        below = np.clip(0.1 - y, 0, 1)
        around = np.arctan2(out[:, 0] - centre[0], out[:, 2] - centre[2])
        fold = np.sin(p.fold_count * around + 9 * p.offset) + 0.4 * np.sin(
            (p.fold_count // 2 + 1) * around + 20 * p.offset
        )
        widen = 1 + flare * below + 0.28 * p.folds * (0.3 + flare) * below * fold
        for axis in (0, 2):
            out[:, axis] = centre[axis] + (out[:, axis] - centre[axis]) * widen
        return out

    def _scarf(self) -> None:
        p, neck = self.person, self.heads[self.body.bone["neck_01"]]
        self._add_solid(
            BALL,
            [0, neck[1] + 0.015, neck[2] + 0.015],
            [0.098, 0.048, 0.095],
            "neck_01",
            Part.SCARF,
            turn_x(0.25),
        )
        self._add_solid(
            BOX,
            [0.045 * p.bag_side, neck[1] - 0.17, neck[2] + 0.125],
            [0.042, 0.17, 0.018],
            "spine_03",
            Part.SCARF,
            turn_x(-0.12),
        )

    # Head

    def hair(self) -> None:
        p, t, head = self.person, self.t, self.t.head
        kind, thick, line = p.hair, p.hair_thickness, p.hairline
        if p.hat in ("cap", "brim"):
            thick, kind = 0.006, {"afro": "short", "curly": "bob", "bun": "pony"}.get(kind, kind)
        soft = textures()[0]
        if kind != "bald" and p.hat != "beanie":
            # In front the forehead shows, at the sides the ears, behind it grows to the nape.
            limit = np.interp(
                head[:, 2] / 0.07,
                [-1, -0.55, -0.25, 0.15, 0.45, 0.8, 1.1],
                [-0.125, -0.1, -0.035, -0.045, 0.0, 0.035 + line, 0.052 + line],
            )
            limit = limit - (0.02 if kind in ("mid", "bob", "long", "curly") else 0)
            limit = limit + 0.008 * lookup_many(soft, t.x * 5 + p.offset, t.y * 5)
            cut = head[:, 1] - limit
            volume = {
                "buzz": 0.004,
                "short": thick,
                "mid": thick * 1.3,
                "afro": 0.055,
                "curly": 0.04,
                "bob": thick * 1.1,
                "long": thick,
                "pony": 0.008,
                "bun": 0.008,
            }[kind]
            rough = 0.5 if kind in ("afro", "curly") else 0.25
            bump = 1 + rough * lookup_many(soft, t.x * 6 + p.offset * 3, t.z * 6 + t.y * 4)
            vertices = self._out(self.rest, volume * np.clip(cut / 0.05, 0.25, 1) * bump)
            vertices[:, 1] += volume * 0.5 * np.clip(cut / 0.06, 0, 1)
            self._add(vertices, t.scalp_faces, np.where(t.is_head, cut, _NEVER), Part.HAIR)
        if kind in ("long", "bob", "curly") and p.hat != "beanie":
            end = t.y.max() - p.hair_length if kind == "long" else 0.615 + line
            cut = np.minimum(t.y - end, np.where(t.z > 0.07, np.abs(t.x) - (0.058 + line), 1))
            cut = np.minimum(cut, np.where((t.z > 0.045) & (t.y < 0.68), np.abs(t.x) - 0.07, 1))
            puff = 0.006 + (
                0.022 * (1 + lookup_many(soft, t.x * 5, t.y * 5)) if kind == "curly" else 0
            )
            self._add(self._out(self.rest, puff), t.hair, cut, Part.HAIR)
        behind = self.head_middle[2]
        if kind == "pony":
            self._add_solid(
                BALL,
                [0, self.crown - 0.10, behind - 0.135],
                [0.032, 0.035, 0.04],
                "head",
                Part.HAIR,
            )
            self._add_solid(
                BALL,
                [0, self.crown - 0.24, behind - 0.16],
                [0.03, 0.4 * p.hair_length, 0.035],
                "head",
                Part.HAIR,
            )
        if kind == "bun":
            self._add_solid(
                BALL,
                [0, self.crown - 0.05, behind - 0.115],
                [0.05, 0.048, 0.048],
                "head",
                Part.HAIR,
            )

    def hat(self) -> None:
        p, head = self.person, self.t.head
        if p.hat == "none":
            return
        cut = head[:, 1] - np.where(head[:, 2] > 0, 0.035, 0.01)
        tall = 0.02 * (p.hat == "beanie") * np.clip(head[:, 1] / 0.1, 0, 1)
        self._add(
            self._out(self.rest, 0.024 + tall),
            self.t.scalp_faces,
            np.where(self.t.is_head, cut, _NEVER),
            Part.HAT,
        )
        middle = self.head_middle[2]
        if p.hat == "cap":
            self._add_solid(
                BALL,
                [0, self.crown - 0.085, middle + 0.13],
                [0.075, 0.01, 0.085],
                "head",
                Part.HAT,
                turn_x(0.15),
            )
        if p.hat == "brim":
            self._add_solid(
                BALL,
                [0, self.crown - 0.085, middle + 0.005],
                [0.17, 0.012, 0.19],
                "head",
                Part.HAT,
                turn_x(0.08),
            )

    # Things carried

    def carried(self) -> None:
        p, bone, size = self.person, self.body.bone, self.person.bag_size
        rest, t = self.rest, self.t
        letter = "l" if p.bag_side > 0 else "r"
        hand, elbow = self.heads[bone[f"hand_{letter}"]], self.heads[bone[f"lowerarm_{letter}"]]
        forearm = (hand - elbow) / np.linalg.norm(hand - elbow)
        if p.bag == "backpack":
            chest = (np.abs(t.y) > 0.25) & (np.abs(t.y - 0.35) < 0.1) & (np.abs(t.x) < 0.1)
            back = rest[:NUM_BODY_VERTICES][chest[:NUM_BODY_VERTICES], 2].min()
            y = self.heads[bone["spine_03"]][1] + 0.02
            self._add_solid(
                BOX,
                [0, y, back - 0.10 * size],
                [0.145 * size, 0.215 * size, 0.09 * size],
                "spine_03",
                Part.BAG,
            )
            self._add_solid(
                BOX,
                [0, y - 0.08, back - 0.19 * size],
                [0.11 * size, 0.1 * size, 0.035 * size],
                "spine_03",
                Part.BAG,
            )
        if p.bag == "shoulder":
            near = t.tights[np.abs(t.y[t.tights] - 0.05) < 0.05]
            hip = self.heads[bone["thigh_l"]]
            self._add_solid(
                BOX,
                [p.bag_side * (np.abs(rest[near, 0]).max() + 0.055), hip[1] - 0.02, 0],
                [0.055 * size, 0.11 * size, 0.15 * size],
                "pelvis",
                Part.BAG,
            )
        if p.bag == "hand":
            self._add_solid(
                BOX,
                hand + forearm * 0.32 * size,
                [0.05 * size, 0.14 * size, 0.15 * size],
                f"hand_{letter}",
                Part.BAG,
                align(np.array([0, -1.0, 0]), forearm),
            )
        if p.bag == "trolley":
            self._trolley(size)
        if p.bag == "box":  # held before the belly; the pose bends the arms
            y, z = self.heads[bone["spine_01"]][1] + 0.1, rest[:NUM_BODY_VERTICES, 2].max()
            self._add_solid(
                BOX,
                [0, y, z + 0.10 * size],
                [0.19 * size, 0.12 * size, 0.13 * size],
                "spine_01",
                Part.BAG,
            )
        if p.umbrella:
            self._umbrella("r" if letter == "l" else "l")

    def _trolley(self, size: float) -> None:
        """A suitcase pulled behind; fixed to the pelvis, which barely turns."""
        side, ground = self.person.bag_side, float(self.rest[:NUM_BODY_VERTICES, 1].min())
        lean = turn_x(0.5)
        self._add_solid(
            BOX,
            [side * 0.30, ground + 0.34 * size, -0.52],
            [0.19 * size, 0.29 * size, 0.12 * size],
            "pelvis",
            Part.BAG,
            lean,
        )
        self._add_solid(
            ROD,
            [side * 0.30, ground + 0.68 * size, -0.33],
            [0.016, 0.20, 0.016],
            "pelvis",
            Part.METAL,
            lean,
        )

    def _umbrella(self, letter: str) -> None:
        """Fixed to the chest; hidden in views where the person does not hold it up."""
        shoulder = self.heads[self.body.bone[f"upperarm_{letter}"]]
        side = 1 if letter == "l" else -1
        x, z = shoulder[0] * 0.9, shoulder[2] + 0.22
        tilt = turn_z(-side * 0.12)
        self._add_solid(
            DOME,
            [x * 0.6, self.crown + 0.12, z - 0.08],
            [0.50, 0.24, 0.50],
            "spine_03",
            Part.UMBRELLA,
            tilt,
        )
        self._add_solid(
            ROD, [x, self.crown - 0.12, z], [0.011, 0.42, 0.011], "spine_03", Part.UMBRELLA, tilt
        )
