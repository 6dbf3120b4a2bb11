"""Puts person, scene, camera and view together into images.

Shaded at 576x288, background at half of that, then reduced to the camera's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vireid.synthetic.jit import jit
from vireid.synthetic.noise import textures
from vireid.synthetic.people.body import load_body, vertex_normals
from vireid.synthetic.people.garments import dress
from vireid.synthetic.people.identity import sample_person
from vireid.synthetic.people.material import material_table
from vireid.synthetic.people.mesh import Mesh, Part
from vireid.synthetic.people.person import Person
from vireid.synthetic.people.pose import Pose, bone_transforms, skin, turn_x, turn_y
from vireid.synthetic.pictures.background import draw_background, draw_occluder, frame_row
from vireid.synthetic.pictures.camera import Camera
from vireid.synthetic.pictures.raster import raster
from vireid.synthetic.pictures.sensor import (
    develop_infrared,
    develop_thermal,
    develop_visible,
    reduce_frame,
)
from vireid.synthetic.pictures.shading import LIGHT, NIR, THERMAL, VISIBLE, shade
from vireid.synthetic.pictures.view import View
from vireid.synthetic.places.scenes import SCENES
from vireid.synthetic.preset import Preset
from vireid.synthetic.versions import Version

HEIGHT, WIDTH = 576, 288
"""Pixels of the image that is shaded; files are at most half as large."""
_BAG, _METAL, _UMBRELLA = int(Part.BAG), int(Part.METAL), int(Part.UMBRELLA)
_KIND = {VISIBLE: "visible", NIR: "nir", THERMAL: "thermal"}
PASSER_SEED = 999_999_937
"""Population of the passers-by; `checked_parameters` refuses it to data sets."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A person ready to be drawn: who, mesh, materials (NUM_PARTS,), wearer (1,)."""

    person: Person
    mesh: Mesh
    materials: np.ndarray
    wearer: np.ndarray


def make_actor(person: Person) -> Actor:
    """Dress a person; takes as long as an image, and serves all images."""
    materials, wearer = material_table(person)
    return Actor(person=person, mesh=dress(person), materials=materials, wearer=wearer)


@lru_cache(maxsize=8)
def _passer(number: int, version: Version) -> Actor:
    return make_actor(sample_person(PASSER_SEED, number + 1, version=version))


@jit
def _project(points, turn, eye_x, eye_y, eye_z):
    """Screen x, screen y and 1/depth, (V, 3), of points in the world."""
    out = np.empty_like(points)
    for i in range(len(points)):
        x, y, z = points[i, 0] - eye_x, points[i, 1] - eye_y, points[i, 2] - eye_z
        a = turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z
        b = turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z
        c = turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z
        inverse = np.float32(1) / max(-c, np.float32(0.3))
        out[i, 0] = a * inverse
        out[i, 1] = -b * inverse
        out[i, 2] = inverse
    return out


@jit
def _turn_and_move(points, turn, x, y, z):
    out = np.empty_like(points)
    for i in range(len(points)):
        for j in range(3):
            out[i, j] = (
                turn[j, 0] * points[i, 0] + turn[j, 1] * points[i, 1] + turn[j, 2] * points[i, 2]
            )
        out[i, 0] += x
        out[i, 1] += y
        out[i, 2] += z
    return out


@dataclass(frozen=True, kw_only=True)
class _Posed:
    """An actor in the world: vertices, normals (V, 3) and cut (V,), all float32."""

    vertices: np.ndarray
    normals: np.ndarray
    cut: np.ndarray


def _posed(actor: Actor, pose: Pose, yaw: float, x: float, z: float, umbrella: bool) -> _Posed:
    mesh = actor.mesh
    turns, moves = bone_transforms(load_body(), mesh.heads, pose)
    vertices = skin(mesh.vertices, mesh.influences, mesh.weights, turns, moves)
    normals = vertex_normals(vertices, mesh.faces)
    shoes = mesh.part == Part.SHOE
    ground = vertices[shoes, 1].min() if shoes.any() else vertices[:, 1].min()
    turn = turn_y(yaw).astype(np.float32)
    zero = np.float32(0)
    cut = mesh.cut
    if not umbrella:
        cut = np.where(mesh.part == Part.UMBRELLA, np.float32(-1), cut)
    return _Posed(
        vertices=_turn_and_move(vertices, turn, np.float32(x), -ground, np.float32(z)),
        normals=_turn_and_move(normals, turn, zero, zero, zero),
        cut=cut,
    )


def _surroundings(inverse_depth: np.ndarray, beyond: float) -> np.ndarray:
    """Mean depth (H, W) float32 around each pixel, from every fourth one."""
    few = inverse_depth[::4, ::4]
    depth = np.where(few > 0, np.float32(1) / np.maximum(few, np.float32(1e-6)), np.float32(beyond))
    return cv2.resize(cv2.GaussianBlur(depth, (0, 0), 5), (WIDTH, HEIGHT))


@jit
def _bounds(points, cut, part):
    """Leftmost, rightmost, topmost, lowest screen position of a person without what is carried: a
    detector's box is about the person."""
    box = np.array([1e9, -1e9, 1e9, -1e9], np.float32)
    for i in range(len(points)):
        if cut[i] > 0 and part[i] != _BAG and part[i] != _METAL and part[i] != _UMBRELLA:
            box[0] = min(box[0], points[i, 0])
            box[1] = max(box[1], points[i, 0])
            box[2] = min(box[2], points[i, 1])
            box[3] = max(box[3], points[i, 1])
    return box


@dataclass(frozen=True, kw_only=True)
class _Lens:
    """Where the camera is and what it frames.

    Attributes:
        turn: (3, 3) world to camera; eye: (3,) position; both float32.
        frame_height: of the image, on the plane at depth 1; centre_x, centre_y: its middle there.
    """

    turn: np.ndarray
    eye: np.ndarray
    frame_height: float
    centre_x: float
    centre_y: float

    @property
    def scale(self) -> float:
        return HEIGHT / self.frame_height


def _aimed(view: View, person: _Posed, part: np.ndarray) -> _Lens:
    """The lens that frames a person as the view says."""
    pitch = np.arctan2(view.height - 0.9, view.distance)
    turn = (turn_x(pitch) @ turn_y(-view.pan)).astype(np.float32)
    eye = (turn_y(view.pan) @ np.array([0, view.height, view.distance])).astype(np.float32)
    screen = _project(person.vertices, turn, *eye)
    left, right, top, low = map(float, _bounds(screen, person.cut, part))
    frame_height = (low - top) * view.zoom
    return _Lens(
        turn=turn,
        eye=eye,
        frame_height=frame_height,
        centre_x=(left + right) / 2 + view.shift[0] * frame_height,
        centre_y=(top + low) / 2 + view.shift[1] * frame_height,
    )


def render(
    actor: Actor,
    camera: Camera,
    view: View,
    preset: Preset,
    *,
    without_person: bool = False,
    with_mask: bool = False,
) -> dict[str, np.ndarray]:
    """Draw one view.

    Args:
        without_person: draw the same scene without the person.
        with_mask: also return the mask.

    Returns:
        "visible", "nir" or, of a "pair" camera, "visible" and "thermal": (h, w, 3) uint8 RGB;
        and, if asked for, "mask" (h, w) uint8, 255 where the person is seen.
    """
    person, shoes = actor.person, actor.mesh.part == Part.SHOE
    body = _posed(actor, view.pose, view.yaw, 0, 0, view.umbrella)
    lens = _aimed(view, body, actor.mesh.part)
    feet = body.vertices[shoes].mean(0) if shoes.any() else np.zeros(3)
    actors, bodies = ([], []) if without_person else ([actor], [body])
    if view.passer >= 0:
        passer = _passer(view.passer, person.version)
        x, z, yaw = view.passer_at
        actors.append(passer)
        bodies.append(_posed(passer, view.pose, yaw, x, z, False))
    drawing = _Drawing(actors, bodies, lens, view)

    step = 2 * lens.frame_height / HEIGHT
    frame = frame_row(
        view,
        lens.eye,
        feet,
        step,
        lens.centre_x - WIDTH / 2 / lens.scale + step / 2,
        lens.centre_y - HEIGHT / 2 / lens.scale + step / 2,
        0.0 if without_person else 1.0,
    )
    rng = np.random.default_rng([17, person.seed, person.pid, camera.camid, view.number])
    sensors = {"visible": (VISIBLE,), "nir": (NIR,), "pair": (VISIBLE, THERMAL)}[camera.sensor]
    images = {
        _KIND[sensor]: _developed(sensor, drawing.light(sensor, frame), camera, view, preset, rng)
        for sensor in sensors
    }
    if with_mask:
        size = (view.resolution // 2, view.resolution)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8) if without_person else drawing.mask()
        images["mask"] = cv2.resize(mask, size, interpolation=cv2.INTER_AREA) // 128 * 255
    return images


def _developed(
    sensor: int,
    light: np.ndarray,
    camera: Camera,
    view: View,
    preset: Preset,
    rng: np.random.Generator,
) -> np.ndarray:
    """The image (h, w, 3) uint8 that a sensor makes of light, or of °C, (H, W, C)."""
    if sensor == THERMAL:
        light = cv2.GaussianBlur(light, (0, 0), view.heat_blur)
        light = np.roll(light, view.heat_shift, 1)[..., None]  # the two lenses are apart
    small = reduce_frame(light, view.resolution, view.resolution // 2)
    if sensor == THERMAL:
        return develop_thermal(small, view, preset, rng)
    develop = develop_visible if sensor == VISIBLE else develop_infrared
    return develop(small, camera, view, preset, rng)


class _Drawing:
    """One or two actors rasterised once, shaded for one or two sensors."""

    def __init__(self, actors: list[Actor], bodies: list[_Posed], lens: _Lens, view: View) -> None:
        self.lens, self.view = lens, view
        self.alpha: np.ndarray = np.zeros((HEIGHT, WIDTH), np.float32)
        self.any = bool(actors)
        if not actors:
            return
        meshes = [actor.mesh for actor in actors]
        self.first_of_second = len(meshes[0].faces)
        offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes]).astype(np.int32)
        self.faces = np.concatenate([m.faces + offset for m, offset in zip(meshes, offsets)])
        self.parts = np.concatenate([mesh.part for mesh in meshes])
        self.coordinates = np.concatenate([mesh.coordinates for mesh in meshes])
        self.materials = np.stack([actors[0].materials, actors[-1].materials])
        self.wearers = np.concatenate([actors[0].wearer, actors[-1].wearer])
        self.vertices = np.concatenate([body.vertices for body in bodies])
        self.normals = np.concatenate([body.normals for body in bodies])
        points = _project(self.vertices, lens.turn, *lens.eye)
        points[:, 0] = (points[:, 0] - lens.centre_x) * lens.scale + WIDTH / 2
        points[:, 1] = (points[:, 1] - lens.centre_y) * lens.scale + HEIGHT / 2
        cut = np.concatenate([body.cut for body in bodies])
        double_sided = np.concatenate([mesh.double_sided for mesh in meshes])
        self.depth, self.triangle, self.weights = raster(
            points, self.faces, cut, double_sided, HEIGHT, WIDTH
        )
        self.around = _surroundings(self.depth, view.distance + 3)

    def mask(self) -> np.ndarray:
        """(H, W) uint8, 255 where the first actor is seen."""
        own = (self.triangle >= 0) & (self.triangle < self.first_of_second) & (self.alpha < 0.5)
        return own.astype(np.uint8) * 255

    def light(self, sensor: int, frame: np.ndarray) -> np.ndarray:
        """(H, W, C) float32 of light, or of °C."""
        view, half = self.view, (HEIGHT // 2, WIDTH // 2)
        scene = draw_background(sensor, view, frame, self.lens.turn, *half)
        scene = cv2.GaussianBlur(scene, (0, 0), 0.7)
        image = cv2.resize(scene, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        if image.ndim == 2:
            image = image[..., None]
        if self.any:
            if sensor == NIR and view.wall < 4:
                self._wall_shadow(image)
            shade(
                sensor,
                self.depth,
                self.triangle,
                self.weights,
                self.around,
                self.faces,
                self.first_of_second,
                self.parts,
                self.coordinates,
                self.normals,
                self.vertices,
                self.materials,
                self.wearers,
                self._lights(),
                textures(),
                image,
            )
        if view.occluder is not None:
            front = draw_occluder(sensor, view.occluder, frame, self.lens.turn, *half)
            front = cv2.resize(front, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
            self.alpha = front[..., -1]
            image = image * (1 - front[..., -1:]) + front[..., :-1]
        return image

    def _wall_shadow(self, image: np.ndarray) -> None:
        """The illuminator is beside the lens: a near wall shows the person's shadow."""
        move = int(self.view.shadow * WIDTH / max(self.view.wall, 1.0))
        shadow = np.roll((self.triangle >= 0).astype(np.float32), move, 1)
        image *= 1 - 0.55 * cv2.GaussianBlur(shadow, (0, 0), 3)[..., None]

    def _lights(self) -> np.ndarray:
        view, light = self.view, np.zeros(1, LIGHT)
        light["sun_x"], light["sun_y"], light["sun_z"] = view.sun
        light["eye_x"], light["eye_y"], light["eye_z"] = self.lens.eye
        light["distance"], light["air"], light["drift"] = view.distance, view.air, view.origin[1]
        scene = SCENES[view.scene]
        light["ambient"] = scene.ambient
        light["cast_r"], light["cast_g"], light["cast_b"] = scene.cast
        return light
