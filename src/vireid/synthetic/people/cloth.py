"""What a piece of cloth is made of: colours, pattern, near-infrared albedo, insulation.

Near-infrared albedo is drawn independently of the visible colour: at 850 nm most dyes are
transparent and the fibre shows (bright), while some blacks, pigments and coatings stay dark
(photographs of both in Mangold, Shaw and Vollmer, "The physics of near-infrared photography",
Eur. J. Phys. 34, 2013). So a black jacket may be white at night, and hue tells a network nothing
about it. What survives between the two is the cut, and a part of the pattern.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from vireid.synthetic.places.scene import triple

PATTERNS = ("plain", "hoops", "stripes", "check", "block", "logo", "side_stripe", "dots", "print",
            "yoke", "sleeves", "band", "camouflage", "diagonal")  # fmt: skip
"""Pattern names; the position is the number that the shader sees. To add one, append it here and
give it a branch in `material._pattern_share` and odds below; that changes every person, so it needs
a table of its own for a new generator version."""

_PATTERN_ODDS = {
    "upper": (0.33, 0.13, 0.03, 0.07, 0.09, 0.10, 0.03, 0.03, 0.06, 0.03, 0.04, 0.04, 0.01, 0.01),
    "lower": (0.80, 0.01, 0.02, 0.04, 0.03, 0.00, 0.07, 0.01, 0.00, 0.00, 0.00, 0.01, 0.01, 0.00),
    "skirt": (0.58, 0.08, 0.04, 0.10, 0.05, 0.00, 0.00, 0.06, 0.04, 0.00, 0.00, 0.03, 0.00, 0.02),
    "outer": (0.56, 0.05, 0.02, 0.06, 0.10, 0.04, 0.03, 0.00, 0.01, 0.05, 0.04, 0.03, 0.01, 0.00),
    "thing": (0.66, 0.04, 0.02, 0.06, 0.08, 0.06, 0.00, 0.03, 0.00, 0.00, 0.00, 0.03, 0.01, 0.01),
    "shoe": (1.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
}

# Name → hue, saturation, value (display, 0 to 1), odds as upper, lower, outer, thing, shoe.
# Frequencies are a guess at a European or Asian campus, not a measurement.
PALETTE: dict[str, tuple[tuple[float, float, float], tuple[float, float, float, float, float]]] = {
    "black": ((0.62, 0.10, 0.13), (13, 24, 22, 26, 32)),
    "charcoal": ((0.62, 0.08, 0.27), (6, 9, 9, 9, 8)),
    "grey": ((0.60, 0.04, 0.52), (8, 8, 8, 8, 10)),
    "silver": ((0.58, 0.03, 0.74), (4, 2, 2, 2, 3)),
    "white": ((0.12, 0.02, 0.95), (14, 4, 4, 3, 18)),
    "navy": ((0.63, 0.60, 0.28), (8, 11, 12, 8, 5)),
    "denim": ((0.60, 0.45, 0.52), (4, 16, 5, 3, 1)),
    "pale_denim": ((0.58, 0.27, 0.74), (3, 6, 2, 1, 1)),
    "beige": ((0.10, 0.26, 0.79), (4, 5, 6, 4, 4)),
    "khaki": ((0.11, 0.36, 0.60), (2, 5, 5, 4, 2)),
    "olive": ((0.19, 0.42, 0.37), (3, 3, 6, 4, 1)),
    "brown": ((0.06, 0.52, 0.35), (2, 3, 4, 8, 9)),
    "burgundy": ((0.98, 0.65, 0.40), (3, 1, 3, 3, 1)),
    "red": ((0.99, 0.72, 0.72), (4, 1, 3, 3, 2)),
    "orange": ((0.06, 0.72, 0.85), (2, 0, 1, 2, 1)),
    "mustard": ((0.12, 0.68, 0.77), (2, 0, 1, 2, 0)),
    "yellow": ((0.15, 0.55, 0.90), (2, 0, 1, 1, 0)),
    "green": ((0.38, 0.50, 0.48), (3, 0, 2, 2, 0)),
    "mint": ((0.43, 0.25, 0.80), (1, 0, 0, 1, 0)),
    "teal": ((0.50, 0.55, 0.50), (2, 0, 1, 2, 0)),
    "sky": ((0.55, 0.40, 0.84), (4, 1, 1, 2, 0)),
    "blue": ((0.61, 0.66, 0.65), (4, 1, 2, 3, 1)),
    "purple": ((0.77, 0.40, 0.50), (2, 0, 1, 1, 0)),
    "lavender": ((0.73, 0.22, 0.78), (2, 0, 0, 1, 0)),
    "pink": ((0.94, 0.32, 0.86), (4, 1, 1, 2, 1)),
}
_COLUMN = {"upper": 0, "lower": 1, "skirt": 0, "outer": 2, "thing": 3, "shoe": 4}
_NAMES = tuple(PALETTE)

NIR_BRIGHT_SHARE = 0.62
"""Share of cloths that are bright in the near infrared (0.42 to 0.85); the rest are 0.06-0.35. A
guess: we know of no survey of a population's clothes at 850 nm."""


@dataclass(frozen=True, kw_only=True)
class Cloth:
    """Optics and heat of one piece of cloth.

    Attributes:
        colour_name: of the ground, a key of `PALETTE`.
        colour, colour2: linear RGB albedo of ground and pattern, 0 to 1.
        pattern: a name of `PATTERNS`.
        nir, nir2: near-infrared albedo of ground and pattern, 0 to 1.
        period: of the pattern, metres; duty: share of it in the second colour.
        edge: where "block" and "band" change colour, metres above the hip.
        wrinkle: strength of creases, 0 to 1; weave: contrast of the weave.
        insulation: 0.35 thin to 1.2 thick; lowers the surface temperature.
        logo: centre x, centre y, half width, half height, metres.
    """

    colour_name: str
    colour: tuple[float, float, float]
    colour2: tuple[float, float, float]
    pattern: str
    nir: float
    nir2: float
    period: float
    duty: float
    edge: float
    wrinkle: float
    weave: float
    insulation: float
    logo: tuple[float, float, float, float]

    @property
    def hue(self) -> float:
        """Hue of the ground colour, 0 to 1."""
        return colorsys.rgb_to_hsv(*self.colour)[0]


def linear(hue: float, saturation: float, value: float) -> np.ndarray:
    """Linear RGB (3,) of a display colour in HSV."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value)) ** 2.2


def _colour(rng: np.random.Generator, kind: str) -> tuple[str, np.ndarray]:
    odds = np.array([PALETTE[name][1][_COLUMN[kind]] for name in _NAMES], float)
    name = _NAMES[rng.choice(len(_NAMES), p=odds / odds.sum())]
    hue, saturation, value = PALETTE[name][0]
    return name, linear(
        hue + rng.normal(0, 0.015),
        float(np.clip(saturation * rng.uniform(0.75, 1.2), 0, 1)),
        float(np.clip(value * rng.uniform(0.8, 1.15), 0.05, 0.97)),
    )


def sample_cloth(rng: np.random.Generator, kind: str) -> Cloth:
    """Draw a cloth for a kind of piece: "upper", "lower", "skirt", "outer", "thing", "shoe"."""
    name, ground = _colour(rng, kind)
    _, second = _colour(rng, "upper")
    if abs(second.mean() - ground.mean()) < 0.15:  # a pattern must be visible
        second = np.clip(ground + (0.35 if ground.mean() < 0.4 else -0.3), 0.02, 0.95)
    odds = np.array(_PATTERN_ODDS[kind])
    pattern = PATTERNS[rng.choice(len(PATTERNS), p=odds / odds.sum())]
    bright = rng.random() < NIR_BRIGHT_SHARE
    nir = rng.uniform(0.42, 0.85) if bright else rng.uniform(0.06, 0.35)
    # How much of the pattern's contrast survives in the near infrared.
    survives = rng.choice([0.0, 0.25, 0.55, 1.0], p=[0.2, 0.25, 0.25, 0.3])
    nir2 = float(
        np.clip(
            nir + survives * (0.45 if nir < 0.5 else -0.45) * rng.choice([1, 1, -0.4]), 0.05, 0.95
        )
    )
    return Cloth(
        colour_name=name,
        colour=triple(ground),
        colour2=triple(second),
        pattern=pattern,
        nir=float(nir),
        nir2=nir2,
        period=float(rng.uniform(0.05, 0.16)),
        duty=float(rng.uniform(0.25, 0.6)),
        edge=float(rng.uniform(0.2, 0.42)),
        wrinkle=float(rng.uniform(0.25, 0.8)),
        weave=float(rng.uniform(0.02, 0.08)),
        insulation=float(rng.uniform(0.75, 1.2) if kind == "outer" else rng.uniform(0.35, 1.0)),
        logo=(
            float(rng.uniform(-0.02, 0.07)),
            float(rng.uniform(0.3, 0.4)),
            float(rng.uniform(0.03, 0.1)),
            float(rng.uniform(0.025, 0.07)),
        ),
    )
