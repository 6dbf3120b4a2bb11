"""What is worn or carried as solids fixed to one bone: bags, umbrellas, scarves, brims."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.people.body import NUM_BODY_VERTICES
from vireid.synthetic.people.mesh import BALL, BOX, DOME, ROD, Part
from vireid.synthetic.people.pose import align, turn_x, turn_z
from vireid.synthetic.people.tailor import Tailor


def backpack(tailor: Tailor) -> None:
    t, size = tailor.t, tailor.person.bag_size
    chest = (np.abs(t.y) > 0.25) & (np.abs(t.y - 0.35) < 0.1) & (np.abs(t.x) < 0.1)
    back = tailor.rest[:NUM_BODY_VERTICES][chest[:NUM_BODY_VERTICES], 2].min()
    y = tailor.joint("spine_03")[1] + 0.02
    for centre, half in (
        ([0, y, back - 0.10 * size], [0.145 * size, 0.215 * size, 0.09 * size]),
        ([0, y - 0.08, back - 0.19 * size], [0.11 * size, 0.1 * size, 0.035 * size]),
    ):
        tailor.add_solid(BOX, centre, half, "spine_03", Part.BAG)


def shoulder_bag(tailor: Tailor) -> None:
    t, size = tailor.t, tailor.person.bag_size
    near = t.tights[np.abs(t.y[t.tights] - 0.05) < 0.05]
    x = tailor.person.bag_side * (np.abs(tailor.rest[near, 0]).max() + 0.055)
    centre = [x, tailor.joint("thigh_l")[1] - 0.02, 0]
    tailor.add_solid(BOX, centre, [0.055 * size, 0.11 * size, 0.15 * size], "pelvis", Part.BAG)


def handbag(tailor: Tailor) -> None:
    letter, size = "l" if tailor.person.bag_side > 0 else "r", tailor.person.bag_size
    hand, elbow = tailor.joint(f"hand_{letter}"), tailor.joint(f"lowerarm_{letter}")
    forearm = (hand - elbow) / np.linalg.norm(hand - elbow)
    tailor.add_solid(
        BOX,
        hand + forearm * 0.32 * size,
        [0.05 * size, 0.14 * size, 0.15 * size],
        f"hand_{letter}",
        Part.BAG,
        align(np.array([0, -1.0, 0]), forearm),
    )


def trolley(tailor: Tailor) -> None:
    """A suitcase pulled along; fixed to the pelvis, which barely turns."""
    x, size = tailor.person.bag_side * 0.30, tailor.person.bag_size
    ground = float(tailor.rest[:NUM_BODY_VERTICES, 1].min())
    for solid, part, centre, half in (
        (BOX, Part.BAG, [x, ground + 0.34 * size, -0.52], [0.19 * size, 0.29 * size, 0.12 * size]),
        (ROD, Part.METAL, [x, ground + 0.68 * size, -0.33], [0.016, 0.20, 0.016]),
    ):
        tailor.add_solid(solid, centre, half, "pelvis", part, turn_x(0.5))


def box(tailor: Tailor) -> None:
    """Held before the belly; the pose bends the arms."""
    size = tailor.person.bag_size
    y, z = tailor.joint("spine_01")[1] + 0.1, tailor.rest[:NUM_BODY_VERTICES, 2].max()
    centre = [0, y, z + 0.10 * size]
    tailor.add_solid(BOX, centre, [0.19 * size, 0.12 * size, 0.13 * size], "spine_01", Part.BAG)


def umbrella(tailor: Tailor) -> None:
    """Fixed to the chest, on the side without a bag; hidden in views where it isn't held up."""
    side = -tailor.person.bag_side
    shoulder = tailor.joint("upperarm_l" if side > 0 else "upperarm_r")
    x, z = shoulder[0] * 0.9, shoulder[2] + 0.22
    for solid, centre, half in (
        (DOME, [x * 0.6, tailor.crown + 0.12, z - 0.08], [0.50, 0.24, 0.50]),
        (ROD, [x, tailor.crown - 0.12, z], [0.011, 0.42, 0.011]),
    ):
        tailor.add_solid(solid, centre, half, "spine_03", Part.UMBRELLA, turn_z(-side * 0.12))


def scarf(tailor: Tailor) -> None:
    _, y, z = tailor.joint("neck_01")
    x = 0.045 * tailor.person.bag_side
    for solid, bone, tilt, centre, half in (
        (BALL, "neck_01", 0.25, [0, y + 0.015, z + 0.015], [0.098, 0.048, 0.095]),
        (BOX, "spine_03", -0.12, [x, y - 0.17, z + 0.125], [0.042, 0.17, 0.018]),
    ):
        tailor.add_solid(solid, centre, half, bone, Part.SCARF, turn_x(tilt))


def hood(tailor: Tailor) -> None:
    """Hangs behind the neck."""
    _, y, z = tailor.joint("neck_01")
    centre, half = [0, y - 0.045, z - 0.09], [0.125, 0.085, 0.07]
    tailor.add_solid(BALL, centre, half, "spine_03", Part.OUTER, turn_x(0.4))


def peak(tailor: Tailor) -> None:
    """The peak of a cap."""
    centre = [0, tailor.crown - 0.085, tailor.head_middle[2] + 0.13]
    tailor.add_solid(BALL, centre, [0.075, 0.01, 0.085], "head", Part.HAT, turn_x(0.15))


def brim(tailor: Tailor) -> None:
    """A brim all around."""
    centre = [0, tailor.crown - 0.085, tailor.head_middle[2] + 0.005]
    tailor.add_solid(BALL, centre, [0.17, 0.012, 0.19], "head", Part.HAT, turn_x(0.08))
