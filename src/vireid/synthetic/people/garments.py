"""Clothes: the base mesh's helper surfaces, moved off the body and cut per pixel.

The cut is a vertex attribute in template coordinates that turns negative where a cloth ends. An
inner layer is cut where an outer one covers it, or it would poke through.

To add a garment: draw it in `identity` and give it a function here that calls `tailor.add`; it
needs a new `Part` only if it has a cloth of its own.
"""

from __future__ import annotations

import numpy as np

from vireid.synthetic.noise import lookup_many, textures
from vireid.synthetic.people.mesh import BALL, BOX, Part
from vireid.synthetic.people.pose import turn_x
from vireid.synthetic.people.tailor import NEVER, Tailor


def clothes(tailor: Tailor) -> None:
    """Skin where it shows, everything worn from neck to shoes."""
    p, t = tailor.person, tailor.t
    y, front, arm = t.y, t.front, t.is_arm
    never = np.full(tailor.count, NEVER)
    on_front = front > 0
    skirt_worn, trousers = p.lower == "skirt", p.lower != "skirt"
    wave = lookup_many(textures().soft, t.x * 1.3 + p.offset, y * 1.3) * 0.003

    hem = max(p.hem, 0.095) if skirt_worn else p.hem  # tucked in
    top = np.minimum(np.where(arm, p.sleeve - t.arm_distance, 1), y - hem)
    top = np.minimum(top, np.where(on_front, (0.575 - p.neckline) + np.abs(t.x) * 0.4 - y, 0.6 - y))
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
    draped = np.where(arm, NEVER, np.maximum(skirt, coat) - 0.03)
    covered = np.maximum.reduce([top, legs, np.minimum(shoe, 1), outer, draped])
    tailor.add(
        tailor.rest,
        t.skin_faces,
        (0.022 - covered).astype(np.float32),
        Part.SKIN,
        double_sided=False,
    )
    tailor.add(
        tailor.rest, t.eye_faces, np.ones(tailor.count, np.float32), Part.EYE, double_sided=False
    )
    if trousers or p.leggings:
        _trousers(tailor, legs, draped, np.where(arm, NEVER, np.maximum(top, outer)), wave)
    _upper(tailor, top, outer, draped, wave)
    if p.outer_kind == "coat":
        tail = np.minimum(coat, np.where(on_front, np.abs(t.x) - 0.004, 1))
        tailor.add(_draped(tailor, 0.030, 0.10 + 0.25 * p.flare), t.skirt, tail, Part.OUTER)
    if skirt_worn:
        tailor.add(_draped(tailor, 0.006, p.flare), t.skirt, skirt, Part.SKIRT)
    ankle = shoe - 0.04 if p.lower in ("skirt", "shorts") and p.leggings else shoe
    tailor.add(tailor.out(tailor.rest, 0.010 + 0.012 * (y < -0.79)), t.tights, ankle, Part.SHOE)
    if p.neck == "scarf":
        _scarf(tailor)


def _trousers(tailor: Tailor, legs, draped, above, wave) -> None:
    p, y = tailor.person, tailor.t.y
    down = np.clip(-y / 0.75, 0, 1)
    rounds = {"slim": 0, "trousers": 8, "wide": 24}.get(p.lower, 8)
    vertices = tailor.t.smoothed(
        tailor.rest, rounds, np.where(tailor.t.is_arm, 0, 0.6 * np.clip((-y - 0.05) / 0.1, 0, 1))
    )
    distance = (
        p.leg_loose * np.clip((0.1 - y) * 6, 0.25, 1)
        + p.leg_flare * down
        + wave * (p.leg_loose > 0.01)
    )
    # Cloth hangs: it goes out sideways, not up or down with the normal.
    sideways = tailor.normal * np.array([1, 0.3, 1], np.float32)
    cut = np.minimum.reduce([legs, 0.02 - draped, 0.015 - above])
    tailor.add(vertices + sideways * distance[:, None], tailor.t.tights, cut, Part.BOTTOM)


def _upper(tailor: Tailor, top, outer, draped, wave) -> None:
    p, t = tailor.person, tailor.t
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
    inner = tailor.t.smoothed(tailor.rest, 10, np.where(arm, 0.15, 0.6) * belly)
    cut = np.where(y < 0.06, np.minimum(top, 0.02 - draped), top)
    tailor.add(
        tailor.out(inner, distance + 0.003), t.tights, np.minimum(cut, 0.03 - outer), Part.TOP
    )
    if p.outer_kind != "none":
        shell = tailor.t.smoothed(tailor.rest, 22, np.where(arm, 0.2, 0.7) * belly)
        tailor.add(
            tailor.out(shell, distance + 0.016 + np.where(arm, 0.002, 0.004)),
            t.tights,
            outer,
            Part.OUTER,
        )
        if p.hood:
            neck = tailor.heads[tailor.body.bone["neck_01"]]
            tailor.add_solid(
                BALL,
                [0, neck[1] - 0.045, neck[2] - 0.09],
                [0.125, 0.085, 0.07],
                "spine_03",
                Part.OUTER,
                turn_x(0.4),
            )


def _draped(tailor: Tailor, distance: float, flare: float) -> np.ndarray:
    """The skirt helper widened downwards and thrown into free folds."""
    p, y = tailor.person, tailor.t.y
    out = tailor.out(tailor.rest, distance)
    centre = tailor.rest[tailor.t.skirt].mean((0, 1))
    below = np.clip(0.1 - y, 0, 1)
    around = np.arctan2(out[:, 0] - centre[0], out[:, 2] - centre[2])
    fold = np.sin(p.fold_count * around + 9 * p.offset) + 0.4 * np.sin(
        (p.fold_count // 2 + 1) * around + 20 * p.offset
    )
    widen = 1 + flare * below + 0.28 * p.folds * (0.3 + flare) * below * fold
    for axis in (0, 2):
        out[:, axis] = centre[axis] + (out[:, axis] - centre[axis]) * widen
    return out


def _scarf(tailor: Tailor) -> None:
    p, neck = tailor.person, tailor.heads[tailor.body.bone["neck_01"]]
    tailor.add_solid(
        BALL,
        [0, neck[1] + 0.015, neck[2] + 0.015],
        [0.098, 0.048, 0.095],
        "neck_01",
        Part.SCARF,
        turn_x(0.25),
    )
    tailor.add_solid(
        BOX,
        [0.045 * p.bag_side, neck[1] - 0.17, neck[2] + 0.125],
        [0.042, 0.17, 0.018],
        "spine_03",
        Part.SCARF,
        turn_x(-0.12),
    )
