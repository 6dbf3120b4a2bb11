"""What a scene is made of: surfaces, fixtures on walls, items that may be in it.

A scene is a floor, a wall, fixtures on the wall and items that may be in it; everything else
(where in the scene, how far the wall, which items where) is drawn for each image, so a
background tells neither the person nor, since scenes are shared (see `camera`), the camera.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vireid.synthetic.versions import Version


class Finish(IntEnum):
    """How a surface is structured; `surfaces.surface` draws it."""

    PLAIN = 0
    TILES = 1
    CHECKER = 2
    BRICK = 3
    PLANKS = 4
    CARPET = 5
    ASPHALT = 6
    GRASS = 7
    COBBLES = 8
    PANELS = 9
    SHUTTER = 10
    HEDGE = 11
    STONE = 12
    TWO_TONE = 13
    GRAVEL = 14
    LINES = 15
    GLASS = 16


class Fixture(IntEnum):
    """What hangs on a wall or is set in it."""

    FLAT = 0
    WINDOW = 1
    DOOR = 2
    POSTER = 3
    SHELF = 4
    RADIATOR = 5
    LAMP = 6


class Item(IntEnum):
    """What may be in a scene."""

    POLE = 0
    PILLAR = 1
    TREE = 2
    BUSH = 3
    CAR = 4
    BENCH = 5
    BIN = 6
    BOARD = 7
    RAILING = 8
    PLANTER = 9
    BICYCLE = 10


RGB = tuple[float, float, float]


def triple(values: Iterable[float]) -> RGB:
    """Three numbers as a tuple of Python floats."""
    a, b, c = values
    return float(a), float(b), float(c)


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A floor or wall.

    Attributes:
        finish: its structure; scale: size of one unit of it, metres.
        colour, colour2: linear RGB albedo of its two materials (tile and joint, …).
        rough: contrast of its noise.
        nir, nir2: near-infrared albedo; None takes it from the brightness.
        warm: °C above the air.
    """

    finish: Finish
    colour: RGB
    colour2: RGB = (0.25, 0.24, 0.22)
    scale: float = 0.6
    rough: float = 0.1
    nir: float | None = None
    nir2: float | None = None
    warm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Decor:
    """A fixture that repeats along a wall.

    Attributes:
        period: metres from one to the next; at, width: within the period.
        bottom, top: heights.
        colour: linear RGB; nir: near-infrared albedo or None; warm: °C above the air.
    """

    fixture: Fixture
    period: float
    at: float
    width: float
    bottom: float
    top: float
    colour: RGB
    nir: float | None = None
    warm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One scene.

    Attributes:
        indoor: a room or corridor with side walls, or the open.
        wall_top: height of the wall; above it trees (if leafy) and sky.
        near, far: distance of the wall behind the person, metres.
        items: what may be in it.
        ambient: share of light that has no direction, 0 to 1.
        cast: colour of the light.
        since: generator version that it came with.
    """

    name: str
    indoor: bool
    floor: Surface
    wall: Surface
    decor: tuple[Decor, ...] = ()
    items: tuple[Item, ...] = ()
    wall_top: float = 50.0
    leafy: bool = False
    near: float = 1.2
    far: float = 5.0
    ambient: float = 0.58
    cast: RGB = (1.0, 1.0, 1.0)
    since: Version = 1


def near_infrared(colour: RGB, albedo: float | None) -> float:
    """Albedo at 850 nm: the one stated, or else the visible brightness drawn towards the middle, as
    of paints, stone and wood."""
    if albedo is not None:
        return albedo
    return float(np.clip(0.02 + 0.95 * np.mean(colour), 0.03, 0.95))


def grey(value: float) -> RGB:
    """A grey albedo."""
    return (value, value, value)


def skirting(colour: RGB = (0.16, 0.13, 0.10)) -> Decor:
    """A board along the foot of a wall."""
    return Decor(
        fixture=Fixture.FLAT, period=100, at=0, width=100, bottom=0, top=0.12, colour=colour
    )


def windows(
    period: float,
    width: float,
    bottom: float,
    top: float,
    colour: RGB = (0.16, 0.20, 0.25),
    warm: float = -2.0,
) -> Decor:
    """Panes at regular distances; glass is dark in the near infrared and mirrors cold sky."""
    return Decor(
        fixture=Fixture.WINDOW,
        period=period,
        at=0.4,
        width=width,
        bottom=bottom,
        top=top,
        colour=colour,
        nir=0.12,
        warm=warm,
    )
