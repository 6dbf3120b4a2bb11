"""From a gait to bone transforms, and linear-blend skinning.

The rest arms are bent, so bones are turned from their rest direction to a wanted direction
rather than by fixed angles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vireid.synthetic.jit import jit
from vireid.synthetic.people.body import Body


@dataclass(frozen=True, kw_only=True)
class Pose:
    """One moment of a walk. Angles in radians; pairs are (left, right).

    Attributes:
        phase: of the step, 0 to 2π.
        stride: size of the step; 1 is a brisk walk, below 0.2 standing.
        lean: of the trunk, forwards.
        nod, head_turn: of the head.
        stance: outward angle of the legs; toe_out: of the feet.
        arm_swing: swing of the arms in terms of the legs'.
        arm_forward, arm_out, arm_in, elbow: of each arm.
        bounce: sideways sway of the hips.
    """

    phase: float
    stride: float
    lean: float
    nod: float
    head_turn: float
    stance: float
    toe_out: float
    arm_swing: float
    arm_forward: tuple[float, float]
    arm_out: tuple[float, float]
    arm_in: tuple[float, float]
    elbow: tuple[float, float]
    bounce: float = 0.03


def turn_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def turn_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def turn_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.sqrt(v.dot(v))


def align(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes direction `start` to direction `end`.

    Written out, since `np.cross` and `np.linalg.norm` take ten times as long for three numbers.
    """
    start, end = _unit(start), _unit(end)
    (a, b, c), (d, e, f) = start, end
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + k + k @ k / (1 + start @ end + 1e-9)


def _down(forward: float, outward: float, side: int) -> np.ndarray:
    """A direction that points down, swung forwards and outwards."""
    return np.array(
        [
            side * np.sin(outward),
            -np.cos(outward) * np.cos(forward),
            np.cos(outward) * np.sin(forward),
        ]
    )


def _turn_leg(turns, bone, heads, pose: Pose, letter: str, side: int, phase: float) -> None:
    """Set the rotations of one leg."""
    thigh, calf, foot, ball = (bone[f"{n}_{letter}"] for n in ("thigh", "calf", "foot", "ball"))
    ahead = max(0.0, np.cos(phase))  # while this leg swings forward
    hip = pose.stride * (0.45 * np.sin(phase) + 0.06)
    knee = pose.stride * (0.12 + 0.55 * ahead**1.5 + 0.1 * max(0.0, -np.cos(phase)))
    turns[thigh] = align(heads[calf] - heads[thigh], _down(hip, pose.stance, side))
    shin = turns[thigh] @ (heads[foot] - heads[calf])
    turns[calf] = align(shin, _down(hip - knee, pose.stance * 0.6, side)) @ turns[thigh]
    pitch = pose.stride * (0.25 * np.sin(phase) - 0.35 * ahead)
    turns[foot] = turn_x(-pitch) @ turn_y(side * pose.toe_out)
    turns[ball] = turns[foot]


def _turn_arm(
    turns, bone, heads, pose: Pose, letter: str, side: int, phase: float, number: int
) -> None:
    """Set the rotations of one arm; `number` is its place in the pose's pairs."""
    clavicle, upper, lower, hand = (
        bone[f"{name}_{letter}"] for name in ("clavicle", "upperarm", "lowerarm", "hand")
    )
    chest = turns[bone["spine_03"]]
    turns[clavicle] = chest @ turn_z(-side * 0.08)
    arm = -pose.stride * pose.arm_swing * np.sin(phase) + pose.arm_forward[number]
    rest = turns[clavicle] @ (heads[lower] - heads[upper])
    wanted = chest @ _down(arm, pose.arm_out[number], side)
    turns[upper] = align(rest, wanted) @ turns[clavicle]
    bend = arm + pose.elbow[number] + 0.2 * pose.stride * max(0.0, np.sin(-phase))
    rest = turns[upper] @ (heads[hand] - heads[lower])
    wanted = chest @ _down(bend, pose.arm_in[number], side)
    turns[lower] = align(rest, wanted) @ turns[upper]
    turns[hand] = turns[lower]


def bone_transforms(body: Body, heads: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (B, 3, 3) and translations (B, 3), float32, of every bone from rest.

    Args:
        heads: (B, 3) joints of the person at rest.
    """
    bone, swing = body.bone, pose.stride * np.sin(pose.phase)
    turns: list[np.ndarray] = [np.eye(3)] * len(bone)
    turns[bone["pelvis"]] = (
        turn_x(pose.lean * 0.3) @ turn_z(pose.bounce * np.sin(pose.phase)) @ turn_y(0.12 * swing)
    )
    for name, share in (("spine_01", 0.3), ("spine_02", 0.6), ("spine_03", 1.0)):
        turns[bone[name]] = turn_x(pose.lean * (0.3 + share)) @ turn_y(-0.14 * swing * share)
    turns[bone["neck_01"]] = turn_x(pose.lean * 0.8 + pose.nod * 0.5) @ turn_y(pose.head_turn * 0.5)
    turns[bone["head"]] = turn_x(pose.lean * 0.5 + pose.nod) @ turn_y(pose.head_turn)
    for number, (letter, side, shift) in enumerate((("l", 1, 0.0), ("r", -1, np.pi))):
        phase = pose.phase + shift
        _turn_leg(turns, bone, heads, pose, letter, side, phase)
        _turn_arm(turns, bone, heads, pose, letter, side, phase, number)
    moves: list[np.ndarray] = []
    for i, parent in enumerate(body.parent):
        joint = heads[i] if parent < 0 else turns[parent] @ heads[i] + moves[parent]
        moves.append(joint - turns[i] @ heads[i])
    return np.array(turns, np.float32), np.array(moves, np.float32)


@jit
def skin(vertices, influences, weights, turns, moves):
    """(V, 3) float32 vertices moved by up to four bones each (linear-blend skinning)."""
    out = np.empty_like(vertices)
    for i in range(len(vertices)):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        a = np.float32(0)
        b = np.float32(0)
        c = np.float32(0)
        for k in range(4):
            w = weights[i, k]
            if w > 0:
                r = turns[influences[i, k]]
                t = moves[influences[i, k]]
                a += w * (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z + t[0])
                b += w * (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z + t[1])
                c += w * (r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + t[2])
        out[i, 0] = a
        out[i, 1] = b
        out[i, 2] = c
    return out
