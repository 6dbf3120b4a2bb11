"""The examples run as a user would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import server_kit as kit

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> kit.World:
    return kit.make_world(tmp_path_factory.mktemp("world"))


def run(name: str, *arguments: object, **variables: str) -> list[str]:
    """The lines that an example prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, **variables}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_three_lines(world) -> None:
    lines = run(
        "search_three_lines.py", world.root / "cam3/0002/0001.jpg", world.index, world.weights
    )
    assert len(lines) == 10
    assert lines[0] == "1.000  camera 3  cam3/0002/0001.jpg"


def test_index_in_python(world, tmp_path) -> None:
    lines = run(
        "index_in_python.py", world.root / "cam1", world.root / "cam3", tmp_path / "index",
        world.weights,
    )  # fmt: skip
    assert lines[0].startswith("10 pictures indexed")
    assert len(lines) == 11


def test_over_http(world) -> None:
    from dataclasses import replace

    with kit.running(world, replace(kit.LOOSE, tokens={"jane": kit.TOKEN})) as server:
        lines = run(
            "search_over_http.py", server.url, world.root / "cam3/0002/0001.jpg", "infrared",
            VIREID_TOKEN=kit.TOKEN,
        )  # fmt: skip
    assert len(lines) == 10
    assert "1.000 camera 3" in lines[0]
