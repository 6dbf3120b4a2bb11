"""What people wear and carry: one table, with the shape, the cloth and the odds of each garment.

To add one, append an entry to `WARDROBE` with the generator version that it comes with as `since`.
People of earlier versions never draw it, so their images stay equal to the byte. Names are unique
within a kind and stay; an entry in use is never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vireid.synthetic.people import solids
from vireid.synthetic.people.tailor import Tailor
from vireid.synthetic.versions import Version, is_drawn


@dataclass(frozen=True, kw_only=True)
class Garment:
    """Something worn or carried. Each person has one of each kind (subclass), perhaps "none".

    Attributes:
        name: as in `attributes.csv`.
        odds: weight among the garments of its kind, of women and of men; 0 is never drawn.
        since: generator version that it came with.
        add_to: adds what the kind's own shape lacks to the mesh.
    """

    name: str
    odds: tuple[float, float]
    since: Version = 1
    add_to: Callable[[Tailor], None] = lambda tailor: None


@dataclass(frozen=True, kw_only=True)
class Lower(Garment):
    """Trousers, shorts or a skirt. Heights are in template coordinates: hip 0, sole -0.82.

    Attributes:
        end: lowest and highest end of the legs (a skirt's own is drawn for each person).
        cloth: kind of cloth, "lower" or "skirt"; a "skirt" is one tube around both legs.
        loose: distance from the body, metres; flare: how much more at the ankle.
        smoothing: rounds in which cloth is drawn over the hollows of the legs.
        short: leaves the calves bare, so that shoes show whole unless leggings reach into them.
    """

    end: tuple[float, float] = (0.0, 0.0)
    cloth: str = "lower"
    loose: float = 0.01
    flare: float = 0.01
    smoothing: int = 8
    short: bool = False

    @property
    def is_skirt(self) -> bool:
        return self.cloth == "skirt"


@dataclass(frozen=True, kw_only=True)
class Outer(Garment):
    """What is worn over the top.

    Attributes:
        end: lower end of the body's part, in template coordinates.
        opening: heights (V,) → half the width of the gap in front, metres.
        tails: reaches down over the legs, as a coat does.
        zipped: has a zip.
    """

    end: float = -0.02
    opening: Callable[[np.ndarray], np.ndarray] = lambda y: 0.11 * np.maximum(0, y - 0.25)
    tails: bool = False
    zipped: bool = False


@dataclass(frozen=True, kw_only=True)
class Hat(Garment):
    """A shell over the skull.

    Attributes:
        tall: how much higher than the skull, metres.
        hair: "pressed" flat under it, "hidden" or "free".
    """

    tall: float = 0.0
    hair: str = "pressed"


@dataclass(frozen=True, kw_only=True)
class Hold:
    """How arms hold something; None leaves an angle (radians) to the gait.

    Attributes:
        forward, elbow, inward: angles as `Pose.arm_forward`, `elbow`, `arm_in`.
        swing: factor on the swing of the arms.
        both: with both arms.
    """

    forward: float | None = None
    elbow: float | None = None
    inward: float | None = None
    swing: float = 1.0
    both: bool = False


@dataclass(frozen=True, kw_only=True)
class Bag(Garment):
    """Something carried.

    Attributes:
        straps: 0 none, 1 over both shoulders, 2 across the chest.
        hold: how the arms hold it.
    """

    straps: int = 0
    hold: Hold = Hold()


@dataclass(frozen=True, kw_only=True)
class Neck(Garment):
    """Something around the neck."""


# Odds are guesses about a campus, not a census.
# fmt: off
WARDROBE: list[Garment] = [
    Lower(name="trousers", odds=(0.27, 0.42), end=(-0.73, -0.73), loose=0.012),
    Lower(name="slim", odds=(0.27, 0.26), end=(-0.72, -0.72), loose=0.004, flare=0.0, smoothing=0),
    Lower(name="wide", odds=(0.10, 0.12), end=(-0.755, -0.755), loose=0.020, flare=0.030,
          smoothing=24),
    Lower(name="shorts", odds=(0.10, 0.18), end=(-0.35, -0.15), loose=0.022, short=True),
    Lower(name="capri", odds=(0.05, 0.02), end=(-0.52, -0.52)),
    Lower(name="skirt", odds=(0.21, 0.0), cloth="skirt", loose=0.004, short=True),

    Outer(name="none", odds=(0.53, 0.53)),
    Outer(name="jacket", odds=(0.19, 0.19), zipped=True),
    Outer(name="open_jacket", odds=(0.15, 0.15),
          opening=lambda y: 0.035 + 0.07 * np.clip(y + 0.05, 0, 1)),
    Outer(name="coat", odds=(0.13, 0.13), end=0.0, tails=True, zipped=True),

    Hat(name="none", odds=(0.82, 0.82), hair="free"),
    Hat(name="cap", odds=(0.08, 0.08), add_to=solids.peak),
    Hat(name="beanie", odds=(0.06, 0.06), tall=0.02, hair="hidden"),
    Hat(name="brim", odds=(0.04, 0.04), add_to=solids.brim),

    Bag(name="none", odds=(0.36, 0.36)),
    Bag(name="backpack", odds=(0.26, 0.26), straps=1, add_to=solids.backpack),
    Bag(name="shoulder", odds=(0.15, 0.15), straps=2, add_to=solids.shoulder_bag),
    Bag(name="hand", odds=(0.11, 0.11), hold=Hold(elbow=0.08, swing=0.6), add_to=solids.handbag),
    Bag(name="trolley", odds=(0.06, 0.06), hold=Hold(forward=-0.35, elbow=0.05, swing=0.5),
        add_to=solids.trolley),
    Bag(name="box", odds=(0.06, 0.06), add_to=solids.box,
        hold=Hold(forward=0.25, elbow=1.15, inward=-0.25, swing=0.0, both=True)),

    Neck(name="none", odds=(0.88, 0.88)),
    Neck(name="scarf", odds=(0.12, 0.12), add_to=solids.scarf),
]
# fmt: on

HOLD_PHONE = Hold(forward=0.5, elbow=1.5, inward=-0.3)
HOLD_UMBRELLA = Hold(forward=0.35, elbow=1.9, inward=-0.1, swing=0.4)

G = TypeVar("G", bound=Garment)


def garment(kind: type[G], name: str) -> G:
    """The garment of a kind that has a name."""
    return next(g for g in WARDROBE if isinstance(g, kind) and g.name == name)


def odds(kind: type[Garment], female: bool, version: Version) -> dict[str, float]:
    """Name → weight of the garments of a kind that women or men of a generator version wear."""
    weights = {
        g.name: g.odds[0 if female else 1]
        for g in WARDROBE
        if isinstance(g, kind) and is_drawn(g.since, version)
    }
    return {name: weight for name, weight in weights.items() if weight > 0}
