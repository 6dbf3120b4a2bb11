"""What people are made of: tables that the shader reads, and compiled functions that give colour,
near-infrared albedo and warmth at a point of skin, hair or cloth."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.jit import jit
from vireid.synthetic.noise import bump, fraction, lookup
from vireid.synthetic.people.cloth import PATTERNS, Cloth
from vireid.synthetic.people.mesh import NUM_PARTS, Part
from vireid.synthetic.people.person import Person
from vireid.synthetic.people.wardrobe import Bag, Outer, garment

SKIN_NIR = 0.60
"""Skin reflects 0.5 to 0.7 at 850 nm; melanin absorbs little there (Cooksey and Allen, SPIE 8734,
2013, measured 250 to 2500 nm), so one value serves everybody."""
FACE_HEAT, HAND_HEAT, LEG_HEAT, EYE_HEAT, HAIR_HEAT, BAG_HEAT = 34.6, 32.3, 31.6, 35.2, 28.5, 23.0
"""Surface temperatures in °C, in air of 21 °C. The mean of bare skin is 33 to 34 there; the head is
warmer, hands and shins are cooler. Hair is insulation without blood; a bag is near the air."""
CLOTH_HEAT, INSULATION_COOLS = 29.6, 4.2
"""°C of cloth without thickness, and how much one unit of insulation takes off it. The unit is
about a clo (0.155 m² K/W): skin of 33.5 °C, cloth, and 0.6 clo of still air in a row give these
temperatures within 2 °C (a test computes it)."""

_MATERIAL = ("r", "g", "b", "r2", "g2", "b2", "nir", "nir2", "period", "duty", "edge", "wrinkle",
             "weave", "heat", "logo_x", "logo_y", "logo_w", "logo_h", "gloss")  # fmt: skip
MATERIAL = np.dtype([("pattern", "i4")] + [(name, "f4") for name in _MATERIAL], align=True)
"""One row a `Part`."""
_WEARER = ("offset", "straps", "strap_side", "straps_on_outer", "zip", "sole", "beard", "glasses",
           "sweat", "hair_r", "hair_g", "hair_b", "hair_nir")  # fmt: skip
WEARER = np.dtype([(name, "f4") for name in _WEARER], align=True)
"""One row a person: what isn't a property of one cloth."""

_PATTERN = {name: number for number, name in enumerate(PATTERNS)}
(_PLAIN, _HOOPS, _STRIPES, _CHECK, _BLOCK, _LOGO, _SIDE, _DOTS, _PRINT, _YOKE, _SLEEVES, _BAND,
 _CAMOUFLAGE, _DIAGONAL) = range(len(PATTERNS))  # fmt: skip
SKIN, BOTTOM, TOP, OUTER, SKIRT, HAIR, SHOE, BAG, HAT, EYE, SCARF, METAL, UMBRELLA = (
    int(part) for part in Part
)


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
    table, wearer, p = np.zeros(NUM_PARTS, MATERIAL), np.zeros(1, WEARER), person

    def heat(cloth: Cloth, more: float = 1.0) -> float:
        return CLOTH_HEAT - INSULATION_COOLS * cloth.insulation * more

    for part, cloth, degrees, wrinkle, gloss in (
        (BOTTOM, p.bottom, heat(p.bottom), 1, 0.02),
        (TOP, p.top, heat(p.top), 1, 0.02),
        (OUTER, p.outer, heat(p.outer, 1.25), 1, 0.04),
        (SKIRT, p.bottom, heat(p.bottom) - 1.2, 0.5, 0.02),
        (SHOE, p.shoe, heat(p.shoe) - 2.2, 0.35, 0.15),
        (BAG, p.bag_cloth, BAG_HEAT + 0.5 * p.bag_cloth.insulation, 0.3, 0.10),
        (HAT, p.hat_cloth, heat(p.hat_cloth) + 0.5, 0.35, 0.02),
        (SCARF, p.scarf, heat(p.scarf), 1, 0.02),
        (UMBRELLA, p.hat_cloth, 17.0, 0.2, 0.10),
    ):
        _cloth_row(table[part], cloth, degrees, wrinkle, gloss)
    for part, rgb, nir, degrees, gloss in (
        (SKIN, p.skin, SKIN_NIR, 33.5, 0.12),
        (EYE, (0.12, 0.12, 0.12), 0.2, EYE_HEAT, 0.3),
        (HAIR, p.hair_colour, p.hair_nir, HAIR_HEAT, 0.10),
        (METAL, (0.35, 0.35, 0.36), 0.35, 20.0, 0.5),
    ):
        row = table[part]
        row["r"], row["g"], row["b"] = rgb
        row["nir"], row["heat"], row["gloss"] = nir, degrees, gloss
    row = wearer[0]
    for name, value in {
        "offset": p.offset, "sweat": p.sweat, "strap_side": p.bag_side,
        "straps": garment(Bag, p.bag).straps,
        "straps_on_outer": p.outer_kind != "none", "zip": garment(Outer, p.outer_kind).zipped,
        "sole": p.pale_sole, "beard": {"none": 0.0, "stubble": 0.4, "full": 0.9}[p.beard],
        "glasses": p.glasses, "hair_nir": p.hair_nir,
    }.items():  # fmt: skip
        row[name] = value
    row["hair_r"], row["hair_g"], row["hair_b"] = p.hair_colour
    return table, wearer


@jit
def _within(value, low, high):
    return 1.0 if low <= value < high else 0.0


@jit
def _pattern_share(m, part, u, v, front, leg_side, arm, offset, soft):
    """Share of a cloth's second colour at a point, 0 to 1."""
    k = m.pattern
    low_piece = part in (BOTTOM, SKIRT)
    if k == _HOOPS:
        return _within(fraction(v / m.period), 0, m.duty)
    if k == _STRIPES:
        return _within(fraction(u / (m.period * 0.5)), 0, m.duty * 0.6)
    if k == _CHECK:
        return 0.5 * _within(fraction(v / m.period), 0, 0.5) + 0.5 * _within(
            fraction(u / m.period), 0, 0.5
        )
    if k == _BLOCK:
        return 1.0 if v < (m.edge * 0.3 - 0.35 if low_piece else m.edge) else 0.0
    if k == _LOGO:
        hit = abs(u - m.logo_x) < m.logo_w and abs(v - m.logo_y) < m.logo_h
        return 1.0 if hit and front > 0 and arm < 0.5 else 0.0
    if k == _SIDE:
        if part in (TOP, OUTER):
            return 1.0 if arm > 0.5 and abs(u) < 0.02 else 0.0
        return 1.0 if leg_side > 0.955 else 0.0
    if k == _DOTS:
        q, s = fraction(u / m.period) - 0.5, fraction(v / m.period) - 0.5
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
        return 1.0 if abs(v - (-0.35 if low_piece else m.edge)) < 0.045 and arm < 0.5 else 0.0
    if k == _CAMOUFLAGE:
        return 1.0 if lookup(soft, u * 1.1 + offset, v * 1.1) > 0.1 else 0.0
    return _within(fraction((v + 0.7 * u) / m.period), 0, m.duty)  # diagonal


@jit
def skin_at(m, w, u, v, arm, x, y, z, drift, soft, fine):
    """(r, g, b, nir, heat) of skin; (x, y, z) is the position relative to the head's middle."""
    blotch = 1 + 0.03 * lookup(soft, u * 2 + w.offset, v * 2)
    r, g, b, nir = m.r * blotch, m.g * blotch, m.b, m.nir * blotch
    heat = m.heat + 0.5 * lookup(soft, u * 1.5 + drift, v * 1.5)
    if arm > 0.5:
        return r, g, b, nir, heat + HAND_HEAT - m.heat
    if abs(x) > 0.2 or abs(y) > 0.2 or abs(z) > 0.2:
        return r, g, b, nir, heat + (LEG_HEAT - m.heat if v < -0.1 else 0.0)
    heat += FACE_HEAT - m.heat
    if z > 0.1 and y > -0.075 and y < -0.045:
        heat -= 1.6  # a nose is cold
    if z > 0.05 and (y + 0.097) * (y + 0.097) / 0.00008 + x * x / 0.0005 < 1:
        r, g, b = r * 0.85, g * 0.5, b * 0.5  # lips
    if z > 0.05 and abs(y + 0.008) < 0.004 and abs(abs(x) - 0.031) < 0.017:
        r, g, b, nir = r * 0.4, g * 0.4, b * 0.4, 0.35  # brows
    if w.beard > 0 and z > -0.01 and y < -0.05 and y > -0.17:
        jaw = y < -0.112 - 0.25 * (0.03 - min(0.03, abs(x))) or abs(x) > 0.052
        moustache = y > -0.091 and y < -0.078 and abs(x) < 0.028
        beside = y < -0.085 and abs(x) > 0.026 and abs(x) < 0.036
        if jaw or moustache or beside:
            share = w.beard * (0.85 + 0.15 * lookup(fine, x * 9, y * 9))
            r += (w.hair_r - r) * share
            g += (w.hair_g - g) * share
            b += (w.hair_b - b) * share
            nir += (w.hair_nir - nir) * share
            heat -= 1.5 * share
    if w.glasses > 0 and z > 0.02 and abs(y + 0.029) < 0.019:
        rim = abs(abs(x) - 0.033) > 0.022 or abs(y + 0.029) > 0.0135
        if abs(x) < 0.058:
            if rim:
                r, g, b, nir = 0.02, 0.02, 0.02, 0.08
            heat -= 6.0  # glass hides what is behind it
        elif abs(y + 0.022) < 0.004:
            r, g, b, nir = 0.02, 0.02, 0.02, 0.08
    return r, g, b, nir, heat


@jit
def hair_at(m, u, v, x, z, fine):
    """(r, g, b, nir) of hair, in strands that run down."""
    strand = lookup(fine, u * 9 + x * 5, v * 1.2 + z)
    tone = 1 + 0.25 * min(2.0, max(-2.0, strand))
    return m.r * tone, m.g * tone, m.b * tone, m.nir * (0.4 + 0.6 * tone)


@jit
def cloth_at(m, bag, w, part, u, v, front, leg_side, arm, soft, fine):
    """(r, g, b, nir, share of the second colour) of cloth; `bag` is the bag's row of straps."""
    r, g, b, nir, share = m.r, m.g, m.b, m.nir, 0.0
    if m.pattern != _PLAIN:
        share = _pattern_share(m, part, u, v, front, leg_side, arm, w.offset, soft)
        r += (m.r2 - r) * share
        g += (m.g2 - g) * share
        b += (m.b2 - b) * share
        nir += (m.nir2 - nir) * share
    if (part in (TOP, OUTER)) and arm < 0.5:
        if part == OUTER and w.zip > 0 and abs(u) < 0.007 and front > 0:
            r, g, b, nir = r * 0.3, g * 0.3, b * 0.3, nir * 0.6
        if w.straps > 0 and (part == OUTER or w.straps_on_outer == 0):
            if w.straps == 1:
                strap = abs(abs(u) - 0.085) < 0.022 and v > 0.2 and front > -0.2
            else:
                strap = abs(v - 0.32 + w.strap_side * u * 1.6) < 0.025
            if strap:
                r, g, b, nir = bag.r * 0.8, bag.g * 0.8, bag.b * 0.8, bag.nir * 0.9
    elif part in (SKIRT, BOTTOM):
        if abs(v - 0.115) < 0.012:
            r, g, b, nir = r * 0.5, g * 0.5, b * 0.5, nir * 0.75  # belt
    elif part == SHOE:
        if v < -0.795:
            tone = 0.68 if w.sole > 0 else 0.05
            r, g, b, nir = tone, tone, tone, 0.1 + 0.7 * tone
    elif part == BAG and (abs(v - 0.34) < 0.006 or abs(v - 0.2) < 0.004):
        r, g, b, nir = r * 0.45, g * 0.45, b * 0.45, nir * 0.6  # zips
    grain = 1 + m.weave * lookup(fine, u * 4, v * 4)
    return r * grain, g * grain, b * grain, nir * (0.2 + 0.8 * grain), share


@jit
def cloth_heat(m, w, part, share, u, v, front, arm, drift, soft):
    """Temperature of cloth: insulation, uneven contact, collar, sweat, what a backpack keeps."""
    heat = (
        m.heat
        + lookup(soft, u * 0.9 + w.offset, v * 0.9 + 0.3)
        + 0.6 * lookup(soft, u * 2.5 + drift, v * 2.5)
    )
    if arm > 0.5:
        heat -= 0.4
    elif part in (TOP, OUTER):
        heat += 1.6 * bump((v - 0.5) / 0.1)
        heat -= 1.8 * w.sweat * bump((v - 0.34) / 0.17) * bump(u / 0.12)
        if w.straps == 1 and front < -0.2:
            heat += 1.2
    elif part == BOTTOM and v > -0.15:
        heat += 0.8
    if share > 0 and m.nir != m.nir2:
        heat -= 0.7 * share
    return heat
