"""Dresses a person: skin, clothes, hair and things carried become one mesh.

Clothes are the base mesh's helper surfaces, moved off the body and cut per pixel. The cut is a
vertex attribute in template coordinates that turns negative where a cloth ends. An inner layer is
cut where an outer one covers it, or it would poke through.
"""

from __future__ import annotations

import numpy as np

from vireid.synthetic.noise import lookup_many, textures
from vireid.synthetic.people import solids
from vireid.synthetic.people.hair import hair
from vireid.synthetic.people.mesh import Mesh, Part
from vireid.synthetic.people.person import Person
from vireid.synthetic.people.tailor import NEVER, Tailor
from vireid.synthetic.people.wardrobe import Bag, Hat, Lower, Neck, Outer, garment


def dress(person: Person) -> Mesh:
    """The mesh of a person at rest."""
    tailor, p = Tailor(person), person
    lower, outer = garment(Lower, p.lower), garment(Outer, p.outer_kind)
    hat = garment(Hat, p.hat)
    _clothes(tailor, lower, outer)
    for worn in (lower, outer, garment(Neck, p.neck)):
        worn.add_to(tailor)
    hair(tailor, hat)
    _hat(tailor, hat)
    garment(Bag, p.bag).add_to(tailor)
    if p.umbrella:
        solids.umbrella(tailor)
    return tailor.mesh()


def _clothes(tailor: Tailor, lower: Lower, outer_garment: Outer) -> None:
    """Skin where it shows, everything worn from neck to shoes."""
    p, t = tailor.person, tailor.t
    y, front, arm = t.y, t.front, t.is_arm
    never = np.full(tailor.count, NEVER)
    on_front = front > 0
    wave = lookup_many(textures().soft, t.x * 1.3 + p.offset, y * 1.3) * 0.003

    hem = max(p.hem, 0.095) if lower.is_skirt else p.hem  # tucked in
    top = np.minimum(np.where(arm, p.sleeve - t.arm_distance, 1), y - hem)
    top = np.minimum(top, np.where(on_front, (0.575 - p.neckline) + np.abs(t.x) * 0.4 - y, 0.6 - y))
    if lower.is_skirt:
        legs = np.minimum(0.13 - y, y + 0.74) if p.leggings else never
    else:
        legs = np.minimum(0.13 - y, y - p.leg_end)
    skirt = np.minimum(0.14 - y, y - p.skirt_end) if lower.is_skirt else never
    shoe = -0.735 + p.shoe.edge * 0.2 - y
    outer = coat = never
    if p.outer_kind != "none":
        outer = np.where(arm, 0.45 - t.arm_distance, 1)
        outer = np.minimum.reduce([outer, y - outer_garment.end, 0.61 - y])
        opening = np.abs(t.x) - outer_garment.opening(y)
        outer = np.minimum(outer, np.where(on_front, opening, 1))
    if outer_garment.tails:
        coat = np.minimum(0.1 - y, y - p.coat_end)
    draped = np.where(arm, NEVER, np.maximum(skirt, coat) - 0.03)
    covered = np.maximum.reduce([top, legs, np.minimum(shoe, 1), outer, draped])
    bare, eyes = (0.022 - covered).astype(np.float32), np.ones(tailor.count, np.float32)
    tailor.add(tailor.rest, t.skin_faces, bare, Part.SKIN, double_sided=False)
    tailor.add(tailor.rest, t.eye_faces, eyes, Part.EYE, double_sided=False)
    if not lower.is_skirt or p.leggings:
        _trousers(tailor, lower, legs, draped, np.where(arm, NEVER, np.maximum(top, outer)), wave)
    _upper(tailor, top, outer, draped, wave)
    if outer_garment.tails:
        tail = np.minimum(coat, np.where(on_front, np.abs(t.x) - 0.004, 1))
        tailor.add(_draped(tailor, 0.030, 0.10 + 0.25 * p.flare), t.skirt, tail, Part.OUTER)
    if lower.is_skirt:
        tailor.add(_draped(tailor, 0.006, p.flare), t.skirt, skirt, Part.SKIRT)
    ankle = shoe - 0.04 if lower.short and p.leggings else shoe
    tailor.add(tailor.out(tailor.rest, 0.010 + 0.012 * (y < -0.79)), t.tights, ankle, Part.SHOE)


def _trousers(tailor: Tailor, lower: Lower, legs, draped, above, wave) -> None:
    y = tailor.t.y
    down = np.clip(-y / 0.75, 0, 1)
    strength = np.where(tailor.t.is_arm, 0, 0.6 * np.clip((-y - 0.05) / 0.1, 0, 1))
    vertices = tailor.t.smoothed(tailor.rest, lower.smoothing, strength)
    distance = lower.loose * np.clip((0.1 - y) * 6, 0.25, 1) + lower.flare * down
    distance = distance + wave * (lower.loose > 0.01)
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
    cut = np.minimum(cut, 0.03 - outer)
    tailor.add(tailor.out(inner, distance + 0.003), t.tights, cut, Part.TOP)
    if p.outer_kind != "none":
        shell = tailor.t.smoothed(tailor.rest, 22, np.where(arm, 0.2, 0.7) * belly)
        distance = distance + 0.016 + np.where(arm, 0.002, 0.004)
        tailor.add(tailor.out(shell, distance), t.tights, outer, Part.OUTER)
        if p.hood:
            solids.hood(tailor)


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


def _hat(tailor: Tailor, hat: Hat) -> None:
    t, head = tailor.t, tailor.t.head
    if hat.name == "none":
        return
    cut = head[:, 1] - np.where(head[:, 2] > 0, 0.035, 0.01)
    tall = hat.tall * np.clip(head[:, 1] / 0.1, 0, 1)
    shell = tailor.out(tailor.rest, 0.024 + tall)
    tailor.add(shell, t.scalp_faces, np.where(t.is_head, cut, NEVER), Part.HAT)
    hat.add_to(tailor)
