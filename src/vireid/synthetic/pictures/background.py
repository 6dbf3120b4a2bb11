"""Draws what is behind and in front of a person: a room or the open, ray by ray.

The scene is a floor, a wall and (indoors) two side walls; props are upright cut-outs at their own
depth. One compiled pass writes light, near-infrared light or °C.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from vireid.synthetic.noise import textures
from vireid.synthetic.pictures.rays import DECOR, FRAME, PROP, SURFACE, before, behind
from vireid.synthetic.pictures.view import Prop, View
from vireid.synthetic.places.scene import Surface, near_infrared
from vireid.synthetic.places.scenes import SCENES


def _surface_row(row: np.void, s: Surface) -> None:
    row["finish"] = int(s.finish)
    row["r"], row["g"], row["b"] = s.colour
    row["r2"], row["g2"], row["b2"] = s.colour2
    row["scale"], row["rough"], row["warm"] = s.scale, s.rough, s.warm
    row["nir"], row["nir2"] = near_infrared(s.colour, s.nir), near_infrared(s.colour2, s.nir2)


@cache
def scene_rows(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Scene `number` as surfaces (2,), of floor and wall, and decorations (D,)."""
    scene = SCENES[number]
    surfaces, decor = np.zeros(2, SURFACE), np.zeros(len(scene.decor), DECOR)
    _surface_row(surfaces[0], scene.floor)
    _surface_row(surfaces[1], scene.wall)
    for row, d in zip(decor, scene.decor):
        row["fixture"] = int(d.fixture)
        for name in ("period", "at", "width", "bottom", "top", "warm"):
            row[name] = getattr(d, name)
        row["r"], row["g"], row["b"] = d.colour
        row["nir"] = near_infrared(d.colour, d.nir)
    return surfaces, decor


def prop_rows(props: tuple[Prop, ...]) -> np.ndarray:
    """Props as rows (N,)."""
    rows = np.zeros(len(props), PROP)
    for row, p in zip(rows, props):
        row["item"] = int(p.item)
        for name in ("x", "z", "scale", "nir", "warm", "drift"):
            row[name] = getattr(p, name)
        row["r"], row["g"], row["b"] = p.colour
    return rows


def frame_row(
    view: View,
    eye: np.ndarray,
    feet: np.ndarray,
    step: float,
    left: float,
    top: float,
    shade: float,
) -> np.ndarray:
    """The frame (1,) of a view: pixel (i, j) looks along (left + j·step, −(top + i·step), −1) in
    the camera's axes."""
    scene = SCENES[view.scene]
    row = np.zeros(1, FRAME)
    values = {
        "step": step, "left": left, "top": top, "shade": shade, "leafy": scene.leafy,
        "wall": view.wall, "side": view.side if scene.indoor else 1e6, "wall_top": scene.wall_top,
        "origin_x": view.origin[0], "origin_z": view.origin[1], "scale": view.scale,
        "distance": view.distance, "air": view.air, "clutter": view.clutter,
        "feet_x": feet[0], "feet_z": feet[2], "ambient": scene.ambient,
        "outdoors": not scene.indoor,
    } | {
        f"{name}_{axis}": value
        for name, axes, values in (("eye", "xyz", eye), ("sun", "xyz", view.sun),
                                   ("cast", "rgb", scene.cast))
        for axis, value in zip(axes, values)
    }  # fmt: skip
    for name, value in values.items():
        row[name] = value
    return row


def draw_background(
    sensor: int, view: View, frame: np.ndarray, turn: np.ndarray, height: int, width: int
) -> np.ndarray:
    """The image (height, width, C) without its person."""
    rows = (*scene_rows(view.scene), prop_rows(view.props))
    return behind(sensor, frame, turn, *rows, textures(), height, width)


def draw_occluder(
    sensor: int, prop: Prop, frame: np.ndarray, turn: np.ndarray, height: int, width: int
) -> np.ndarray:
    """A prop in front of the person, (height, width, C + 1); the last channel is 1 where it is."""
    return before(sensor, frame, turn, prop_rows((prop,)), textures(), height, width)
