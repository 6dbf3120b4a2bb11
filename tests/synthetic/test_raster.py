"""The compiled rasteriser against its NumPy twin and against geometry."""

import numpy as np
import pytest

from vireid.synthetic.people.garments import dress
from vireid.synthetic.people.identity import sample_person
from vireid.synthetic.pictures.raster import raster, raster_numpy


def both(points, faces, cut, double_sided, height=96, width=64):
    arguments = (
        np.asarray(points, np.float32),
        np.asarray(faces, np.int32),
        np.asarray(cut, np.float32),
        np.asarray(double_sided, bool),
        height,
        width,
    )
    return raster(*arguments), raster_numpy(*arguments)


@pytest.mark.parametrize("seed", range(6))
def test_twin_is_equal_to_the_bit_on_random_triangles(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform([-20, -20, 0.05], [84, 116, 0.5], (150, 3))
    faces = rng.integers(0, 150, (120, 3))
    fast, slow = both(points, faces, rng.uniform(-0.3, 1, 150), rng.random(120) < 0.5)
    for a, b in zip(fast, slow):
        np.testing.assert_array_equal(a, b)
    assert (fast[1] >= 0).any()


def test_twin_is_equal_to_the_bit_on_a_person():
    mesh = dress(sample_person(0, 1))
    points = mesh.vertices * np.float32(70)
    points[:, 0] += 64
    points[:, 1] = 64 - points[:, 1]
    points[:, 2] = 1 / (5 - mesh.vertices[:, 2])
    fast, slow = both(points, mesh.faces, mesh.cut, mesh.double_sided, 128, 128)
    for a, b in zip(fast, slow):
        np.testing.assert_array_equal(a, b)
    assert (fast[1] >= 0).mean() > 0.1


def test_nearest_wins_back_faces_and_cuts_are_not_drawn():
    corners = [[4, 4], [4, 60], [60, 4]]
    points = np.array([[*c, depth] for depth in (0.2, 0.4) for c in corners])
    both_layers, _ = both(points, [[0, 1, 2], [3, 4, 5]], np.ones(6), [False, False])
    assert both_layers[1][10, 10] == 1
    assert both_layers[0][10, 10] == pytest.approx(0.4)
    turned, _ = both(points, [[0, 2, 1]], np.ones(6), [False])
    assert (turned[1] == -1).all()
    turned, _ = both(points, [[0, 2, 1]], np.ones(6), [True])
    assert turned[1][10, 10] == 0
    # Cut falls from 1 to -1 along x: about half of the width is left
    cut, _ = both(points[:3], [[0, 1, 2]], [1, 1, -1], [False])
    drawn = np.flatnonzero(cut[1][5] >= 0)
    assert drawn.min() == 4
    assert 30 <= drawn.max() <= 34


def test_weights_are_perspective_correct():
    points = np.array([[0, 0, 1.0], [0, 64, 1.0], [64, 0, 0.25]])
    (_, triangle, weights), _ = both(points, [[0, 1, 2]], np.ones(3), [False])
    assert triangle[0, 32] == 0
    # Half way on the screen towards a corner four times as far is a fifth of the way in space.
    assert weights[0, 32, 1] == pytest.approx(0.2, abs=0.01)
