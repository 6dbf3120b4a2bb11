"""What is added for a later generator version: new people and places have it, old bytes stay."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from vireid.synthetic import render_person, sample_person, write_dataset
from vireid.synthetic.parameters import MARKER
from vireid.synthetic.people.garments import dress
from vireid.synthetic.people.mesh import BOX, Part
from vireid.synthetic.people.wardrobe import WARDROBE, Bag, Garment, Lower, Neck, Outer
from vireid.synthetic.pictures.camera import SYSU_CAMERAS
from vireid.synthetic.pictures.view import draw_view
from vireid.synthetic.places.scene import Finish, Scene, Surface
from vireid.synthetic.places.scenes import SCENES
from vireid.synthetic.preset import PRESETS
from vireid.synthetic.versions import VERSIONS
from vireid.types import InputError

SMALL = {"identities": 3, "images": 1, "seed": 3, "workers": 1, "progress": False}


def add_plate(tailor) -> None:
    tailor.add_solid(BOX, [0, tailor.joint("spine_03")[1], 0.3], [0.1, 0.1, 0.01], "spine_03",
                     Part.SCARF)  # fmt: skip


NEW = (
    Outer(name="poncho", odds=(5, 5), since="test-2", end=-0.2, opening=lambda y: 0 * y - 1),
    Lower(name="maxi", odds=(5, 0), since="test-2", cloth="skirt", loose=0.01, short=True),
    Neck(name="plate", odds=(5, 5), since="test-2", add_to=add_plate),
    Bag(name="satchel", odds=(5, 5), since="test-2", straps=2),
)
FIELD = {Outer: "outer_kind", Lower: "lower", Neck: "neck", Bag: "bag"}
FLAT = Surface(finish=Finish.PLAIN, colour=(0.4, 0.4, 0.4))


def contents(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(root.rglob("*")) if p.is_file()}  # fmt: skip


@pytest.fixture
def register():
    """Adds a version and entries of tables, for the length of one test."""

    def add(table: list, *entries) -> None:
        VERSIONS.append("test-2")
        table.extend(entries)

    before = [(table, len(table)) for table in (VERSIONS, WARDROBE, SCENES)]
    yield add
    for table, count in before:
        del table[count:]


def test_a_garment_is_one_entry_and_the_first_version_keeps_its_bytes(register, tmp_path) -> None:
    write_dataset(tmp_path / "before", **SMALL)
    old = [sample_person(7, pid) for pid in range(1, 60)]
    register(WARDROBE, *NEW)
    write_dataset(tmp_path / "after", **SMALL)
    assert contents(tmp_path / "after") == contents(tmp_path / "before")
    assert [sample_person(7, pid) for pid in range(1, 60)] == old

    new = [sample_person(7, pid, version="test-2") for pid in range(1, 60)]
    for garment in NEW:
        wearers = [p for p in new if getattr(p, FIELD[type(garment)]) == garment.name]
        assert 5 < len(wearers) < 59, garment.name
        assert garment.odds[1] or all(p.female for p in wearers)
    plain = next(p for p in new if p.neck == "none")
    plated = next(p for p in new if p.neck == "plate")
    parts = [(dress(p).part == Part.SCARF).sum() for p in (plain, plated)]
    assert parts == [0, len(BOX[0])]


def test_a_data_set_of_a_later_version_says_so(register, tmp_path) -> None:
    register(WARDROBE, *NEW)
    write_dataset(tmp_path / "new", version="test-2", **SMALL)
    assert '"version": "test-2"' in (tmp_path / "new" / MARKER).read_text()
    assert "poncho" in (tmp_path / "new/attributes.csv").read_text()
    with pytest.raises(InputError, match=r"begun with other parameters .*version 'test-2' instead"):
        write_dataset(tmp_path / "new", **SMALL)


def test_a_scene_is_one_entry_and_the_first_version_never_sees_it(register) -> None:
    before = [render_person(7, 1, camera.camid, 0) for camera in SYSU_CAMERAS]
    register(SCENES, Scene(name="new yard", indoor=False, floor=FLAT, wall=FLAT, since="test-2"))
    for camera, images in zip(SYSU_CAMERAS, before):
        for kind, image in render_person(7, 1, camera.camid, 0).items():
            np.testing.assert_array_equal(image, images[kind])
    person = sample_person(7, 1, version="test-2")
    for camera in SYSU_CAMERAS:
        views = [draw_view(person, camera, PRESETS["easy"], k) for k in range(150)]
        assert any(SCENES[v.scene].name == "new yard" for v in views) == (camera.camid > 3)


def test_names_are_unique_within_a_kind() -> None:
    names = [(type(garment), garment.name) for garment in WARDROBE]
    assert len(set(names)) == len(names)
    assert all(isinstance(garment, Garment) for garment in WARDROBE)
