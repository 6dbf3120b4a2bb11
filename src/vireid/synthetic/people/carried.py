"""Bags, boxes, suitcases and umbrellas: solids fixed to one bone."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.people.body import NUM_BODY_VERTICES
from vireid.synthetic.people.mesh import BOX, DOME, ROD, Part
from vireid.synthetic.people.pose import align, turn_x, turn_z
from vireid.synthetic.people.tailor import Tailor


def carried(tailor: Tailor) -> None:
    p, bone, size = tailor.person, tailor.body.bone, tailor.person.bag_size
    rest, t = tailor.rest, tailor.t
    letter = "l" if p.bag_side > 0 else "r"
    hand, elbow = tailor.heads[bone[f"hand_{letter}"]], tailor.heads[bone[f"lowerarm_{letter}"]]
    forearm = (hand - elbow) / np.linalg.norm(hand - elbow)
    if p.bag == "backpack":
        chest = (np.abs(t.y) > 0.25) & (np.abs(t.y - 0.35) < 0.1) & (np.abs(t.x) < 0.1)
        back = rest[:NUM_BODY_VERTICES][chest[:NUM_BODY_VERTICES], 2].min()
        y = tailor.heads[bone["spine_03"]][1] + 0.02
        tailor.add_solid(
            BOX,
            [0, y, back - 0.10 * size],
            [0.145 * size, 0.215 * size, 0.09 * size],
            "spine_03",
            Part.BAG,
        )
        tailor.add_solid(
            BOX,
            [0, y - 0.08, back - 0.19 * size],
            [0.11 * size, 0.1 * size, 0.035 * size],
            "spine_03",
            Part.BAG,
        )
    if p.bag == "shoulder":
        near = t.tights[np.abs(t.y[t.tights] - 0.05) < 0.05]
        hip = tailor.heads[bone["thigh_l"]]
        tailor.add_solid(
            BOX,
            [p.bag_side * (np.abs(rest[near, 0]).max() + 0.055), hip[1] - 0.02, 0],
            [0.055 * size, 0.11 * size, 0.15 * size],
            "pelvis",
            Part.BAG,
        )
    if p.bag == "hand":
        tailor.add_solid(
            BOX,
            hand + forearm * 0.32 * size,
            [0.05 * size, 0.14 * size, 0.15 * size],
            f"hand_{letter}",
            Part.BAG,
            align(np.array([0, -1.0, 0]), forearm),
        )
    if p.bag == "trolley":
        _trolley(tailor, size)
    if p.bag == "box":  # held before the belly; the pose bends the arms
        y, z = tailor.heads[bone["spine_01"]][1] + 0.1, rest[:NUM_BODY_VERTICES, 2].max()
        tailor.add_solid(
            BOX,
            [0, y, z + 0.10 * size],
            [0.19 * size, 0.12 * size, 0.13 * size],
            "spine_01",
            Part.BAG,
        )
    if p.umbrella:
        _umbrella(tailor, "r" if letter == "l" else "l")


def _trolley(tailor: Tailor, size: float) -> None:
    """A suitcase pulled behind; fixed to the pelvis, which barely turns."""
    side, ground = tailor.person.bag_side, float(tailor.rest[:NUM_BODY_VERTICES, 1].min())
    lean = turn_x(0.5)
    tailor.add_solid(
        BOX,
        [side * 0.30, ground + 0.34 * size, -0.52],
        [0.19 * size, 0.29 * size, 0.12 * size],
        "pelvis",
        Part.BAG,
        lean,
    )
    tailor.add_solid(
        ROD,
        [side * 0.30, ground + 0.68 * size, -0.33],
        [0.016, 0.20, 0.016],
        "pelvis",
        Part.METAL,
        lean,
    )


def _umbrella(tailor: Tailor, letter: str) -> None:
    """Fixed to the chest; hidden in views where the person does not hold it up."""
    shoulder = tailor.heads[tailor.body.bone[f"upperarm_{letter}"]]
    side = 1 if letter == "l" else -1
    x, z = shoulder[0] * 0.9, shoulder[2] + 0.22
    tilt = turn_z(-side * 0.12)
    tailor.add_solid(
        DOME,
        [x * 0.6, tailor.crown + 0.12, z - 0.08],
        [0.50, 0.24, 0.50],
        "spine_03",
        Part.UMBRELLA,
        tilt,
    )
    tailor.add_solid(
        ROD, [x, tailor.crown - 0.12, z], [0.011, 0.42, 0.011], "spine_03", Part.UMBRELLA, tilt
    )
