"""A background tells neither person nor camera."""

import itertools
from collections import Counter

import numpy as np
import pytest

from vireid.synthetic.people.identity import sample_person
from vireid.synthetic.pictures.camera import (
    LLCM_CAMERAS,
    LLCM_NIR_CAMERAS,
    REGDB_CAMERA,
    SYSU_CAMERAS,
)
from vireid.synthetic.pictures.view import draw_view
from vireid.synthetic.places.scenes import INDOOR, OUTDOOR, SCENES
from vireid.synthetic.preset import PRESETS


def test_there_are_26_scenes_half_of_them_indoors():
    assert len(SCENES) == 26
    assert len({scene.name for scene in SCENES}) == 26
    assert all(SCENES[i].indoor for i in INDOOR)
    assert not any(SCENES[i].indoor for i in OUTDOOR)


@pytest.mark.parametrize("cameras", [SYSU_CAMERAS, LLCM_CAMERAS])
def test_every_scene_is_shared(cameras):
    seen_by = Counter(itertools.chain.from_iterable(set(c.scenes) for c in cameras))
    assert set(seen_by) == set(range(26))
    assert min(seen_by.values()) >= 2
    assert all(len(c.scenes) >= 9 for c in cameras)


def test_sysu_cameras_are_as_in_sysu_mm01():
    assert [c.camid for c in SYSU_CAMERAS] == [1, 2, 3, 4, 5, 6]
    assert [c.camid for c in SYSU_CAMERAS if c.sensor == "nir"] == [3, 6]
    assert SYSU_CAMERAS[1].scenes == SYSU_CAMERAS[2].scenes
    indoor = [all(SCENES[i].indoor for i in c.scenes) for c in SYSU_CAMERAS]
    assert indoor == [True, True, True, False, False, False]
    assert REGDB_CAMERA.sensor == "pair"
    assert [c.camid for c in LLCM_NIR_CAMERAS] == [1, 2, 4, 5, 6, 7, 8, 9]


def test_scene_place_and_sensor_are_drawn_independently_of_the_person():
    camera, knobs = SYSU_CAMERAS[0], PRESETS["standard"]
    people = [sample_person(0, pid) for pid in range(1, 61)]
    views = [[draw_view(p, camera, knobs, k) for k in range(30)] for p in people]
    counts = np.array([[sum(v.scene == s for v in row) for s in camera.scenes] for row in views])
    expected = counts.sum(0) / len(people)
    chi = ((counts - expected) ** 2 / expected).sum()
    freedom = (len(people) - 1) * (len(camera.scenes) - 1)
    assert abs(chi - freedom) < 4 * np.sqrt(2 * freedom)
    for name in ("distance", "wall", "scale", "exposure", "resolution"):
        of_person = np.array([[getattr(v, name) for v in row] for row in views], float)
        between = of_person.mean(1).var() * 30 / of_person.var()
        assert 0.5 < between < 1.7, name


def test_presets_order_by_their_knobs():
    easy, standard, hard = (PRESETS[name] for name in ("easy", "standard", "hard"))
    for name in ("occlusion", "passers", "props", "motion", "night", "noise", "pose"):
        assert getattr(easy, name) < getattr(standard, name) < getattr(hard, name)
    assert easy.resolution > standard.resolution > hard.resolution
    person = sample_person(0, 1)
    shares = [
        np.mean([draw_view(person, SYSU_CAMERAS[0], knobs, k).occluder is not None
                 for k in range(200)])
        for knobs in (easy, standard, hard)
    ]  # fmt: skip
    assert shares[0] == 0
    assert 0.03 < shares[1] < 0.18
    assert 0.18 < shares[2] < 0.40
