"""Everything that is drawn at random for one image: pose, position, light, lens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vireid.synthetic.people.person import Person
from vireid.synthetic.people.pose import Pose
from vireid.synthetic.people.wardrobe import HOLD_PHONE, HOLD_UMBRELLA, Bag, garment
from vireid.synthetic.pictures.camera import Camera
from vireid.synthetic.places.scene import Item, Scene, triple
from vireid.synthetic.places.scenes import SCENES
from vireid.synthetic.preset import Preset


@dataclass(frozen=True, kw_only=True)
class Prop:
    """Something in the scene, behind the person or (z above 0) in front.

    Attributes:
        item: what it is; x, z: its position, metres from the person; scale: factor on its size.
        colour, nir: linear RGB and near-infrared albedo; warm: °C above the air.
        drift: where its noise is read, 0 to 1.
    """

    item: Item
    x: float
    z: float
    scale: float
    colour: tuple[float, float, float]
    nir: float
    warm: float
    drift: float


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything drawn for one image. Angles in radians, lengths in metres.

    Attributes:
        number: of the view, from 0; scene: number of the scene.
        yaw: way the person faces; 0 towards the camera. pan: of the camera.
        height, distance: of the camera.
        zoom: frame height over the person's; shift: of the frame, in frames.
        wall, side: distance of back wall and half width of the room.
        origin: position in the scene; scale: of its textures, so that a tile measures nobody.
        props: things in the scene, farthest first; occluder: in front of the person, or None.
        passer: number of a passer-by (of a population of their own) or -1; passer_at: x, z, yaw.
        sun: direction of the light; exposure, saturation, contrast: of the image.
        night: taken in low light.
        resolution: height in pixels; blur: factor on the lens's; motion: pixels, angle.
        quality: of the JPEG.
        shadow: of the person on the wall, shares of the frame; spot: centre of the illuminator.
        air, heat_top, heat_blur, heat_shift, clutter: of a thermal image.
        umbrella: held up.
    """

    number: int
    scene: int
    pose: Pose
    yaw: float
    pan: float
    height: float
    distance: float
    zoom: float
    shift: tuple[float, float]
    wall: float
    side: float
    origin: tuple[float, float]
    scale: float
    props: tuple[Prop, ...]
    occluder: Prop | None
    passer: int
    passer_at: tuple[float, float, float]
    sun: tuple[float, float, float]
    exposure: float
    saturation: float
    contrast: float
    night: bool
    resolution: int
    blur: float
    motion: tuple[float, float]
    quality: int
    shadow: float
    spot: tuple[float, float]
    air: float
    heat_top: float
    heat_blur: float
    heat_shift: int
    clutter: float
    umbrella: bool


_PROP_COLOURS = {
    Item.POLE: (0.25, 0.26, 0.27),
    Item.PILLAR: (0.50, 0.49, 0.46),
    Item.TREE: (0.13, 0.26, 0.08),
    Item.BUSH: (0.12, 0.25, 0.08),
    Item.BENCH: (0.32, 0.20, 0.11),
    Item.BIN: (0.14, 0.22, 0.16),
    Item.BOARD: (0.55, 0.52, 0.48),
    Item.RAILING: (0.40, 0.41, 0.42),
    Item.PLANTER: (0.14, 0.27, 0.09),
    Item.BICYCLE: (0.10, 0.10, 0.12),
}
_CAR_COLOURS = ((0.75, 0.75, 0.74), (0.08, 0.08, 0.09), (0.38, 0.39, 0.41),
                (0.40, 0.05, 0.05), (0.08, 0.12, 0.32), (0.55, 0.52, 0.46))  # fmt: skip
_LEAF_NIR = (0.35, 0.6)
"""Leaves scatter near infrared between their cells, far above their green in the visible."""
_NUM_PASSERS = 24
"""Passers-by come from a population of their own, small enough to keep their meshes."""


def _prop(rng: np.random.Generator, item: Item, x: float, z: float) -> Prop:
    colour = (
        _CAR_COLOURS[rng.integers(len(_CAR_COLOURS))] if item is Item.CAR else _PROP_COLOURS[item]
    )
    leafy = item in (Item.TREE, Item.BUSH, Item.PLANTER)
    tone = rng.uniform(0.8, 1.25)
    return Prop(
        item=item,
        x=x,
        z=z,
        scale=float(rng.uniform(0.85, 1.2)),
        colour=triple(c * tone for c in colour),
        nir=float(rng.uniform(*_LEAF_NIR) if leafy else rng.uniform(0.1, 0.6)),
        warm=float(
            rng.normal(-1, 0.6)
            if leafy
            else rng.normal(0.5, 1.5) + (4.0 if item is Item.CAR and rng.random() < 0.5 else 0)
        ),
        drift=float(rng.random()),
    )


def _pose(rng: np.random.Generator, person: Person, preset: Preset, umbrella: bool) -> Pose:
    standing = rng.random() < 0.2
    stride = rng.uniform(0, 0.2) if standing else person.stride * rng.uniform(0.75, 1.15)
    forward = rng.normal(0, 0.06, 2)
    out = person.arm_out + np.abs(rng.normal(0, 0.03, 2))
    inward, elbow = np.full(2, 0.02), rng.uniform(0.15, 0.45, 2)
    nod, swing = rng.normal(0.03, 0.08), person.arm_swing
    arm = 0 if person.bag_side > 0 else 1
    holds = [(garment(Bag, person.bag).hold, arm)]
    if rng.random() < (0.30 if person.phone else 0.06):
        holds.insert(0, (HOLD_PHONE, 1))
        nod = 0.25
    if umbrella:
        holds.append((HOLD_UMBRELLA, 1 - arm))
    for hold, side in holds:
        arms = slice(None) if hold.both else side
        for angles, angle in ((forward, hold.forward), (elbow, hold.elbow), (inward, hold.inward)):
            if angle is not None:
                angles[arms] = angle
        swing *= hold.swing
    turn = 0.25 * preset.pose
    return Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(stride),
        lean=float(person.lean + rng.normal(0, 0.02)),
        nod=float(nod),
        head_turn=float(rng.normal(0, turn)),
        stance=person.stance,
        toe_out=person.toe_out,
        arm_swing=float(swing),
        arm_forward=(float(forward[0]), float(forward[1])),
        arm_out=(float(out[0]), float(out[1])),
        arm_in=(float(inward[0]), float(inward[1])),
        elbow=(float(elbow[0]), float(elbow[1])),
        bounce=float(rng.uniform(0.02, 0.05)),
    )


def _occluder(rng: np.random.Generator, indoor: bool) -> Prop:
    kinds = (
        (Item.POLE, Item.RAILING, Item.PLANTER, Item.BENCH)
        if indoor
        else (Item.POLE, Item.BUSH, Item.CAR, Item.RAILING, Item.BICYCLE, Item.BENCH, Item.BUSH)
    )
    item = kinds[rng.integers(len(kinds))]
    z = rng.uniform(0.9, 1.5)
    side = rng.choice([-1, 1])
    if item is Item.POLE:
        x = side * rng.uniform(0.12, 0.45)
    elif item is Item.CAR:  # its bonnet or boot; a cabin would hide everything
        x = side * rng.uniform(1.5, 2.2)
    else:
        x = rng.normal(0, 0.6)
    return _prop(rng, item, float(x), float(z))


def _props(rng: np.random.Generator, scene: Scene, preset: Preset, wall: float) -> tuple[Prop, ...]:
    """What is between the person and the wall, farthest first."""
    props = []
    for item in scene.items:
        if rng.random() < preset.props:
            z = -rng.uniform(0.8, max(1.0, wall - 0.3))
            props.append(_prop(rng, item, float(rng.uniform(-2.2, 2.2)), float(z)))
    return tuple(sorted(props, key=lambda prop: prop.z))


def _passer(rng: np.random.Generator, preset: Preset) -> tuple[int, tuple[float, float, float]]:
    """Number of a passer-by, or -1, and where: x, z, yaw."""
    if rng.random() >= preset.passers:
        return -1, (0.0, 0.0, 0.0)
    number = int(rng.integers(_NUM_PASSERS))
    front = rng.random() < 0.3
    z = rng.uniform(0.7, 1.2) if front else -rng.uniform(0.7, 3.0)
    x = rng.choice([-1, 1]) * (rng.uniform(0.42, 0.6) if front else rng.uniform(0.25, 1.2))
    return number, (float(x), float(z), float(rng.uniform(-np.pi, np.pi)))


def _resolution(rng: np.random.Generator, camera: Camera, preset: Preset, distance: float) -> int:
    """Height of the image in pixels."""
    (low, high), (near, far) = camera.resolution, camera.distance
    nearness = (far - distance) / (far - near)
    resolution = low + nearness * (high - low)
    if high > low:  # a fixed size stays fixed
        resolution = (resolution + rng.normal(0, 8)) * preset.resolution
    return int(np.clip(resolution, 64, 288))


def draw_view(person: Person, camera: Camera, preset: Preset, number: int) -> View:
    """The view with a number, of a person, in a camera: a pure function of its arguments."""
    sensor = {"visible": 0, "nir": 1, "pair": 2}[camera.sensor]
    rng = np.random.default_rng([13, person.seed, person.pid, camera.camid, sensor, number])
    scenes = camera.scenes_of(person.version)
    scene_number = scenes[rng.integers(len(scenes))]
    scene = SCENES[scene_number]
    umbrella = person.umbrella and not scene.indoor and rng.random() < 0.5
    pose = _pose(rng, person, preset, umbrella)
    distance = rng.uniform(*camera.distance)
    wall = rng.uniform(scene.near, scene.far)
    props = _props(rng, scene, preset, wall)
    occluder = _occluder(rng, scene.indoor) if rng.random() < preset.occlusion else None
    passer, passer_at = _passer(rng, preset)
    sun = np.array([rng.uniform(-0.8, 0.8), 0.85, rng.uniform(-0.2, 0.8)])
    sun = sun + rng.normal(0, 0.1, 3)
    sun /= np.linalg.norm(sun)
    resolution = _resolution(rng, camera, preset, distance)
    night = camera.sensor != "nir" and rng.random() < camera.night * preset.night
    motion = (0.0, 0.0)
    if rng.random() < preset.motion:
        motion = (float(rng.uniform(0.01, 0.03)), float(rng.normal(0, 0.25)))
    dark = 0.42 if night else 1.0
    return View(
        number=number,
        scene=scene_number,
        pose=pose,
        yaw=float(rng.uniform(-np.pi, np.pi)),
        pan=float(rng.normal(0, 0.12)),
        height=float(camera.height * rng.uniform(0.93, 1.07)),
        distance=float(distance),
        zoom=float(rng.uniform(1.04, 1.20)),
        shift=(float(rng.normal(0, 0.025)), float(rng.normal(0, 0.018))),
        wall=float(wall),
        side=float(rng.uniform(1.3, 3.0)),
        origin=(float(rng.uniform(-8, 8)), float(rng.uniform(-8, 8))),
        scale=float(np.exp(rng.uniform(-0.25, 0.25))),
        props=props,
        occluder=occluder,
        passer=passer,
        passer_at=passer_at,
        sun=triple(sun),
        exposure=float(np.exp(rng.normal(0, 0.14)) * dark),
        saturation=float(rng.uniform(0.8, 1.1) * (0.7 if night else 1)),
        contrast=float(rng.uniform(0.95, 1.2)),
        night=bool(night),
        resolution=resolution,
        blur=float(rng.uniform(0.4, 1.15)),
        motion=motion,
        quality=int(rng.uniform(*preset.quality)),
        shadow=float(rng.choice([-1, 1]) * rng.uniform(0.05, 0.25)),
        spot=(float(rng.normal(0, 0.15)), float(rng.normal(0, 0.12))),
        air=float(rng.uniform(14, 25)),
        heat_top=float(rng.uniform(33, 38)),
        heat_blur=float(rng.uniform(2.5, 6.0)),
        heat_shift=int(rng.integers(-8, 9)),
        clutter=float(rng.uniform(0.6, 1.6)),
        umbrella=bool(umbrella),
    )
