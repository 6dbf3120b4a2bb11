"""Images: what each sensor sees, masks, and the scene without its person."""

import numpy as np
import pytest

from vireid.synthetic import contact_sheet, render_person
from vireid.types import InputError


@pytest.fixture(scope="module")
def visible():
    return render_person(0, 1, 1, 0)


def test_visible_has_colour_near_infrared_has_none(visible):
    nir = render_person(0, 1, 3, 0)
    assert set(visible) == {"visible", "mask"}
    assert set(nir) == {"nir", "mask"}
    for image in (visible["visible"], nir["nir"]):
        height, width, channels = image.shape
        assert (image.dtype, channels, width) == (np.uint8, 3, height // 2)
        assert 64 <= height <= 288
        assert 20 < image.mean() < 235
        assert image.std() > 15
    assert (nir["nir"] == nir["nir"][..., :1]).all()
    assert np.ptp(visible["visible"].astype(int), axis=2).mean() > 3


def test_mask_covers_a_person(visible):
    mask = visible["mask"]
    assert set(np.unique(mask)) == {0, 255}
    assert 0.12 < (mask > 0).mean() < 0.6
    rows = np.flatnonzero(mask.any(1))
    assert np.ptp(rows) > 0.75 * len(mask)


def test_same_arguments_same_image_other_view_other_image(visible):
    np.testing.assert_array_equal(render_person(0, 1, 1, 0)["visible"], visible["visible"])
    other = render_person(0, 1, 1, 1)["visible"]
    assert other.shape != visible["visible"].shape or (other != visible["visible"]).any()


def test_without_person_is_the_same_scene_empty(visible):
    empty = render_person(0, 1, 1, 0, without_person=True)
    assert not empty["mask"].any()
    difference = np.abs(empty["visible"].astype(int) - visible["visible"]).mean(2)
    grown = visible["mask"] > 0
    far = ~grown
    for step in range(1, 13):  # away from the outline, the shadow lies on the floor
        far[step:] &= ~grown[:-step]
        far[:-step] &= ~grown[step:]
        far[:, step:] &= ~grown[:, :-step]
        far[:, :-step] &= ~grown[:, step:]
    far[int(len(far) * 0.6) :] = False
    assert far.any()
    assert difference[far].mean() < 3
    assert difference[grown].mean() > 10


def test_thermal_shows_warm_people_in_colder_places():
    warmer = []
    for pid in range(1, 4):
        images = render_person(0, pid, 1, 0, thermal=True)
        assert set(images) == {"visible", "thermal", "mask"}
        assert images["thermal"].shape == images["visible"].shape == (128, 64, 3)
        inside = images["mask"] > 0
        warmer.append(images["thermal"][inside].mean() - images["thermal"][~inside].mean())
    assert np.median(warmer) > 20


def test_unknown_camera_and_preset():
    with pytest.raises(InputError, match="There is no camera 7"):
        render_person(0, 1, 7, 0)
    with pytest.raises(InputError, match="preset 'wild'"):
        render_person(0, 1, 1, 0, preset="wild")


def test_contact_sheet(tmp_path):
    path = tmp_path / "sheet.jpg"
    contact_sheet(path, pids=(1,), camids=(1, 3), views=1, height=96)
    assert path.read_bytes().startswith(b"\xff\xd8")
    assert list(tmp_path.iterdir()) == [path]
