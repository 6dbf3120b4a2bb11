"""The compiled passes over pixels against themselves, run by Python on NumPy numbers.

`twin` rebuilds a compiled function and all that it calls from their sources without the compiler.
Compiled code keeps intermediate values in double precision where NumPy keeps single ones, so a
texture may be read one texel aside here and there; all other pixels have to agree.
"""

from collections.abc import Callable
from types import FunctionType, SimpleNamespace

import numpy as np
import pytest

from vireid.synthetic import render_person
from vireid.synthetic.people import body, template
from vireid.synthetic.pictures import background, rays, render, shading

EVERY = 8  # pixels that are tried, along and across


def twin(function: Callable, made: dict | None = None) -> Callable:
    """The same function without its compiler, down to everything it calls."""
    made = {} if made is None else made
    if function not in made:
        source = function.py_func
        names = dict(source.__globals__)
        made[function] = FunctionType(source.__code__, names, source.__name__)
        for name in source.__code__.co_names:
            if hasattr(names.get(name), "py_func"):
                names[name] = twin(names[name], made)
    return made[function]


def plain(value):
    """A table's rows as objects with attributes, which is how compiled code reads them."""
    if not (isinstance(value, np.ndarray) and value.dtype.names):
        return value
    rows = np.empty(value.shape, object)
    for place in np.ndindex(value.shape):
        rows[place] = SimpleNamespace(**{n: value[place][n] for n in value.dtype.names})
    return rows


def recorded(monkeypatch, room, name: str) -> list:
    """Arguments of each call of a compiled pass while images are drawn."""
    calls, function = [], getattr(room, name)

    def call(*arguments):
        calls.append([a.copy() if isinstance(a, np.ndarray) else a for a in arguments])
        return function(*arguments)

    monkeypatch.setattr(room, name, call)
    return calls


def draw(people: range) -> None:
    for pid in people:
        render_person(5, pid, 1 + pid % 6, pid % 3)
        render_person(5, pid, 3 + 3 * (pid % 2), pid % 3)
        render_person(5, pid, 1, pid % 3, thermal=True)


def agree(pairs: list, unit: float = 1) -> None:
    """Hold (compiled, interpreted) values against each other; `unit` is a large difference."""
    fast, slow = (np.concatenate(side) for side in zip(*pairs))
    assert np.isfinite(fast).all() and fast.std() > 0
    same = np.abs(fast - slow) <= 1e-3 * unit
    assert same.mean() > 0.995
    assert abs(float(fast.mean()) - float(slow.mean())) < 1e-3 * unit


def agree_in_every_sensor(found: dict) -> None:
    assert set(found) == {shading.VISIBLE, shading.NIR, shading.THERMAL}
    for sensor, pairs in found.items():
        agree(pairs, 10 if sensor == shading.THERMAL else 1)  # °C, or shares of white


@pytest.mark.filterwarnings("ignore:overflow")
def test_shading(monkeypatch):
    calls = recorded(monkeypatch, render, "shade")
    draw(range(1, 7))
    slow = twin(shading.shade)
    found = {}
    for sensor, depth, triangle, weights, around, *others, image in calls:
        few = [
            np.ascontiguousarray(a[::EVERY, ::EVERY]) for a in (depth, triangle, weights, around)
        ]
        pair = [np.zeros((*few[1].shape, image.shape[2]), np.float32) for _ in range(2)]
        shading.shade(sensor, *few, *others, pair[0])
        slow(sensor, *few, *map(plain, others), pair[1])
        drawn = few[1] >= 0
        found.setdefault(sensor, []).append([image[drawn] for image in pair])
    agree_in_every_sensor(found)


def test_backgrounds(monkeypatch):
    calls = recorded(monkeypatch, background, "behind")
    draw(range(1, 9))
    slow, found = twin(rays.behind), {}
    for sensor, frame, turn, surfaces, decor, props, textures, height, width in calls:
        frame["step"] *= EVERY
        size = (height // EVERY, width // EVERY)
        fast = rays.behind(sensor, frame, turn, surfaces, decor, props, textures, *size)
        tables = [plain(table) for table in (surfaces, decor, props)]
        interpreted = slow(sensor, plain(frame), turn, *tables, textures, *size)
        found.setdefault(sensor, []).append((fast.ravel(), interpreted.ravel()))
    agree_in_every_sensor(found)


def test_things_before_a_person(monkeypatch):
    calls = recorded(monkeypatch, background, "before")
    pid = 0
    while len(calls) < 4:
        pid += 1
        render_person(5, pid, 1 + pid % 6, 0, preset="hard")
        assert pid < 100
    slow, pairs = twin(rays.before), []
    for sensor, frame, turn, props, textures, height, width in calls:
        frame["step"] *= EVERY
        size = (height // EVERY, width // EVERY)
        fast = rays.before(sensor, frame, turn, props, textures, *size)
        interpreted = slow(sensor, plain(frame), turn, plain(props), textures, *size)
        pairs.append((fast.ravel(), interpreted.ravel()))
    agree(pairs)


@pytest.mark.parametrize(
    ("room", "name"),
    [
        (render, "skin"),
        (render, "vertex_normals"),
        (render, "_project"),
        (render, "_turn_and_move"),
        (render, "_bounds"),
    ],
)
def test_vertices(monkeypatch, room, name):
    compiled = getattr(room, name)
    calls = recorded(monkeypatch, room, name)
    render_person(5, 2, 1, 0)
    agree_closely(compiled, calls[0])


def test_the_body():
    g = np.random.default_rng(0)
    vertices, basis = (g.standard_normal(s).astype(np.float32) for s in ((50, 3), (4, 50, 3)))
    agree_closely(body._add_basis, [vertices, g.random(4).astype(np.float32), basis])
    faces = g.permuted(np.tile(np.arange(50), (30, 1)), axis=1)[:, :3]
    ring = template._adjacency(faces, 50)
    agree_closely(template._smooth, [vertices, *ring, g.random(50).astype(np.float32), 3])


def agree_closely(compiled: Callable, arguments: list) -> None:
    fast, slow = compiled(*arguments), twin(compiled)(*arguments)
    assert fast.dtype == slow.dtype == np.float32
    assert np.abs(fast).max() > 0
    np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-5 * np.abs(fast).max())
