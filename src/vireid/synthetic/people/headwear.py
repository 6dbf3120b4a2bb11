"""Hair and hats."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.noise import lookup_many, textures
from vireid.synthetic.people.mesh import BALL, Part
from vireid.synthetic.people.pose import turn_x
from vireid.synthetic.people.tailor import NEVER, Tailor


def hair(tailor: Tailor) -> None:
    p, t, head = tailor.person, tailor.t, tailor.t.head
    kind, thick, line = p.hair, p.hair_thickness, p.hairline
    if p.hat in ("cap", "brim"):
        thick, kind = 0.006, {"afro": "short", "curly": "bob", "bun": "pony"}.get(kind, kind)
    soft = textures().soft
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
        rough = 0.3 if kind in ("afro", "curly") else 0.2
        bump = 1 + rough * lookup_many(soft, t.x * 6 + p.offset * 3, t.z * 6 + t.y * 4)
        vertices = tailor.out(tailor.rest, volume * np.clip(cut / 0.05, 0.25, 1) * bump)
        vertices[:, 1] += volume * 0.5 * np.clip(cut / 0.06, 0, 1)
        tailor.add(vertices, t.scalp_faces, np.where(t.is_head, cut, NEVER), Part.HAIR)
    if kind in ("long", "bob", "curly") and p.hat != "beanie":
        end = t.y.max() - p.hair_length if kind == "long" else 0.615 + line
        cut = np.minimum(t.y - end, np.where(t.z > 0.07, np.abs(t.x) - (0.058 + line), 1))
        cut = np.minimum(cut, np.where((t.z > 0.045) & (t.y < 0.68), np.abs(t.x) - 0.07, 1))
        puff = 0.006 + (
            0.016 * (1 + 0.4 * lookup_many(soft, t.x * 3, t.y * 3)) if kind == "curly" else 0
        )
        tailor.add(tailor.out(tailor.rest, puff), t.hair, cut, Part.HAIR)
    behind = tailor.head_middle[2]
    if kind == "pony":
        tailor.add_solid(
            BALL,
            [0, tailor.crown - 0.10, behind - 0.135],
            [0.032, 0.035, 0.04],
            "head",
            Part.HAIR,
        )
        tailor.add_solid(
            BALL,
            [0, tailor.crown - 0.24, behind - 0.16],
            [0.03, 0.4 * p.hair_length, 0.035],
            "head",
            Part.HAIR,
        )
    if kind == "bun":
        tailor.add_solid(
            BALL,
            [0, tailor.crown - 0.05, behind - 0.115],
            [0.05, 0.048, 0.048],
            "head",
            Part.HAIR,
        )


def hat(tailor: Tailor) -> None:
    p, head = tailor.person, tailor.t.head
    if p.hat == "none":
        return
    cut = head[:, 1] - np.where(head[:, 2] > 0, 0.035, 0.01)
    tall = 0.02 * (p.hat == "beanie") * np.clip(head[:, 1] / 0.1, 0, 1)
    tailor.add(
        tailor.out(tailor.rest, 0.024 + tall),
        tailor.t.scalp_faces,
        np.where(tailor.t.is_head, cut, NEVER),
        Part.HAT,
    )
    middle = tailor.head_middle[2]
    if p.hat == "cap":
        tailor.add_solid(
            BALL,
            [0, tailor.crown - 0.085, middle + 0.13],
            [0.075, 0.01, 0.085],
            "head",
            Part.HAT,
            turn_x(0.15),
        )
    if p.hat == "brim":
        tailor.add_solid(
            BALL,
            [0, tailor.crown - 0.085, middle + 0.005],
            [0.17, 0.012, 0.19],
            "head",
            Part.HAT,
            turn_x(0.08),
        )
