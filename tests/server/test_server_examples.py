"""The examples run as a user would run them."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import server_kit as kit

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Runs an example as a script and gives the lines that it prints."""

    def lines(name: str, *arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return lines


def test_three_lines(world, run) -> None:
    lines = run(
        "search_three_lines.py", world.root / "cam3/0002/0001.jpg", world.index, world.weights
    )
    assert len(lines) == 10
    assert lines[0] == "1.000  camera 3  cam3/0002/0001.jpg"


def test_index_in_python(world, run, tmp_path) -> None:
    lines = run(
        "index_in_python.py", world.root / "cam1", world.root / "cam3", tmp_path / "index",
        world.weights,
    )  # fmt: skip
    assert lines[0].startswith("10 images indexed")
    assert len(lines) == 11


def test_over_http(world, run, monkeypatch) -> None:
    monkeypatch.setenv("VIREID_TOKEN", kit.TOKEN)
    with kit.running(world, replace(kit.LOOSE, tokens={"jane": kit.TOKEN})) as server:
        lines = run(
            "search_over_http.py", server.url, world.root / "cam3/0002/0001.jpg", "infrared"
        )
    assert len(lines) == 10
    assert "1.000 camera 3" in lines[0]
