"""Casts a ray through each pixel of a background: compiled passes that `background` feeds."""

from __future__ import annotations

import numpy as np

from vireid.synthetic.jit import jit
from vireid.synthetic.noise import bump, lookup
from vireid.synthetic.pictures.shading import NIR, THERMAL, VISIBLE
from vireid.synthetic.places.surfaces import fixture, item_at, surface

_COLOURS = ("r", "g", "b", "nir")


def _row(*names: str, kind: str = "") -> np.dtype:
    """A table's row of floats, after the number of its kind if it has one."""
    fields = [(kind, "i4")] if kind else []
    return np.dtype(fields + [(name, "f4") for name in names], align=True)


# fmt: off
SURFACE = _row(*_COLOURS, "r2", "g2", "b2", "nir2", "scale", "rough", "warm", kind="finish")
DECOR = _row("period", "at", "width", "bottom", "top", *_COLOURS, "warm", kind="fixture")
PROP = _row("x", "z", "scale", *_COLOURS, "warm", "drift", kind="item")
FRAME = _row(
    "step", "left", "top", "eye_x", "eye_y", "eye_z", "wall", "side", "origin_x", "origin_z",
    "scale", "wall_top", "leafy", "ambient", "sun_x", "sun_y", "sun_z", "distance", "air",
    "clutter", "feet_x", "feet_z", "shade", "cast_r", "cast_g", "cast_b", "outdoors")
# fmt: on
"""How rays leave the lens, where walls stand, and the light; `shade` is the strength of the
person's shadow on the floor, 0 where there is no person."""

_SKY_RGB = (0.75, 0.82, 0.92)
_SKY_NIR, _SKY_COLDER = 0.02, 9.0
_FAR = np.float32(80.0)
"""Metres after which there is only haze."""


@jit
def _prop_colour(p, tone, dark, bark):
    r, g, b, nir = p.r, p.g, p.b, p.nir
    if bark > 0:
        r, g, b, nir = 0.16, 0.11, 0.08, 0.30
    keep = tone * (1 - dark)
    return (
        r * keep + 0.03 * dark,
        g * keep + 0.03 * dark,
        b * keep + 0.03 * dark,
        (nir * (0.5 + 0.5 * tone) * (1 - 0.8 * dark)),
    )


@jit
def _emit(sensor, f, r, g, b, nir, warm, ny, facing, sun, distance, out):
    """Write what one sensor sees of a lit point into `out`."""
    if sensor == VISIBLE:
        lit = 1.15 * (f.ambient * (0.55 + 0.45 * ny) + (1.15 - f.ambient) * max(0.15, sun))
        if f.outdoors < 0.5:
            lit *= 0.75 + 0.5 / (1 + 0.03 * distance * distance)
        out[0] = min(1.0, max(0.01, r)) * lit * f.cast_r
        out[1] = min(1.0, max(0.01, g)) * lit * f.cast_g
        out[2] = min(1.0, max(0.01, b)) * lit * f.cast_b
    elif sensor == NIR:
        fall = min(1.1, f.distance / distance)  # automatic gain holds what is near
        out[0] = min(1.0, max(0.02, nir)) * (0.05 + 0.9 * facing * fall)
    else:
        out[0] = f.air + warm * f.clutter


@jit
def _ray(f, turn, i, j):
    """Unit direction (x, y, z), in the world, of pixel (i, j)."""
    px, py = f.left + j * f.step, f.top + i * f.step
    dx = px * turn[0, 0] - py * turn[1, 0] - turn[2, 0]
    dy = px * turn[0, 1] - py * turn[1, 1] - turn[2, 1]
    dz = px * turn[0, 2] - py * turn[1, 2] - turn[2, 2]
    length = 1 / np.sqrt(dx * dx + dy * dy + dz * dz)
    return dx * length, dy * length, dz * length


@jit
def _nearest(f, dx, dy, dz, soft):
    """(distance, kind) of what a ray meets first: floor 0, back wall 1, side wall 2, nothing 3."""
    best, kind = _FAR, 3
    if dy < -1e-4:
        t = -f.eye_y / dy
        if t < best:
            best, kind = t, 0
    if dz < -1e-4:
        t = (-f.wall - f.eye_z) / dz
        if t < best and f.eye_y + t * dy < f.wall_top + (
            0.15 * lookup(soft, (f.eye_x + t * dx + f.origin_x) * 0.2, 0.3)
            if f.leafy > 0 and f.wall_top > 1.9
            else 0.0
        ):
            best, kind = t, 1
    if abs(dx) > 1e-4:
        t = ((f.side if dx > 0 else -f.side) - f.eye_x) / dx
        if 0 < t < best:
            best, kind = t, 2
    return best, kind


@jit
def _prop(sensor, f, p, dx, dy, dz, farthest, soft, fine, out):
    """Whether a ray meets a prop before `farthest`; if so, what is seen of it is in `out`."""
    if dz > -1e-4:
        return False
    t = (p.z - f.eye_z) / dz
    if t <= 0 or t >= farthest:
        return False
    x, y = (f.eye_x + t * dx - p.x) / p.scale, (f.eye_y + t * dy) / p.scale
    covered, tone, dark, bark = item_at(p.item, x, y, p.drift, soft, fine)
    if covered:
        r, g, b, nir = _prop_colour(p, tone, dark, bark)
        sun = max(0.3, f.sun_z)
        _emit(sensor, f, r, g, b, nir, p.warm + tone - 1, 0.0, -dz, sun, t, out)
    return covered


@jit
def _sky(sensor, f, dx, dy, dz, soft, fine, out):
    """What is seen above the walls: leaves or sky."""
    if f.leafy > 0 and dy < 0.12 + 0.05 * lookup(
        soft, (dx / max(0.2, -dz)) * 0.35 + f.origin_x * 0.1, 0.7
    ):
        leaf = lookup(fine, dx * 1.7 + f.origin_x, dy * 1.7)
        tone = max(0.2, 0.9 + 0.35 * leaf)
        r, g, b, nir = 0.15 * tone, 0.26 * tone, 0.11 * tone, 0.25 * tone
        _emit(sensor, f, r, g, b, nir, -1.5 + 0.5 * leaf, 0.0, 0.3, 0.5, _FAR, out)
    elif sensor == VISIBLE:
        out[0], out[1], out[2] = _SKY_RGB
    elif sensor == NIR:
        out[0] = _SKY_NIR
    else:
        out[0] = f.air - _SKY_COLDER


@jit
def _decorated(decor, u, v, r, g, b, nir, warm, soft, fine):
    """(r, g, b, nir, warm) of a wall at (u, v), or of the fixture that covers it there."""
    for k in range(len(decor)):
        d = decor[k]
        covered, tone, dark, art = fixture(d, u, v, soft, fine)
        if not covered:
            continue
        r, g, b = d.r * tone, d.g * tone, d.b * tone
        nir, warm = d.nir * min(tone, 1.5), d.warm + 0.4 * (tone - 1)
        if art > 0:
            hue = 6 * lookup(soft, np.floor(u / d.period) * 0.37 + u * 0.06, v * 0.09)
            grey = 0.16 * np.sin(hue * 1.3 + 1)
            r += art * (grey + 0.07 * np.sin(hue))
            g += art * (grey + 0.05 * np.sin(hue + 2.1))
            b += art * (grey + 0.08 * np.sin(hue + 4.2))
            nir += art * 0.12 * np.sin(hue * 1.7)
        return r * (1 - dark), g * (1 - dark), b * (1 - dark), nir * (1 - dark), warm
    return r, g, b, nir, warm


@jit
def _shadow(sensor, f, x, z):
    """Strength of the person's shadow on the floor at (x, z): the soft one at the feet, and the
    longer one that the sun throws."""
    ax, az = (x - f.feet_x) / 0.36, (z - f.feet_z) / 0.30
    shadow = 0.55 * bump(1.1 * np.sqrt(ax * ax + az * az))
    if sensor == VISIBLE and f.outdoors > 0.5:
        away = np.sqrt(f.sun_x * f.sun_x + f.sun_z * f.sun_z) + np.float32(1e-3)
        along = -((x - f.feet_x) * f.sun_x + (z - f.feet_z) * f.sun_z) / away
        across = ((x - f.feet_x) * f.sun_z - (z - f.feet_z) * f.sun_x) / away
        reach = 1.6 * away / max(0.3, f.sun_y)
        if 0 < along < reach:
            shadow += (1 - f.ambient) * 0.6 * bump(across / 0.3) * (1 - along / reach)
    return shadow


@jit
def _place(sensor, f, surfaces, decor, kind, best, dx, dy, dz, soft, fine, out):
    """Write what is seen of the floor or of a wall, met at distance `best`, into `out`."""
    x, y, z = f.eye_x + best * dx, f.eye_y + best * dy, f.eye_z + best * dz
    if kind == 0:
        u, v, s = (x + f.origin_x) / f.scale, (z + f.origin_z) / f.scale, surfaces[0]
    elif kind == 1:
        u, v, s = (x + f.origin_x) / f.scale, y / f.scale, surfaces[1]
    else:
        u, v, s = (z + f.origin_z) / f.scale, y / f.scale, surfaces[1]
    share, tone = surface(s.finish, s.scale, s.rough, u, v, soft, fine)
    r = (s.r + (s.r2 - s.r) * share) * tone
    g = (s.g + (s.g2 - s.g) * share) * tone
    b = (s.b + (s.b2 - s.b) * share) * tone
    nir = (s.nir + (s.nir2 - s.nir) * share) * (0.35 + 0.65 * tone)
    warm = s.warm + 0.6 * lookup(soft, u * 0.11, v * 0.11) + 1.5 * (tone - 1) + 0.6 * share
    if kind != 0:
        r, g, b, nir, warm = _decorated(decor, u, v, r, g, b, nir, warm, soft, fine)
    if kind == 0:
        ny, facing, sun = 1.0, -dy, f.sun_y
        shadow = _shadow(sensor, f, x, z)
        if sensor == THERMAL:
            warm += 0.4 * shadow * f.shade
        dim = 1 - min(0.8, shadow) * f.shade
        r, g, b, nir = r * dim, g * dim, b * dim, nir * dim
    elif kind == 1:
        ny, facing, sun = 0.0, -dz, max(0.15, f.sun_z)
        corner = 1 - 0.25 * max(0.0, 1 - y * 2.5)
        r, g, b = r * corner, g * corner, b * corner
    else:
        ny, facing, sun = 0.0, abs(dx), max(0.15, -f.sun_x if dx > 0 else f.sun_x)
    _emit(sensor, f, r, g, b, nir, warm, ny, max(0.05, facing), sun, best, out)


@jit
def behind(sensor, frame, turn, surfaces, decor, props, textures, height, width):
    """The image (height, width, C) of a scene without its person.

    Args:
        sensor: VISIBLE, NIR or THERMAL; frame: (1,) FRAME; turn: (3, 3) world to camera.
        surfaces: (2,) SURFACE of floor and wall; decor: (D,) DECOR; props: (N,) PROP, farthest
            first.
    """
    soft, fine = textures.soft, textures.fine
    f = frame[0]
    channels = 3 if sensor == VISIBLE else 1
    image = np.empty((height, width, channels), np.float32)
    out = np.empty(3, np.float32)
    for i in range(height):
        for j in range(width):
            dx, dy, dz = _ray(f, turn, i, j)
            best, kind = _nearest(f, dx, dy, dz, soft)
            covered = False
            for k in range(len(props) - 1, -1, -1):
                covered = _prop(sensor, f, props[k], dx, dy, dz, best, soft, fine, out)
                if covered:
                    break
            if not covered and kind == 3:
                _sky(sensor, f, dx, dy, dz, soft, fine, out)
            elif not covered:
                _place(sensor, f, surfaces, decor, kind, best, dx, dy, dz, soft, fine, out)
            for c in range(channels):
                image[i, j, c] = out[c]
    return image


@jit
def before(sensor, frame, turn, props, textures, height, width):
    """A prop in front of the person, (height, width, C + 1); the last channel is 1 where it is."""
    soft, fine = textures.soft, textures.fine
    f, p = frame[0], props[0]
    channels = 3 if sensor == VISIBLE else 1
    image = np.zeros((height, width, channels + 1), np.float32)
    out = np.empty(3, np.float32)
    for i in range(height):
        for j in range(width):
            dx, dy, dz = _ray(f, turn, i, j)
            if _prop(sensor, f, p, dx, dy, dz, np.inf, soft, fine, out):
                for c in range(channels):
                    image[i, j, c] = out[c]
                image[i, j, channels] = 1
    return image
