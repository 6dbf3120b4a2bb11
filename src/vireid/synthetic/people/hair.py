"""Hair: a shell over the scalp, longer strands, a tail or a bun."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.noise import lookup_many, textures
from vireid.synthetic.people.mesh import BALL, Part
from vireid.synthetic.people.tailor import NEVER, Tailor
from vireid.synthetic.people.wardrobe import Hat


def hair(tailor: Tailor, hat: Hat) -> None:
    p, t, head = tailor.person, tailor.t, tailor.t.head
    kind, thick, line = p.hair, p.hair_thickness, p.hairline
    if hat.hair == "pressed":
        thick, kind = 0.006, {"afro": "short", "curly": "bob", "bun": "pony"}.get(kind, kind)
    soft, hidden = textures().soft, hat.hair == "hidden"
    if kind != "bald" and not hidden:
        # In front the forehead shows, at the sides the ears, behind it grows to the nape.
        limit = np.interp(
            head[:, 2] / 0.07,
            [-1, -0.55, -0.25, 0.15, 0.45, 0.8, 1.1],
            [-0.125, -0.1, -0.035, -0.045, 0.0, 0.035 + line, 0.052 + line],
        )
        limit = limit - (0.02 if kind in ("mid", "bob", "long", "curly") else 0)
        limit = limit + 0.008 * lookup_many(soft, t.x * 5 + p.offset, t.y * 5)
        cut = head[:, 1] - limit
        volume = {"buzz": 0.004, "mid": thick * 1.3, "afro": 0.055, "curly": 0.04,
                  "bob": thick * 1.1, "pony": 0.008, "bun": 0.008}.get(kind, thick)  # fmt: skip
        rough = 0.3 if kind in ("afro", "curly") else 0.2
        bump = 1 + rough * lookup_many(soft, t.x * 6 + p.offset * 3, t.z * 6 + t.y * 4)
        vertices = tailor.out(tailor.rest, volume * np.clip(cut / 0.05, 0.25, 1) * bump)
        vertices[:, 1] += volume * 0.5 * np.clip(cut / 0.06, 0, 1)
        tailor.add(vertices, t.scalp_faces, np.where(t.is_head, cut, NEVER), Part.HAIR)
    if kind in ("long", "bob", "curly") and not hidden:
        end = t.y.max() - p.hair_length if kind == "long" else 0.615 + line
        cut = np.minimum(t.y - end, np.where(t.z > 0.07, np.abs(t.x) - (0.058 + line), 1))
        cut = np.minimum(cut, np.where((t.z > 0.045) & (t.y < 0.68), np.abs(t.x) - 0.07, 1))
        puff = 0.006 + (
            0.016 * (1 + 0.4 * lookup_many(soft, t.x * 3, t.y * 3)) if kind == "curly" else 0
        )
        tailor.add(tailor.out(tailor.rest, puff), t.hair, cut, Part.HAIR)
    top, back = tailor.crown, tailor.head_middle[2]
    for centre, half in {
        "pony": (
            ([0, top - 0.10, back - 0.135], [0.032, 0.035, 0.04]),
            ([0, top - 0.24, back - 0.16], [0.03, 0.4 * p.hair_length, 0.035]),
        ),
        "bun": (([0, top - 0.05, back - 0.115], [0.05, 0.048, 0.048]),),
    }.get(kind, ()):
        tailor.add_solid(BALL, centre, half, "head", Part.HAIR)
