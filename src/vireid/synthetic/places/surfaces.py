"""How floors, walls, fixtures and items in a scene are drawn at a point: compiled functions that
the background's pass over the pixels calls. Each answers with a share of a second colour and a
factor of brightness, or with colours."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.jit import jit
from vireid.synthetic.noise import fraction, lookup
from vireid.synthetic.places.scene import Finish, Fixture, Item

(_PLAIN, _TILES, _CHECKER, _BRICK, _PLANKS, _CARPET, _ASPHALT, _GRASS, _COBBLES, _PANELS, _SHUTTER,
 _HEDGE, _STONE, _TWO_TONE, _GRAVEL, _LINES, _GLASS) = (int(f) for f in Finish)  # fmt: skip
(_FLAT, _WINDOW, _DOOR, _POSTER, _SHELF, _RADIATOR, _LAMP) = (int(f) for f in Fixture)
(_POLE, _PILLAR, _TREE, _BUSH, _CAR, _BENCH, _BIN, _BOARD, _RAILING, _PLANTER, _BICYCLE) = (
    int(i) for i in Item
)


@jit
def _scatter(i, j):
    """A number in [0, 1) that looks random, for cell (i, j): integer hashing, the same anywhere."""
    h = (int(i) * 374761393 + int(j) * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return float((h ^ (h >> 16)) & 0xFFFF) / 65536.0


@jit
def surface(finish, scale, rough, u, v, soft, fine):
    """(share of the second colour, brightness) of a surface at (u, v) metres."""
    low = lookup(soft, u * 0.11, v * 0.11)
    high = lookup(fine, u * 0.35, v * 0.35)
    if finish in (_TILES, _CHECKER, _CARPET):
        a, b = u / scale, v / scale
        i, j = np.floor(a), np.floor(b)
        tone = 1 + rough * (0.6 * high + 0.5 * low + 0.8 * (_scatter(i, j) - 0.5))
        if finish == _CHECKER:
            return (i + j) - 2 * np.floor((i + j) / 2), tone
        if finish == _CARPET:
            return 0.5 + 0.5 * np.sin(high * 2), tone
        joint = abs(a - i - 0.5) > 0.482 or abs(b - j - 0.5) > 0.482
        return (1.0 if joint else 0.0), tone
    if finish in (_BRICK, _STONE, _COBBLES):
        tall = scale * (0.36 if finish == _BRICK else 0.7 if finish == _STONE else 1.0)
        j = np.floor(v / tall)
        shift = 0.5 * (j - 2 * np.floor(j / 2)) if finish == _BRICK else _scatter(j, 7)
        a, b = u / scale + shift, v / tall
        i = np.floor(a)
        thin = 0.455 if finish == _BRICK else 0.47 if finish == _STONE else 0.42
        joint = abs(a - i - 0.5) > thin or abs(b - j - 0.5) > thin - 0.03
        tone = 1 + rough * (high + 2.2 * (_scatter(i, j) - 0.5))
        return (1.0 if joint else 0.0), tone
    if finish in (_PLANKS, _PANELS):
        along, across = (u, v) if finish == _PLANKS else (v, u)
        b = across / scale
        j = np.floor(b)
        grain = lookup(fine, along * 0.12 + _scatter(j, 3), across * 1.3)
        return (1.0 if abs(b - j - 0.5) > 0.47 else 0.0), (
            1 + rough * (0.6 * grain + 0.4 * low + 1.4 * (_scatter(j, 1) - 0.5))
        )
    if finish == _GRASS:
        blades = lookup(fine, u * 1.3, v * 1.3)
        return min(1.0, max(0.0, 0.25 + 0.4 * low)), max(0.2, 1 + rough * (0.7 * blades + high))
    if finish == _HEDGE:
        leaves = lookup(fine, u * 0.9, v * 0.9) + 0.7 * high
        return min(1.0, max(0.0, -0.25 - 0.55 * leaves)), max(
            0.25, 1 + rough * (leaves + 0.5 * low)
        )
    if finish == _SHUTTER:
        return 0.0, 1 + rough * low + 0.22 * np.sin(v * 2 * np.pi / scale)
    if finish == _TWO_TONE:
        return (1.0 if v < scale else 0.0), 1 + rough * (low + 0.6 * high)
    if finish == _GRAVEL:
        return min(1.0, max(0.0, 0.5 + 0.4 * low)), 1 + rough * (
            0.8 * high + 0.6 * lookup(fine, u * 1.9, v * 1.9)
        )
    if finish == _LINES:
        q = fraction(u / scale)
        line = q < 0.045 and fraction(v / 6.0) < 0.75
        return (0.9 if line else 0.0), 1 + rough * (0.7 * high + 0.6 * low)
    if finish == _ASPHALT:
        return min(1.0, max(0.0, 0.5 * low)), 1 + rough * (0.8 * high + 0.3 * low)
    if finish == _GLASS:
        q, s = fraction(u / scale), fraction(v / (scale * 1.6))
        frame = q < 0.045 or s < 0.03
        mirrored = 0.8 * low + 0.5 * np.sin(u * 1.1 + 2 * low)
        return (1.0 if frame else 0.0), (1.0 if frame else max(0.3, 1 + rough * mirrored))
    return 0.0, 1 + rough * (low + 0.5 * high)


@jit
def fixture(d, u, v, soft, fine):
    """(covered, brightness, share of dark, art) of decoration `d` at (u, v).

    `art` above 0 asks for a colourful print in its own hues.
    """
    x = u - np.floor(u / d.period) * d.period - d.at
    if x < 0 or x >= d.width or v < d.bottom or v >= d.top:
        return False, 1.0, 0.0, 0.0
    y, tall = v - d.bottom, d.top - d.bottom
    k = d.fixture
    if k == _WINDOW:
        edge = min(min(x, d.width - x), min(y, tall - y))
        if edge < 0.06 or abs(x - d.width * 0.5) < 0.025:
            return True, 3.0, 0.0, 0.0  # frame
        return True, 1 + 0.18 * lookup(soft, u * 0.13, v * 0.13 + 0.4), 0.0, 0.0
    if k == _DOOR:
        edge = min(min(x, d.width - x), tall - y)
        if edge < 0.05:
            return True, 1.7, 0.0, 0.0
        if abs(x - d.width * 0.85) < 0.03 and abs(y - 1.02) < 0.05:
            return True, 1.0, 0.7, 0.0
        return True, 1 + 0.08 * lookup(fine, u * 0.8, v * 0.08), 0.0, 0.0
    if k == _POSTER:
        edge = min(min(x, d.width - x), min(y, tall - y))
        return True, 1.0, (0.7 if edge < 0.03 else 0.0), (0.0 if edge < 0.03 else 1.0)
    if k == _SHELF:
        level = fraction(y / 0.34)
        if level < 0.08 or x < 0.05 or x > d.width - 0.05:
            return True, 1.0, 0.0, 0.0
        book, row = np.floor(u / 0.045), np.floor(y / 0.34)
        if level > 0.68 + 0.3 * _scatter(book, row):
            return True, 1.0, 0.8, 0.0
        return True, 0.6 + 1.6 * _scatter(row, book), 0.0, 0.6
    if k == _RADIATOR:
        return True, 0.85 + 0.15 * np.sin(x * 2 * np.pi / 0.08), 0.0, 0.0
    if k == _LAMP:
        return True, 1.6, 0.0, 0.0
    return True, 1 + 0.05 * lookup(fine, u * 0.35, v * 0.35), 0.0, 0.0


@jit
def _tree(x, y, drift, soft, fine):
    rag = lookup(soft, x * 0.35 + drift, y * 0.35)
    crown = x * x + (y - 3.5) * (y - 3.5) * 0.8
    if crown < (1.45 + 0.28 * rag) ** 2:
        leaf = lookup(fine, x * 0.8 + drift, y * 0.8)
        return True, max(0.25, 1 + 0.4 * leaf + 0.2 * rag), 0.0, 0.0
    q = (x + 0.03 * rag) / (0.15 + 0.04 * max(0.0, 0.4 - y))
    return (
        abs(q) < 1 and y < 3.2,
        0.5 + 0.6 * np.sqrt(max(0.0, 1 - q * q)) + 0.1 * lookup(fine, x * 2, y * 0.3),
        0.0,
        1.0,
    )


@jit
def _bush(item, x, y, drift, soft, fine):
    """A bush, or a plant in a box."""
    foot = 0.42 if item == _PLANTER else 0.0
    if y < foot:
        return abs(x) < 0.5, 0.9 + 0.1 * lookup(fine, x, y), 0.0, 1.0
    wide = 0.52 if item == _PLANTER else 0.85
    top = foot + (0.45 if item == _PLANTER else 0.95) * (1 - (x / wide) * (x / wide))
    rag = lookup(soft, x * 0.5 + drift, y * 0.5)
    leaf = lookup(fine, x * 0.8 + drift, y * 0.8)
    return y < top + 0.10 * rag + 0.04 * leaf, max(0.25, 0.95 + 0.4 * leaf), 0.0, 0.0


@jit
def _car(x, y):
    for side in range(2):
        wheel = x - (1.28 if side == 0 else -1.28)
        radius = wheel * wheel + (y - 0.32) * (y - 0.32)
        if radius < 0.105:
            return True, 1.0, (0.5 if radius < 0.035 else 0.95), 0.0
    if y > 0.22 and y < 0.86 and abs(x) < 2.1 - 0.25 * max(0.0, y - 0.5):
        seam = abs(abs(x - 0.1) - 0.75) < 0.012
        return True, 0.65 + 0.55 * y, (0.5 if seam or y < 0.3 else 0.0), 0.0
    if y >= 0.86 and y < 1.42 and abs(x) < 1.42 - 0.9 * (y - 0.86):
        glass = y < 1.34 and abs(x) < 1.30 - 0.9 * (y - 0.86) and abs(x - 0.1) > 0.05
        return True, 1.15, (0.85 if glass else 0.0), 0.0
    return False, 1.0, 0.0, 0.0


@jit
def _bicycle(x, y):
    """Two wheels and a frame."""
    for side in range(2):
        wheel = x - (0.52 if side == 0 else -0.52)
        radius = np.sqrt(wheel * wheel + (y - 0.34) * (y - 0.34))
        if abs(radius - 0.32) < 0.028:
            return True, 0.6, 0.0, 0.0
    bar = abs(y - 0.84) < 0.02 and abs(x) < 0.34
    down = abs(y - 0.34 - 0.9 * abs(x - 0.02)) < 0.03 and abs(x) < 0.5 and y < 0.86
    fork = abs(abs(x) - 0.44 - 0.16 * (0.6 - y)) < 0.02 and y > 0.34 and y < 1.02
    saddle = abs(x + 0.30) < 0.12 and abs(y - 0.96) < 0.025
    return bar or down or fork or saddle, 1.2, 0.0, 0.0


@jit
def item_at(item, x, y, drift, soft, fine):
    """(covered, brightness, share of dark, share of bark) of an item at (x, y) metres from the
    middle of its foot."""
    if y < 0 or abs(x) > 3.2 or y > 5.5:
        return False, 1.0, 0.0, 0.0
    if item == _POLE:
        q = x / 0.06
        return abs(q) < 1 and y < 4.5, 0.45 + 0.7 * np.sqrt(max(0.0, 1 - q * q)), 0.0, 0.0
    if item == _PILLAR:
        q = x / 0.24
        return abs(q) < 1, 0.5 + 0.6 * np.sqrt(max(0.0, 1 - q * q)), (0.6 if y < 0.15 else 0.0), 0.0
    if item == _TREE:
        return _tree(x, y, drift, soft, fine)
    if item in (_BUSH, _PLANTER):
        return _bush(item, x, y, drift, soft, fine)
    if item == _CAR:
        return _car(x, y)
    if item == _BENCH:
        slat = abs(y - 0.45) < 0.035 or abs(y - 0.66) < 0.05 or abs(y - 0.82) < 0.05
        leg = abs(abs(x) - 0.7) < 0.035 and y < 0.85
        return (slat and abs(x) < 0.85) or leg, (1.0 if slat else 0.5), 0.0, 0.0
    if item == _BIN:
        q = x / 0.25
        return (
            abs(q) < 1 and y < 0.92,
            0.5 + 0.6 * np.sqrt(max(0.0, 1 - q * q)),
            (0.6 if y > 0.8 or abs(y - 0.3) < 0.02 else 0.0),
            0.0,
        )
    if item == _BOARD:
        if abs(x) < 0.5 and y > 0.75 and y < 1.7:
            edge = abs(x) > 0.46 or y < 0.79 or y > 1.66
            row = np.floor(y / 0.09)
            written = (
                fraction(y / 0.09) < 0.4
                and abs(x) < 0.42
                and x < -0.4 + 0.8 * _scatter(row, drift * 1000)
            )
            return True, 1 + 0.06 * lookup(soft, x, y), (0.6 if edge or written else 0.0), 0.0
        return abs(abs(x) - 0.44) < 0.03 and y <= 0.75, 0.5, 0.0, 0.0
    if item == _RAILING:
        bar = abs(y - 1.0) < 0.035 or abs(y - 0.55) < 0.02 or abs(y - 0.12) < 0.02
        post = fraction(x / 0.9) < 0.045
        return (bar or post) and y < 1.04 and abs(x) < 2.7, 1.0, 0.0, 0.0
    return _bicycle(x, y)
