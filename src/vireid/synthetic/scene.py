"""The places people walk through: 26 scenes, 13 indoors and 13 outdoors.

A scene is a floor, a wall, decorations on the wall and props that may stand about; everything
else (where in the scene, how far the wall, which props where) is drawn for each image, so a
background tells neither the person nor, since scenes are shared (see `camera`), the camera.

To add a scene: append one `Scene` to `SCENES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Finish(IntEnum):
    """How a surface is structured; `background.surface` draws it."""

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
    """What stands about."""

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
    """One place.

    Attributes:
        indoor: a room or corridor with side walls, or the open.
        wall_top: height of the wall; above it trees (if leafy) and sky.
        near, far: distance of the wall behind the person, metres.
        items: what may stand about.
        ambient: share of light that has no direction, 0 to 1.
        cast: colour of the light.
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


def near_infrared(colour: RGB, given: float | None) -> float:
    """Albedo at 850 nm: what was given, or the visible brightness drawn towards the middle, as
    paints, stone and wood do."""
    return given if given is not None else float(np.clip(0.02 + 0.95 * np.mean(colour), 0.03, 0.95))


def _grey(value: float) -> RGB:
    return (value, value, value)


_LEAVES: RGB = (0.13, 0.28, 0.08)
_S, _D, _F, _X, _I = Surface, Decor, Finish, Fixture, Item
_LAWN = _S(
    finish=_F.GRASS,
    colour=(0.16, 0.27, 0.08),
    colour2=(0.33, 0.30, 0.16),
    rough=0.3,
    nir=0.62,
    nir2=0.45,
    warm=-0.5,
)
_HEDGE = _S(
    finish=_F.HEDGE,
    colour=_LEAVES,
    colour2=(0.03, 0.06, 0.02),
    rough=0.35,
    nir=0.66,
    nir2=0.2,
    warm=-1.5,
)


def _skirting(colour: RGB = (0.16, 0.13, 0.10)) -> Decor:
    return _D(fixture=_X.FLAT, period=100, at=0, width=100, bottom=0, top=0.12, colour=colour)


def _windows(
    period: float,
    width: float,
    bottom: float,
    top: float,
    colour: RGB = (0.16, 0.20, 0.25),
    warm: float = -2.0,
) -> Decor:
    return _D(
        fixture=_X.WINDOW,
        period=period,
        at=0.4,
        width=width,
        bottom=bottom,
        top=top,
        colour=colour,
        nir=0.12,
        warm=warm,
    )


SCENES: tuple[Scene, ...] = (
    # Indoors
    Scene(
        name="office corridor",
        indoor=True,
        cast=(1.05, 1.0, 0.9),
        ambient=0.62,
        floor=_S(finish=_F.TILES, colour=(0.50, 0.47, 0.42), rough=0.06),
        wall=_S(finish=_F.PLAIN, colour=(0.68, 0.62, 0.50), rough=0.03),
        decor=(
            _skirting(),
            _D(
                fixture=_X.DOOR,
                period=3.6,
                at=0.4,
                width=0.95,
                bottom=0,
                top=2.1,
                colour=(0.30, 0.16, 0.08),
            ),
            _D(
                fixture=_X.POSTER,
                period=3.6,
                at=2.0,
                width=0.8,
                bottom=1.1,
                top=1.9,
                colour=(0.5, 0.45, 0.4),
            ),
        ),
        items=(_I.BIN, _I.PLANTER),
    ),
    Scene(
        name="glass lobby",
        indoor=True,
        cast=(0.92, 1.0, 1.08),
        floor=_S(
            finish=_F.TILES, colour=(0.30, 0.30, 0.32), colour2=_grey(0.15), scale=0.9, rough=0.08
        ),
        wall=_S(
            finish=_F.GLASS,
            colour=(0.50, 0.62, 0.70),
            colour2=_grey(0.22),
            scale=1.5,
            rough=0.2,
            nir=0.35,
            warm=-1.5,
        ),
        items=(_I.BENCH, _I.PLANTER, _I.PILLAR),
        near=1.8,
        far=6.0,
        ambient=0.66,
    ),
    Scene(
        name="carpet office",
        indoor=True,
        cast=(0.95, 1.0, 1.05),
        ambient=0.55,
        floor=_S(
            finish=_F.CARPET, colour=(0.14, 0.17, 0.24), colour2=(0.22, 0.24, 0.30), rough=0.18
        ),
        wall=_S(finish=_F.PLAIN, colour=(0.70, 0.72, 0.74), rough=0.02),
        decor=(
            _skirting(_grey(0.15)),
            _windows(2.0, 1.7, 0.9, 2.6, (0.5, 0.62, 0.72)),
            _D(
                fixture=_X.RADIATOR,
                period=4.0,
                at=0.5,
                width=1.3,
                bottom=0.15,
                top=0.75,
                colour=_grey(0.75),
                warm=14.0,
            ),
        ),
        items=(_I.BIN, _I.BOARD),
    ),
    Scene(
        name="library",
        indoor=True,
        cast=(1.06, 1.0, 0.86),
        ambient=0.6,
        floor=_S(
            finish=_F.PLANKS,
            colour=(0.36, 0.22, 0.11),
            colour2=(0.16, 0.09, 0.05),
            scale=0.14,
            rough=0.15,
        ),
        wall=_S(finish=_F.PLAIN, colour=(0.55, 0.48, 0.38), rough=0.05),
        decor=(
            _D(
                fixture=_X.SHELF,
                period=2.2,
                at=0.1,
                width=1.9,
                bottom=0.1,
                top=2.2,
                colour=(0.28, 0.17, 0.09),
            ),
        ),
        items=(_I.BENCH, _I.BIN),
    ),
    Scene(
        name="white hall",
        indoor=True,
        cast=(1.0, 1.0, 1.0),
        ambient=0.7,
        floor=_S(finish=_F.TILES, colour=_grey(0.66), colour2=_grey(0.4), scale=0.45, rough=0.04),
        wall=_S(
            finish=_F.TWO_TONE,
            colour=(0.78, 0.78, 0.74),
            colour2=(0.42, 0.52, 0.46),
            scale=1.1,
            rough=0.03,
        ),
        decor=(
            _D(
                fixture=_X.DOOR,
                period=4.4,
                at=1.0,
                width=1.5,
                bottom=0,
                top=2.15,
                colour=(0.34, 0.42, 0.50),
            ),
        ),
        items=(_I.BENCH,),
    ),
    Scene(
        name="metro passage",
        indoor=True,
        cast=(0.94, 1.02, 0.98),
        ambient=0.52,
        floor=_S(finish=_F.TILES, colour=(0.24, 0.23, 0.22), scale=0.3, rough=0.12),
        wall=_S(
            finish=_F.BRICK, colour=(0.64, 0.64, 0.58), colour2=_grey(0.35), scale=0.15, rough=0.06
        ),
        decor=(
            _D(
                fixture=_X.POSTER,
                period=5.0,
                at=0.8,
                width=2.4,
                bottom=0.8,
                top=2.3,
                colour=(0.45, 0.4, 0.4),
            ),
            _D(
                fixture=_X.FLAT,
                period=100,
                at=0,
                width=100,
                bottom=2.45,
                top=2.6,
                colour=(0.10, 0.22, 0.45),
            ),
        ),
        items=(_I.PILLAR, _I.BIN, _I.RAILING),
    ),
    Scene(
        name="wooden foyer",
        indoor=True,
        cast=(1.1, 1.0, 0.82),
        ambient=0.56,
        floor=_S(
            finish=_F.CARPET, colour=(0.30, 0.09, 0.08), colour2=(0.20, 0.06, 0.06), rough=0.12
        ),
        wall=_S(
            finish=_F.PANELS,
            colour=(0.40, 0.24, 0.12),
            colour2=(0.14, 0.08, 0.04),
            scale=0.8,
            rough=0.12,
        ),
        decor=(
            _D(
                fixture=_X.LAMP,
                period=3.2,
                at=1.5,
                width=0.22,
                bottom=1.75,
                top=2.1,
                colour=(0.95, 0.85, 0.6),
                warm=18.0,
            ),
        ),
        items=(_I.PLANTER, _I.BOARD),
    ),
    Scene(
        name="car park",
        indoor=True,
        cast=(1.02, 1.02, 0.9),
        ambient=0.45,
        floor=_S(finish=_F.LINES, colour=_grey(0.22), colour2=_grey(0.66), scale=2.5, rough=0.15),
        wall=_S(
            finish=_F.TWO_TONE, colour=_grey(0.48), colour2=(0.60, 0.46, 0.08), scale=0.9, rough=0.1
        ),
        items=(_I.PILLAR, _I.CAR, _I.CAR),
        near=2.5,
        far=8.0,
    ),
    Scene(
        name="concrete stairwell",
        indoor=True,
        cast=(0.98, 1.0, 1.02),
        ambient=0.5,
        floor=_S(finish=_F.PLAIN, colour=_grey(0.38), rough=0.12),
        wall=_S(finish=_F.PANELS, colour=_grey(0.46), colour2=_grey(0.28), scale=1.3, rough=0.12),
        decor=(
            _D(
                fixture=_X.FLAT,
                period=100,
                at=0,
                width=100,
                bottom=0.9,
                top=0.96,
                colour=(0.3, 0.05, 0.04),
            ),
        ),
        items=(_I.RAILING, _I.BIN),
    ),
    Scene(
        name="canteen",
        indoor=True,
        cast=(1.05, 1.02, 0.92),
        ambient=0.65,
        floor=_S(
            finish=_F.CHECKER,
            colour=(0.58, 0.52, 0.44),
            colour2=(0.34, 0.20, 0.15),
            scale=0.35,
            rough=0.06,
        ),
        wall=_S(
            finish=_F.TWO_TONE,
            colour=(0.72, 0.66, 0.48),
            colour2=(0.30, 0.44, 0.30),
            scale=1.2,
            rough=0.04,
        ),
        decor=(
            _windows(3.0, 2.0, 1.0, 2.3, (0.6, 0.66, 0.68)),
            _D(
                fixture=_X.RADIATOR,
                period=3.0,
                at=0.6,
                width=1.5,
                bottom=0.15,
                top=0.8,
                colour=_grey(0.7),
                warm=12.0,
            ),
        ),
        items=(_I.BENCH, _I.PLANTER),
    ),
    Scene(
        name="sports hall",
        indoor=True,
        cast=(1.0, 1.0, 0.94),
        ambient=0.6,
        floor=_S(
            finish=_F.PLANKS,
            colour=(0.56, 0.38, 0.20),
            colour2=(0.40, 0.26, 0.13),
            scale=0.1,
            rough=0.06,
        ),
        wall=_S(
            finish=_F.STONE, colour=(0.55, 0.55, 0.52), colour2=_grey(0.4), scale=0.4, rough=0.05
        ),
        decor=(
            _D(
                fixture=_X.FLAT,
                period=6.0,
                at=1.0,
                width=3.0,
                bottom=0.0,
                top=1.6,
                colour=(0.10, 0.25, 0.42),
            ),
        ),
        items=(_I.BENCH,),
        near=2.0,
        far=7.0,
    ),
    Scene(
        name="shop arcade",
        indoor=True,
        cast=(1.03, 1.0, 0.95),
        ambient=0.64,
        floor=_S(
            finish=_F.CHECKER,
            colour=(0.62, 0.60, 0.55),
            colour2=(0.48, 0.45, 0.42),
            scale=0.6,
            rough=0.05,
        ),
        wall=_S(finish=_F.PLAIN, colour=(0.40, 0.38, 0.36), rough=0.05),
        decor=(
            _D(
                fixture=_X.POSTER,
                period=4.0,
                at=0.3,
                width=3.0,
                bottom=0.5,
                top=2.4,
                colour=(0.6, 0.5, 0.4),
                warm=2.0,
            ),
            _D(
                fixture=_X.LAMP,
                period=4.0,
                at=0.3,
                width=3.0,
                bottom=2.5,
                top=2.75,
                colour=(0.9, 0.85, 0.75),
                warm=8.0,
            ),
        ),
        items=(_I.BENCH, _I.PLANTER, _I.BIN),
    ),
    Scene(
        name="hospital ward",
        indoor=True,
        cast=(0.97, 1.02, 1.02),
        ambient=0.7,
        floor=_S(finish=_F.PLAIN, colour=(0.40, 0.50, 0.50), rough=0.05),
        wall=_S(
            finish=_F.TWO_TONE,
            colour=(0.74, 0.76, 0.76),
            colour2=(0.46, 0.60, 0.66),
            scale=1.0,
            rough=0.02,
        ),
        decor=(
            _D(
                fixture=_X.DOOR,
                period=4.0,
                at=0.6,
                width=1.25,
                bottom=0,
                top=2.1,
                colour=(0.62, 0.55, 0.42),
            ),
            _skirting(_grey(0.3)),
        ),
        items=(_I.RAILING, _I.BIN),
    ),
    # Outdoors
    Scene(
        name="brick facade",
        indoor=False,
        ambient=0.4,
        near=2,
        far=9,
        floor=_S(finish=_F.TILES, colour=(0.45, 0.43, 0.40), scale=0.4, rough=0.1, warm=1.0),
        wall=_S(
            finish=_F.BRICK,
            colour=(0.42, 0.20, 0.14),
            colour2=(0.50, 0.47, 0.43),
            scale=0.26,
            rough=0.12,
        ),
        decor=(_windows(2.6, 1.3, 0.95, 2.4),),
        items=(_I.BICYCLE, _I.POLE, _I.BIN),
    ),
    Scene(
        name="park path",
        indoor=False,
        ambient=0.5,
        near=2,
        far=9,
        cast=(0.95, 1.03, 0.95),
        floor=_LAWN,
        wall=_HEDGE,
        wall_top=2.1,
        leafy=True,
        items=(_I.TREE, _I.BENCH, _I.BUSH, _I.TREE),
    ),
    Scene(
        name="street with cars",
        indoor=False,
        ambient=0.46,
        near=4,
        far=11,
        floor=_S(
            finish=_F.LINES, colour=_grey(0.17), colour2=_grey(0.75), scale=2.5, rough=0.2, warm=1.5
        ),
        wall=_S(finish=_F.PLAIN, colour=(0.55, 0.47, 0.36), rough=0.08),
        decor=(
            _windows(2.2, 1.0, 1.1, 2.5),
            _D(
                fixture=_X.DOOR,
                period=6.6,
                at=1.7,
                width=1.1,
                bottom=0,
                top=2.3,
                colour=(0.12, 0.2, 0.14),
            ),
        ),
        items=(_I.CAR, _I.CAR, _I.POLE, _I.TREE),
    ),
    Scene(
        name="cobbled square",
        indoor=False,
        ambient=0.5,
        near=4,
        far=12,
        floor=_S(
            finish=_F.COBBLES,
            colour=(0.34, 0.32, 0.30),
            colour2=(0.16, 0.15, 0.14),
            scale=0.16,
            rough=0.2,
            warm=0.8,
        ),
        wall=_S(
            finish=_F.STONE,
            colour=(0.56, 0.50, 0.40),
            colour2=(0.36, 0.32, 0.26),
            scale=0.55,
            rough=0.12,
        ),
        decor=(_windows(3.2, 1.2, 1.4, 3.2),),
        items=(_I.BENCH, _I.POLE, _I.PLANTER),
    ),
    Scene(
        name="campus lawn",
        indoor=False,
        ambient=0.46,
        near=5,
        far=14,
        leafy=True,
        wall_top=0.8,
        floor=_S(
            finish=_F.GRAVEL,
            colour=(0.50, 0.45, 0.37),
            colour2=(0.38, 0.34, 0.28),
            rough=0.18,
            warm=1.0,
        ),
        wall=_HEDGE,
        items=(_I.TREE, _I.BENCH, _I.BICYCLE, _I.TREE),
    ),
    Scene(
        name="modern front",
        indoor=False,
        ambient=0.5,
        near=3,
        far=10,
        cast=(0.97, 1.0, 1.04),
        floor=_S(
            finish=_F.TILES,
            colour=_grey(0.52),
            colour2=_grey(0.36),
            scale=0.8,
            rough=0.08,
            warm=1.0,
        ),
        wall=_S(
            finish=_F.GLASS,
            colour=(0.26, 0.36, 0.44),
            colour2=_grey(0.5),
            scale=1.3,
            rough=0.25,
            nir=0.2,
            warm=-3.0,
        ),
        items=(_I.PLANTER, _I.PILLAR, _I.BICYCLE),
    ),
    Scene(
        name="loading yard",
        indoor=False,
        ambient=0.42,
        near=3,
        far=10,
        floor=_S(finish=_F.ASPHALT, colour=_grey(0.2), colour2=_grey(0.3), rough=0.22, warm=1.2),
        wall=_S(
            finish=_F.SHUTTER, colour=(0.50, 0.52, 0.55), colour2=_grey(0.3), scale=0.14, rough=0.06
        ),
        items=(_I.CAR, _I.BIN, _I.POLE),
    ),
    Scene(
        name="garden wall",
        indoor=False,
        ambient=0.52,
        near=2,
        far=7,
        leafy=True,
        wall_top=1.7,
        floor=_S(
            finish=_F.TILES,
            colour=(0.50, 0.36, 0.28),
            colour2=(0.33, 0.25, 0.2),
            scale=0.25,
            rough=0.12,
            warm=0.8,
        ),
        wall=_S(
            finish=_F.STONE,
            colour=(0.44, 0.41, 0.36),
            colour2=(0.25, 0.24, 0.21),
            scale=0.3,
            rough=0.2,
        ),
        items=(_I.BUSH, _I.TREE, _I.BUSH),
    ),
    Scene(
        name="wooden fence",
        indoor=False,
        ambient=0.5,
        near=2,
        far=8,
        leafy=True,
        wall_top=1.8,
        floor=_LAWN,
        wall=_S(
            finish=_F.PANELS,
            colour=(0.36, 0.26, 0.17),
            colour2=(0.08, 0.06, 0.04),
            scale=0.16,
            rough=0.2,
        ),
        items=(_I.BUSH, _I.TREE, _I.BICYCLE),
    ),
    Scene(
        name="riverside",
        indoor=False,
        ambient=0.55,
        near=7,
        far=15,
        wall_top=0.9,
        leafy=True,
        floor=_S(
            finish=_F.PLANKS,
            colour=(0.42, 0.34, 0.26),
            colour2=(0.18, 0.14, 0.11),
            scale=0.18,
            rough=0.16,
        ),
        wall=_S(finish=_F.PLAIN, colour=(0.20, 0.26, 0.28), rough=0.3, nir=0.06, warm=-3.0),
        items=(_I.RAILING, _I.RAILING, _I.POLE),
    ),
    Scene(
        name="concrete underpass",
        indoor=False,
        ambient=0.4,
        near=2,
        far=7,
        floor=_S(finish=_F.ASPHALT, colour=_grey(0.26), colour2=_grey(0.34), rough=0.15),
        wall=_S(finish=_F.PANELS, colour=_grey(0.5), colour2=_grey(0.3), scale=1.8, rough=0.15),
        decor=(
            _D(
                fixture=_X.POSTER,
                period=7.0,
                at=1.0,
                width=3.4,
                bottom=0.3,
                top=1.8,
                colour=(0.4, 0.38, 0.42),
            ),
        ),
        items=(_I.PILLAR, _I.BICYCLE),
    ),
    Scene(
        name="bus stop",
        indoor=False,
        ambient=0.5,
        near=2.5,
        far=7,
        floor=_S(
            finish=_F.TILES,
            colour=(0.40, 0.39, 0.38),
            colour2=_grey(0.3),
            scale=0.5,
            rough=0.14,
            warm=1.0,
        ),
        wall=_S(
            finish=_F.GLASS,
            colour=(0.40, 0.46, 0.46),
            colour2=(0.2, 0.28, 0.22),
            scale=1.1,
            rough=0.3,
            nir=0.3,
            warm=-1.0,
        ),
        wall_top=2.3,
        leafy=True,
        items=(_I.BOARD, _I.BENCH, _I.POLE, _I.CAR),
    ),
    Scene(
        name="school yard",
        indoor=False,
        ambient=0.48,
        near=4,
        far=11,
        floor=_S(
            finish=_F.ASPHALT,
            colour=(0.36, 0.20, 0.16),
            colour2=(0.42, 0.26, 0.2),
            rough=0.12,
            warm=1.5,
        ),
        wall=_S(
            finish=_F.TWO_TONE,
            colour=(0.62, 0.58, 0.50),
            colour2=(0.35, 0.33, 0.31),
            scale=1.0,
            rough=0.06,
        ),
        decor=(_windows(2.4, 1.6, 1.2, 2.6, (0.2, 0.24, 0.28)),),
        items=(_I.BENCH, _I.TREE, _I.RAILING),
    ),
)

INDOOR = tuple(i for i, scene in enumerate(SCENES) if scene.indoor)
OUTDOOR = tuple(i for i, scene in enumerate(SCENES) if not scene.indoor)
