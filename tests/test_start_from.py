"""benchmarks/start_from.py: what is trained from which start, and what is said of it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import command_kit
import pytest

from vireid.models.shipped import shipped_weights

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def start_from(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", "")  # put back afterwards: benchmarks add to it
    return importlib.import_module("start_from")


def test_from_people_to_the_table(
    start_from: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.setattr(start_from, "ROWS", {n: start_from.ROWS[n] for n in ("ImageNet", "synth")})
    called: list[list[str]] = []

    def call(command: list[str], *_: Any) -> None:
        called.append(command[4:])
        assert command_kit.run(*command[4:]) == 0

    monkeypatch.setattr("vireid.sweep_run.call", call)
    monkeypatch.setattr(
        start_from, "vireid", lambda *words: call(["", "", "", "", *map(str, words)])
    )
    shipped = shipped_weights()
    assert shipped is not None
    few = {"epochs": 1, "steps_per_epoch": 1, "pids_per_batch": 2, "images_per_pid": 1,
           "size": [32, 16]}  # fmt: skip
    words = ["--imagenet", str(shipped), "--work", str(tmp_path / "work"), "--seeds", "0",
             "--identities", "9", "--test-identities", "6", "--images", "1",
             "--jobs-per-gpu", "1", "--options", json.dumps(few)]  # fmt: skip
    assert start_from.main(words) == 0
    assert [words[0] for words in called] == ["synthesize", "test", *["train", "test"] * 2]
    (path,) = (tmp_path / "out").glob("start-from-2*.json")
    found = json.loads(path.read_text())["results"]
    assert not found["missing"] and found["means"].keys() == {"ImageNet", "synth"}
    assert {run["row"] for run in found["runs"]} == {"ImageNet", "synth"}
    assert found["untrained"]["embedding"]["rank1"] > found["means"]["synth"]["embedding"]["rank1"]
    assert "synth minus ImageNet, pooled" in found["differences"]
