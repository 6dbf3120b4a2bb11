"""Turns what the rasteriser drew into light: one compiled pass over the pixels of a person.

Three sensors: visible (linear RGB), near infrared (an illuminator beside the lens, albedos of
their own), thermal (surface temperature in °C).
"""

from __future__ import annotations

import numpy as np

from vireid.synthetic.jit import jit
from vireid.synthetic.noise import SIZE, bump
from vireid.synthetic.people.material import (
    BAG,
    EYE,
    HAIR,
    METAL,
    SKIN,
    cloth_at,
    cloth_heat,
    hair_at,
    skin_at,
)

VISIBLE, NIR, THERMAL = 0, 1, 2

AIR_AT_MEASURING = 21.0
"""°C of the air in which the materials' temperatures hold."""
NIR_GAIN = 0.80
"""Keeps the brightest cloth below white, as a camera's automatic exposure does."""

_LIGHT = ("sun_x", "sun_y", "sun_z", "ambient", "cast_r", "cast_g", "cast_b", "eye_x", "eye_y",
          "eye_z", "distance", "air", "drift")  # fmt: skip
LIGHT = np.dtype([(name, "f4") for name in _LIGHT], align=True)
"""Sun direction, ambient share (0 to 1), colour of the light, lens position, distance at which
the illuminator gives 1, air temperature, and where the temperature noise is read."""


@jit
def _creased(nx, ny, nz, u, v, arm, wrinkle, offset, crease):
    """A normal thrown into folds; creases gather at knees, elbows and waist."""
    bent = 0.5 + bump((v + 0.37) / 0.14) + bump((v - 0.08) / 0.11)
    if arm > 0.5 or v < -0.02:
        strength = 0.55
        if arm > 0.5:
            bent += bump((v - 0.3) / 0.11)
            strength = 0.8
        cu, cv = u * 0.9 + v * 0.35, v * 1.5 - u * 0.5
    else:
        cu, cv, strength = u * 1.3 + v * 0.25, v * 0.7 + u * 0.3, 0.8
    cu += offset
    a = int(np.floor(cv * SIZE)) & (SIZE - 1)
    b = int(np.floor(cu * SIZE)) & (SIZE - 1)
    c = int(np.floor(cv * (SIZE * 1.9))) & (SIZE - 1)
    d = int(np.floor(cu * (SIZE * 2.3))) & (SIZE - 1)
    small = 0.4 * bent
    nx += (crease[a, b, 0] * strength + small * crease[c, d, 0]) * wrinkle * 0.28
    ny -= (crease[a, b, 1] * strength + small * crease[c, d, 1]) * wrinkle * 0.28
    scale = 1 / np.sqrt(nx * nx + ny * ny + nz * nz)
    return nx * scale, ny * scale, nz * scale


@jit
def _visible(light, gloss, nx, ny, nz, ex, ey, ez, occlusion):
    """(diffuse factor, shine) of a surface under sun and sky."""
    sun = max(0.0, nx * light.sun_x + ny * light.sun_y + nz * light.sun_z)
    sky = light.ambient * (0.55 + 0.45 * ny) * occlusion
    lit = 1.25 * (sky + (1.15 - light.ambient) * sun * (0.4 + 0.6 * occlusion))
    hx, hy, hz = light.sun_x + ex, light.sun_y + ey, light.sun_z + ez
    half = max(0.0, nx * hx + ny * hy + nz * hz)
    half = half * half / (hx * hx + hy * hy + hz * hz + 1e-6)
    half = half * half
    half = half * half
    return lit, gloss * half * half


@jit
def shade(sensor, inverse_depth, triangle, weights, around, faces, first_of_second, parts,
          coordinates, normals, positions, materials, wearers, lights,
          textures, image):  # fmt: skip
    """Shade all drawn pixels of `image` in place.

    Args:
        sensor: VISIBLE, NIR or THERMAL.
        inverse_depth, triangle, weights: from `raster`.
        around: (H, W) float32 mean depth of the surroundings, for ambient occlusion.
        faces: (F, 3); first_of_second: faces from here on belong to the second person.
        parts, coordinates, normals, positions: of the vertices; normals and positions in the world.
        materials: (2, NUM_PARTS) MATERIAL; wearers: (2,) WEARER; lights: (1,) LIGHT.
        textures: of `noise`.
        image: (H, W, C) float32: 3 channels of linear light, or 1 of light or °C.
    """
    soft, fine, crease = textures.soft, textures.fine, textures.crease
    light = lights[0]
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
                p[j] = w0 * positions[i0, j] + w1 * positions[i1, j] + w2 * positions[i2, j]
            part = parts[i0]
            m = materials[who, part]
            u, v, front, leg_side, arm = c[0], c[1], c[2], c[3], c[4]
            # Direction to the lens; the normal faces it.
            ex, ey, ez = light.eye_x - p[0], light.eye_y - p[1], light.eye_z - p[2]
            away = np.sqrt(ex * ex + ey * ey + ez * ez)
            scale = 1 / away
            ex, ey, ez = ex * scale, ey * scale, ez * scale
            scale = 1 / (np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + np.float32(1e-6))
            nx, ny, nz = n[0] * scale, n[1] * scale, n[2] * scale
            if nx * ex + ny * ey + nz * ez < 0:
                nx, ny, nz = -nx, -ny, -nz
            hollow = 1 / inverse_depth[row, column] - around[row, column]
            occlusion = max(0.45, 1 - 2.2 * max(0.0, hollow))
            if m.wrinkle > 0:
                nx, ny, nz = _creased(nx, ny, nz, u, v, arm, m.wrinkle, w.offset, crease)
            heat = m.heat
            if part == SKIN:
                occlusion = 0.5 + 0.5 * occlusion
                r, g, b, nir, heat = skin_at(
                    m, w, u, v, arm, c[5], c[6], c[7], light.drift, soft, fine
                )
            elif part == HAIR:
                r, g, b, nir = hair_at(m, u, v, c[5], c[7], fine)
            elif part in (EYE, METAL):
                r, g, b, nir = m.r, m.g, m.b, m.nir
            else:
                r, g, b, nir, share = cloth_at(
                    m, materials[who, BAG], w, part, u, v, front, leg_side, arm, soft, fine
                )
                if sensor == THERMAL and part != BAG:
                    heat = cloth_heat(m, w, part, share, u, v, front, arm, light.drift, soft)
            if sensor == VISIBLE:
                lit, shine = _visible(light, m.gloss, nx, ny, nz, ex, ey, ez, occlusion)
                image[row, column, 0] = (r * lit + shine) * light.cast_r
                image[row, column, 1] = (g * lit + shine) * light.cast_g
                image[row, column, 2] = (b * lit + shine) * light.cast_b
                continue
            facing = max(0.0, nx * ex + ny * ey + nz * ez)
            if sensor == NIR:
                # The lamp is beside the lens: inverse square, no shadows on the person, and
                # rough cloth darkens at its rim a little faster than Lambert's law.
                fall = light.distance / away
                lit = (0.10 + 0.90 * facing) * facing * fall * fall + 0.04 * (1 + ny)
                spark = facing * facing
                spark = spark * spark
                spark = spark * spark
                image[row, column, 0] = (
                    NIR_GAIN
                    * fall
                    * (nir * lit * (0.35 + 0.65 * occlusion) + 0.4 * m.gloss * spark * spark)
                )
            else:
                # Seen edge-on, a surface emits less and mirrors its surroundings more (Fresnel;
                # skin and cloth emit 0.95 to 0.98 face-on). Skin and cloth follow the air by less
                # than a degree a degree, as blood regulates: 0.4 of it.
                emitted = (heat - AIR_AT_MEASURING) * (0.86 + 0.14 * facing)
                image[row, column, 0] = light.air + emitted + (AIR_AT_MEASURING - light.air) * 0.6
