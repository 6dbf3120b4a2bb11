"""Synthetic people as the generator draws them with one knob turned, for diagnosis.py.

    python benchmarks/knobs.py crops --out DIR [--identities 397] [--images 6] [--seed 9201]

A variant is the preset `standard` with the change that stands in VARIANTS, and the same people and
seed. The package stays as it is: in this process alone, its writer is given the changed preset,
person, view or camera, from which it draws as always. The folder's marker gets the variant's name,
so no result takes two variants for one set. Images are decoded at each --size at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vireid.cores import usable_cores
from vireid.data import load_dataset, prepare
from vireid.data.content import data_hash
from vireid.data.protocol import SYNTHETIC_MARKER, read_marker
from vireid.files import write_json
from vireid.synthetic import writer
from vireid.synthetic.people.identity import sample_person
from vireid.synthetic.people.person import Person
from vireid.synthetic.pictures.camera import Camera
from vireid.synthetic.pictures.view import View, draw_view
from vireid.synthetic.preset import PRESETS, Preset
from vireid.types import InputError

# As many people to train on and to validate on as v1 has; the generator asks for two to test on.
IDENTITIES, TEST_IDENTITIES, IMAGES = 397, 2, 6
SEED = 9201  # not v1's, and of no start and no set that is tested on


class Taken(NamedTuple):
    """What a view was drawn of."""

    person: Person
    camera: Camera
    preset: Preset


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What differs from `standard`.

    Attributes:
        words: the change, for tables.
        preset: knobs of `Preset` that differ.
        person, camera: make another one of what the generator drew.
        views: make another view, one after the other.
        knobs: how many are turned.
    """

    words: str
    preset: Mapping[str, Any] = field(default_factory=dict)
    person: Callable[[Person], Person] = lambda person: person
    camera: Callable[[Camera], Camera] = lambda camera: camera
    views: tuple[Callable[[View, Taken], View], ...] = ()
    knobs: int = 1


# Knobs ------------------------------------------------------------------------------------------

_CLOTHS = ("top", "bottom", "outer", "shoe", "bag_cloth", "hat_cloth", "scarf")
_PLACE = ("scene", "wall", "side", "origin", "scale", "props", "sun", "height", "pan")
_MOMENT = ("number", "zoom", "shift", "occluder", "passer", "passer_at", "motion", "blur",
           "quality", "spot")  # fmt: skip
_OCCLUDED = {name: getattr(PRESETS["hard"], name) for name in ("occlusion", "passers")}


def misaligned(view: View, taken: Taken) -> View:
    """The box is 0.75 to 1.35 times as tall as the person, not 1.04 to 1.20, and its middle five
    times as far from theirs: by 0.13 of its height sideways and 0.09 upwards (deviation)."""
    zoom = 0.75 + (view.zoom - 1.04) / 0.16 * 0.60
    return replace(view, zoom=zoom, shift=(5 * view.shift[0], 5 * view.shift[1]))


@lru_cache(maxsize=64)
def _place(seed: int, version: Any, camera: Camera, preset: Preset) -> View:
    return draw_view(sample_person(seed, 1, version=version), camera, preset, 0)


def one_place(view: View, taken: Taken) -> View:
    """A camera is fixed: scene, wall, items, light's direction and its own place are those of the
    first person's first view."""
    place = _place(taken.person.seed, taken.person.version, taken.camera, taken.preset)
    return replace(view, **{name: getattr(place, name) for name in _PLACE})


def one_walk(view: View, taken: Taken) -> View:
    """All views of a person by a camera are moments of one walk, the first view's: one way and
    distance, one scene and light. Only the step, the head, the box and what passes differ; the way
    varies by up to 0.35."""
    first = draw_view(*taken, 0)
    own = view.pose
    pose = replace(first.pose, phase=own.phase, nod=own.nod, head_turn=own.head_turn)
    moment = {name: getattr(view, name) for name in _MOMENT}
    return replace(first, **moment, pose=pose, yaw=first.yaw + 0.35 * view.yaw / np.pi)


def bent(view: View, taken: Taken) -> View:
    """Trunk, head and arms far from a walk's, and strides from none to 1.3 times."""
    person, pose = taken.person, view.pose
    rng = np.random.default_rng([29, person.seed, person.pid, taken.camera.camid, view.number])

    def pair(angles: tuple[float, float], more: np.ndarray) -> tuple[float, float]:
        return float(angles[0] + more[0]), float(angles[1] + more[1])

    pose = replace(
        pose,
        stride=pose.stride * float(rng.uniform(0, 1.3)),
        lean=pose.lean + float(rng.normal(0, 0.15)),
        nod=pose.nod + float(rng.normal(0, 0.2)),
        head_turn=2 * pose.head_turn,
        arm_forward=pair(pose.arm_forward, rng.normal(0, 0.5, 2)),
        arm_out=pair(pose.arm_out, np.abs(rng.normal(0, 0.25, 2))),
        elbow=pair(pose.elbow, np.abs(rng.normal(0, 0.6, 2))),
    )
    return replace(view, pose=pose)


def alike_in_infrared(person: Person) -> Person:
    """All cloth reflects 0.62 of near infrared, the middle of the bright ones; no pattern shows."""
    cloths = {name: replace(getattr(person, name), nir=0.62, nir2=0.62) for name in _CLOTHS}
    return replace(person, **cloths)


def poor_infrared(camera: Camera) -> Camera:
    """Three times the noise and twice the blur, of infrared cameras."""
    if camera.sensor != "nir":
        return camera
    return replace(camera, noise=3 * camera.noise, blur=2 * camera.blur)


def flat_infrared(view: View, taken: Taken) -> View:
    """0.6 of the contrast, in infrared."""
    return replace(view, contrast=0.6 * view.contrast) if taken.camera.sensor == "nir" else view


VARIANTS: dict[str, Variant] = {
    "standard": Variant(words="as the generator draws", knobs=0),
    "crops": Variant(words="misaligned boxes, parts cut off", views=(misaligned,)),
    "occlusion": Variant(words="occluders and passers-by as often as in `hard`", preset=_OCCLUDED),
    "places": Variant(words="each camera sees one place", views=(one_place,)),
    "walks": Variant(words="one walk of a person by a camera", views=(one_walk,)),
    "poses": Variant(words="bent trunks, raised arms, other strides", views=(bent,)),
    "alike": Variant(words="all clothes equal in infrared", person=alike_in_infrared),
    "sensor": Variant(words="noisy, blurred, flat infrared", camera=poor_infrared,
                      views=(flat_infrared,)),
    "together": Variant(words="crops, occlusion, places and walks at once", preset=_OCCLUDED,
                        views=(one_walk, one_place, misaligned), knobs=4),
}  # fmt: skip
"""By name. `together` has what crops of fixed cameras' videos have."""


# Drawing ----------------------------------------------------------------------------------------


@contextmanager
def turned(variant: Variant) -> Iterator[None]:
    """Within, the package's writer draws the variant; what others import stays as it is."""
    kept = {name: getattr(writer, name)
            for name in ("preset_named", "sample_person", "draw_view", "render")}  # fmt: skip

    def preset_named(name: str) -> tuple[str, Preset]:
        name, preset = kept["preset_named"](name)
        return name, replace(preset, **variant.preset)

    def person_of(seed: int, pid: int, **more: Any) -> Person:
        return variant.person(kept["sample_person"](seed, pid, **more))

    def view_of(person: Person, camera: Camera, preset: Preset, number: int) -> View:
        view = kept["draw_view"](person, camera, preset, number)
        for change in variant.views:
            view = change(view, Taken(person, camera, preset))
        return view

    def rendered(actor: Any, camera: Camera, *given: Any, **more: Any) -> Any:
        return kept["render"](actor, variant.camera(camera), *given, **more)

    changed = {"preset_named": preset_named, "sample_person": person_of, "draw_view": view_of,
               "render": rendered}  # fmt: skip
    try:
        for name, function in changed.items():
            setattr(writer, name, function)
        yield
    finally:
        for name, function in kept.items():
            setattr(writer, name, function)


def write_variant(
    name: str, out: Path, *, identities: int, images: int, seed: int, workers: int | None = None
) -> None:
    """Draw the people of a variant, unless they are there; goes on where it was stopped.

    Raises:
        InputError: the folder holds others.
    """
    people: dict[str, Any] = {"identities": identities, "images": images, "seed": seed}
    made = read_marker(out) or {}
    if made.get("complete"):
        wanted = {"variant": name, **people}
        if before := {key: made.get(key) for key in wanted if made.get(key) != wanted[key]}:
            raise InputError(
                f"'{out}' holds other people: {before}, not {wanted}. Name another folder."
            )
        return
    if not sys.platform.startswith("linux"):
        workers = 1  # others are not forked there, and would draw `standard`
    with turned(VARIANTS[name]):
        writer.write_dataset(
            out, **people, test_identities=TEST_IDENTITIES, workers=workers, progress=False
        )
    write_json(out / SYNTHETIC_MARKER, {**(read_marker(out) or {}), "variant": name})


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--identities", type=int, default=IDENTITIES)
    parser.add_argument("--images", type=int, default=IMAGES, help="of each person by each camera")
    parser.add_argument("--seed", type=int, default=SEED, help="of the people")
    parser.add_argument("--workers", type=int, help="processes (one a core)")
    parser.add_argument("--size", type=int, nargs=2, action="append", default=[],
                        metavar=("HEIGHT", "WIDTH"), help="decode the images at it")  # fmt: skip
    args = parser.parse_args(words)
    workers = args.workers or usable_cores()
    try:
        write_variant(args.variant, args.out, identities=args.identities, images=args.images,
                      seed=args.seed, workers=workers)  # fmt: skip
        data = load_dataset("sysu", args.out)
        for height, width in args.size:
            prepare(data, size=(height, width), workers=workers)
        data_hash(data)  # kept, so that no run has to read every file
    except InputError as error:
        print(f"knobs.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
