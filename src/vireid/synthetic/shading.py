"""Turns what the rasteriser drew into light: one compiled pass over the pixels of a person.

Three sensors: visible (linear RGB), near infrared (an illuminator beside the lens, albedos of
their own), thermal (surface temperature in °C).
"""

from __future__ import annotations

import numpy as np

from vireid.synthetic.cloth import PATTERNS, Cloth
from vireid.synthetic.identity import Person
from vireid.synthetic.jit import jit
from vireid.synthetic.mesh import NUM_PARTS, Part
from vireid.synthetic.noise import lookup

VISIBLE, NIR, THERMAL = 0, 1, 2

SKIN_NIR = 0.60
"""Skin reflects 0.5 to 0.7 at 850 nm, whatever its melanin."""
AIR_AT_MEASURING = 21.0
"""°C at which the surface temperatures below hold."""
FACE_HEAT, HAND_HEAT, LEG_HEAT, EYE_HEAT, HAIR_HEAT, BAG_HEAT = 34.6, 32.3, 31.6, 35.2, 28.5, 23.0
CLOTH_HEAT, INSULATION_COOLS = 29.6, 4.2
"""°C of bare-thin cloth, and how much one unit of insulation takes off it."""

MATERIAL = np.dtype(
    [("pattern", "i4")]
    + [
        (name, "f4")
        for name in (
            "r",
            "g",
            "b",
            "r2",
            "g2",
            "b2",
            "nir",
            "nir2",
            "period",
            "duty",
            "edge",
            "wrinkle",
            "weave",
            "heat",
            "logo_x",
            "logo_y",
            "logo_w",
            "logo_h",
            "gloss",
        )
    ],
    align=True,
)
"""One row a `Part`: what the shader sees of a cloth, of hair or of skin."""

WEARER = np.dtype(
    [
        (name, "f4")
        for name in (
            "offset",
            "straps",
            "strap_side",
            "straps_on_outer",
            "zip",
            "sole",
            "beard",
            "glasses",
            "sweat",
            "hair_r",
            "hair_g",
            "hair_b",
            "hair_nir",
        )
    ],
    align=True,
)
"""One row a person: what cannot be said of one cloth alone."""

LIGHT = np.dtype(
    [
        (name, "f4")
        for name in (
            "sun_x",
            "sun_y",
            "sun_z",
            "ambient",
            "eye_x",
            "eye_y",
            "eye_z",
            "distance",
            "air",
            "drift",
        )
    ],
    align=True,
)
"""Sun direction, ambient share (0 to 1), lens position, distance at which the illuminator gives
1, air temperature, and where the temperature noise is read."""

_PATTERN = {name: number for number, name in enumerate(PATTERNS)}
(
    _PLAIN,
    _HOOPS,
    _STRIPES,
    _CHECK,
    _BLOCK,
    _LOGO,
    _SIDE,
    _DOTS,
    _PRINT,
    _YOKE,
    _SLEEVES,
    _BAND,
    _CAMOUFLAGE,
    _DIAGONAL,
) = range(len(PATTERNS))
(
    _SKIN,
    _BOTTOM,
    _TOP,
    _OUTER,
    _SKIRT,
    _HAIR,
    _SHOE,
    _BAG,
    _HAT,
    _EYE,
    _SCARF,
    _METAL,
    _UMBRELLA,
) = (int(part) for part in Part)


def _cloth_row(row: np.void, cloth: Cloth, heat: float, wrinkle: float, gloss: float) -> None:
    row["pattern"] = _PATTERN[cloth.pattern]
    row["r"], row["g"], row["b"] = cloth.colour
    row["r2"], row["g2"], row["b2"] = cloth.colour2
    for name in ("nir", "nir2", "period", "duty", "edge", "weave"):
        row[name] = getattr(cloth, name)
    row["wrinkle"], row["heat"], row["gloss"] = cloth.wrinkle * wrinkle, heat, gloss
    row["logo_x"], row["logo_y"], row["logo_w"], row["logo_h"] = cloth.logo


def material_table(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """What the shader needs of a person: materials (NUM_PARTS,) and wearer (1,)."""
    table, wearer = np.zeros(NUM_PARTS, MATERIAL), np.zeros(1, WEARER)

    def heat(cloth: Cloth, more: float = 1.0) -> float:
        return CLOTH_HEAT - INSULATION_COOLS * cloth.insulation * more

    p = person
    _cloth_row(table[_BOTTOM], p.bottom, heat(p.bottom), 1, 0.02)
    _cloth_row(table[_TOP], p.top, heat(p.top), 1, 0.02)
    _cloth_row(table[_OUTER], p.outer, heat(p.outer, 1.25), 1, 0.04)
    _cloth_row(table[_SKIRT], p.bottom, heat(p.bottom) - 1.2, 0.5, 0.02)
    _cloth_row(table[_SHOE], p.shoe, heat(p.shoe) - 2.2, 0.35, 0.15)
    _cloth_row(table[_BAG], p.bag_cloth, BAG_HEAT + 0.5 * p.bag_cloth.insulation, 0.35, 0.10)
    _cloth_row(table[_HAT], p.hat_cloth, heat(p.hat_cloth) + 0.5, 0.35, 0.02)
    _cloth_row(table[_SCARF], p.scarf, heat(p.scarf), 1, 0.02)
    _cloth_row(table[_UMBRELLA], p.hat_cloth, 17.0, 0.2, 0.10)
    for part, rgb, nir, degrees, gloss in (
        (_SKIN, p.skin, SKIN_NIR, 33.5, 0.12),
        (_EYE, (0.12, 0.12, 0.12), 0.2, EYE_HEAT, 0.3),
        (_HAIR, p.hair_colour, p.hair_nir, HAIR_HEAT, 0.10),
        (_METAL, (0.35, 0.35, 0.36), 0.35, 20.0, 0.5),
    ):
        table[part]["r"], table[part]["g"], table[part]["b"] = rgb
        table[part]["nir"], table[part]["heat"], table[part]["gloss"] = nir, degrees, gloss
    row = wearer[0]
    row["offset"], row["sweat"] = p.offset, p.sweat
    row["straps"] = {"backpack": 1, "shoulder": 2}.get(p.bag, 0)
    row["strap_side"] = p.bag_side
    row["straps_on_outer"] = p.outer_kind != "none"
    row["zip"] = p.outer_kind in ("jacket", "coat")
    row["sole"] = p.pale_sole
    row["beard"] = {"none": 0.0, "stubble": 0.4, "full": 0.9}[p.beard]
    row["glasses"] = p.glasses
    row["hair_r"], row["hair_g"], row["hair_b"] = p.hair_colour
    row["hair_nir"] = p.hair_nir
    return table, wearer


@jit
def _inside(value, low, high):
    return 1.0 if low <= value < high else 0.0


@jit
def pattern_share(m, part, u, v, front, leg_side, arm, offset, soft, fine):
    """Share of a cloth's second colour at a point, 0 to 1."""
    k = m.pattern
    if k == _PLAIN:
        return 0.0
    if k == _HOOPS:
        q = v / m.period
        return _inside(q - np.floor(q), 0.0, m.duty)
    if k == _STRIPES:
        q = u / (m.period * 0.5)
        return _inside(q - np.floor(q), 0.0, m.duty * 0.6)
    if k == _CHECK:
        q, s = v / m.period, u / m.period
        return 0.5 * _inside(q - np.floor(q), 0, 0.5) + 0.5 * _inside(s - np.floor(s), 0, 0.5)
    if k == _BLOCK:
        edge = m.edge * 0.3 - 0.35 if part == _BOTTOM or part == _SKIRT else m.edge
        return 1.0 if v < edge else 0.0
    if k == _LOGO:
        hit = abs(u - m.logo_x) < m.logo_w and abs(v - m.logo_y) < m.logo_h
        return 1.0 if hit and front > 0 and arm < 0.5 else 0.0
    if k == _SIDE:
        if part == _TOP or part == _OUTER:
            return 1.0 if arm > 0.5 and abs(u) < 0.02 else 0.0
        return 1.0 if leg_side > 0.955 else 0.0
    if k == _DOTS:
        q, s = u / m.period, v / m.period
        q, s = q - np.floor(q) - 0.5, s - np.floor(s) - 0.5
        return 1.0 if q * q + s * s < 0.06 else 0.0
    if k == _PRINT:
        q, s = u / (m.logo_w * 1.6), (v - 0.3) / 0.11
        if q * q + s * s >= 1 or arm > 0.5 or abs(front) < 0.2:
            return 0.0
        return 1.0 if lookup(soft, u * 1.6 + offset * 7, v * 1.6) > -0.2 else 0.0
    if k == _YOKE:
        return 1.0 if v > m.edge + 0.08 and arm < 0.5 else 0.0
    if k == _SLEEVES:
        return 1.0 if arm > 0.5 else 0.0
    if k == _BAND:
        middle = -0.35 if part == _BOTTOM or part == _SKIRT else m.edge
        return 1.0 if abs(v - middle) < 0.045 and arm < 0.5 else 0.0
    if k == _CAMOUFLAGE:
        return _inside(lookup(soft, u * 1.1 + offset, v * 1.1), 0.1, 9.0)
    q = (v + 0.7 * u) / m.period  # diagonal
    return _inside(q - np.floor(q), 0.0, m.duty)


@jit
def _face(x, y, z, w, r, g, b, nir, fine):
    """Brows, lips, beard and glasses, at (x, y, z) from the middle of the head."""
    if z > 0.05 and (y + 0.085) ** 2 / 0.00008 + x * x / 0.0005 < 1:
        r, g, b = r * 0.85, g * 0.5, b * 0.5
    if z > 0.05 and abs(y - 0.022) < 0.005 and abs(abs(x) - 0.03) < 0.018:
        r, g, b, nir = r * 0.4, g * 0.4, b * 0.4, 0.35
    if w.beard > 0 and z > 0.0 and y < -0.035 and y > -0.16:
        edge = -0.055 - 0.35 * max(0.0, abs(x) - 0.035)
        moustache = y > -0.082 and y < -0.066 and abs(x) < 0.03
        lips = abs(x) < 0.022 and y > -0.094 and y < -0.078
        if (y < edge - 0.02 or moustache or abs(x) > 0.05) and not lips:
            share = w.beard * (0.85 + 0.15 * lookup(fine, x * 9, y * 9))
            r += (w.hair_r - r) * share
            g += (w.hair_g - g) * share
            b += (w.hair_b - b) * share
            nir += (w.hair_nir - nir) * share
    if w.glasses > 0 and z > 0.02 and abs(y - 0.003) < 0.019:
        ring = abs(abs(x) - 0.033) > 0.022 or abs(y - 0.003) > 0.0135
        if abs(x) < 0.058 or z < 0.08:
            share = 0.95 if ring and (abs(x) < 0.058 or abs(y - 0.008) < 0.004) else 0.0
            r, g, b, nir = r * (1 - share), g * (1 - share), b * (1 - share), nir * (1 - share)
    return r, g, b, nir


@jit
def shade(
    sensor,
    inverse_depth,
    triangle,
    weights,
    near,
    faces,
    first_of_second,
    parts,
    coordinates,
    normals,
    places,
    materials,
    wearers,
    light,
    textures,
    image,
):
    """Shade all drawn pixels of `image` in place.

    Args:
        sensor: VISIBLE, NIR or THERMAL.
        inverse_depth, triangle, weights: from `raster`.
        near: (H, W) float32 ambient-occlusion factor.
        faces: (F, 3); first_of_second: faces from here on belong to the second person.
        parts, coordinates, normals, places: of the vertices; normals and places in the world.
        materials: (2, NUM_PARTS) MATERIAL; wearers: (2,) WEARER; light: (1,) LIGHT.
        textures: of `noise`.
        image: (H, W, C) float32: 3 channels of linear light, or 1 of light or °C.
    """
    soft, fine, slope_u, slope_v = textures[0], textures[1], textures[2], textures[3]
    l = light[0]
    c = np.empty(8, np.float32)
    n = np.empty(3, np.float32)
    p = np.empty(3, np.float32)
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            t = triangle[row, column]
            if t < 0:
                continue
            who = 1 if t >= first_of_second else 0
            w = wearers[who]
            i0, i1, i2 = faces[t, 0], faces[t, 1], faces[t, 2]
            w1, w2 = weights[row, column, 0], weights[row, column, 1]
            w0 = np.float32(1) - w1 - w2
            for j in range(8):
                c[j] = w0 * coordinates[i0, j] + w1 * coordinates[i1, j] + w2 * coordinates[i2, j]
            for j in range(3):
                n[j] = w0 * normals[i0, j] + w1 * normals[i1, j] + w2 * normals[i2, j]
                p[j] = w0 * places[i0, j] + w1 * places[i1, j] + w2 * places[i2, j]
            part = parts[i0]
            m = materials[who, part]
            u, v, front, leg_side, arm = c[0], c[1], c[2], c[3], c[4]
            # Direction to the eye; the normal faces it
            ex, ey, ez = l.eye_x - p[0], l.eye_y - p[1], l.eye_z - p[2]
            away = np.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex / away, ey / away, ez / away
            length = 1 / (np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + np.float32(1e-6))
            nx, ny, nz = n[0] * length, n[1] * length, n[2] * length
            if nx * ex + ny * ey + nz * ez < 0:
                nx, ny, nz = -nx, -ny, -nz
            if m.wrinkle > 0:
                limb = arm > 0.5 or v < -0.02
                if limb:
                    cu, cv, strength = u * 0.9 + v * 0.35, v * 1.9 - u * 0.5, 1.0
                else:
                    cu, cv, strength = u * 1.5 + v * 0.25, v * 0.8 + u * 0.3, 0.8
                # Creases gather at knees, elbows and waist.
                bent = (
                    0.4 + np.exp(-(((v + 0.37) / 0.1) ** 2)) + np.exp(-(((v - 0.08) / 0.08) ** 2))
                )
                if arm > 0.5:
                    bent += np.exp(-(((v - 0.3) / 0.08) ** 2))
                cu += w.offset
                du = lookup(slope_u, cu, cv) * strength + 0.5 * bent * lookup(
                    slope_u, cu * 2.3, cv * 2.1
                )
                dv = lookup(slope_v, cu, cv) * strength + 0.5 * bent * lookup(
                    slope_v, cu * 2.3, cv * 2.1
                )
                nx += du * m.wrinkle * 0.26
                ny -= dv * m.wrinkle * 0.26
                length = 1 / np.sqrt(nx * nx + ny * ny + nz * nz)
                nx, ny, nz = nx * length, ny * length, nz * length
            occlusion = near[row, column]
            r, g, b, nir, heat = m.r, m.g, m.b, m.nir, m.heat
            if part == _SKIN:
                occlusion = 0.5 + 0.5 * occlusion
                on_head = abs(c[5]) < 0.2 and abs(c[6]) < 0.2 and abs(c[7]) < 0.2
                if on_head:
                    heat = FACE_HEAT - 1.6 * _inside(c[6], -0.06, -0.02) * _inside(c[7], 0.1, 1.0)
                    r, g, b, nir = _face(c[5], c[6], c[7], w, r, g, b, nir, fine)
                elif arm > 0.5:
                    heat = HAND_HEAT
                elif v < -0.1:
                    heat = LEG_HEAT
                blotch = 1 + 0.03 * lookup(soft, u * 2 + w.offset, v * 2)
                r, g, nir = r * blotch, g * blotch, nir * blotch
                if sensor == THERMAL:
                    heat += 0.5 * lookup(soft, u * 1.5 + l.drift, v * 1.5)
            elif part == _HAIR:
                strand = lookup(fine, u * 9 + c[5] * 5, v * 1.2 + c[7])
                strand = min(2.0, max(-2.0, strand))
                r, g, b = r * (1 + 0.25 * strand), g * (1 + 0.25 * strand), b * (1 + 0.25 * strand)
                nir *= 1 + 0.15 * strand
            elif part != _EYE and part != _METAL:
                share = pattern_share(m, part, u, v, front, leg_side, arm, w.offset, soft, fine)
                r += (m.r2 - r) * share
                g += (m.g2 - g) * share
                b += (m.b2 - b) * share
                nir += (m.nir2 - nir) * share
                if part == _TOP or part == _OUTER:
                    if part == _OUTER and w.zip > 0 and abs(u) < 0.007 and front > 0 and arm < 0.5:
                        r, g, b, nir = r * 0.3, g * 0.3, b * 0.3, nir * 0.6
                    if arm < 0.5 and w.straps > 0 and (part == _OUTER or w.straps_on_outer == 0):
                        if w.straps == 1:
                            strap = abs(abs(u) - 0.085) < 0.022 and v > 0.2 and front > -0.2
                        else:
                            strap = abs(v - 0.32 + w.strap_side * u * 1.6) < 0.025
                        if strap:
                            bag = materials[who, _BAG]
                            r, g, b, nir = bag.r * 0.8, bag.g * 0.8, bag.b * 0.8, bag.nir * 0.9
                            heat -= 2.0
                if (part == _SKIRT or part == _BOTTOM) and abs(v - 0.115) < 0.012:
                    r, g, b, nir = r * 0.5, g * 0.5, b * 0.5, nir * 0.75  # belt
                if part == _SHOE and v < -0.795:
                    tone = 0.68 if w.sole > 0 else 0.05
                    r, g, b, nir = tone, tone, tone, 0.1 + 0.7 * tone
                grain = lookup(fine, u * 4, v * 4)
                tone = 1 + m.weave * grain
                r, g, b = r * tone, g * tone, b * tone
                nir *= 1 + 0.8 * m.weave * grain
                if sensor == THERMAL:
                    heat += 1.0 * lookup(soft, u * 0.9 + w.offset, v * 0.9 + 0.3) + 0.6 * lookup(
                        soft, u * 2.5 + l.drift, v * 2.5
                    )
                    if part == _TOP or part == _OUTER:
                        collar, chest = (v - 0.5) / 0.07, (v - 0.34) / 0.12
                        heat += 1.6 * np.exp(-collar * collar)
                        # Sweat cools the chest and, under a backpack, the back stays warm.
                        heat -= 1.8 * w.sweat * np.exp(-chest * chest - (u / 0.09) ** 2)
                        if w.straps == 1 and front < -0.2 and arm < 0.5:
                            heat += 1.2
                    if arm > 0.5:
                        heat -= 0.4
                    if part == _BOTTOM and v > -0.15:
                        heat += 0.8
                    if share > 0 and m.nir != m.nir2:
                        heat -= 0.7 * share
            facing = max(0.0, nx * ex + ny * ey + nz * ez)
            if sensor == VISIBLE:
                sun = max(0.0, nx * l.sun_x + ny * l.sun_y + nz * l.sun_z)
                sky = 0.55 + 0.45 * ny
                lit = 1.25 * (
                    l.ambient * sky * occlusion + (1.15 - l.ambient) * sun * (0.4 + 0.6 * occlusion)
                )
                hx, hy, hz = l.sun_x + ex, l.sun_y + ey, l.sun_z + ez
                half = (nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
                half = max(0.0, half)
                half = half * half
                half = half * half
                half = half * half
                shine = m.gloss * half * half
                image[row, column, 0] = r * lit + shine
                image[row, column, 1] = g * lit + shine
                image[row, column, 2] = b * lit + shine
            elif sensor == NIR:
                fall = l.distance / away
                # Rough cloth sends light back towards the lamp: flatter than Lambert at the rim
                # would be too flat, so the rim is darkened a little by fibres seen edge-on.
                lit = l.ambient * (0.6 + 0.4 * ny) + (0.15 + 0.85 * facing) * facing * fall * fall
                spark = facing**24 * m.gloss * 0.5
                image[row, column, 0] = 0.95 * nir * lit * (0.4 + 0.6 * occlusion) + spark * fall
            else:
                # Seen edge-on, a surface emits less and mirrors its surroundings more.
                emitted = (heat - AIR_AT_MEASURING) * (0.86 + 0.14 * facing)
                image[row, column, 0] = l.air + emitted + (AIR_AT_MEASURING - l.air) * 0.6
