"""Weights of a run that was stopped before its end are used with a note, at every door, once."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_kit import run, said

import vireid
from vireid.index import create_index
from vireid.training import load_epoch

CPU = ("--device", "cpu")


@dataclass(frozen=True)
class Place:
    """Weights, images, and an index of the images."""

    run: Path
    images: Path
    index: Path

    @property
    def checkpoint(self) -> Path:
        return next((self.run / "checkpoints").glob("epoch-0001-*.pt"))


@pytest.fixture(scope="module")
def place(trained: Path, sysu_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("unfinished")
    here = Place(folder / "one", sysu_root / "cam1" / "0001", folder / "index")
    shutil.copytree(trained, here.run, ignore=shutil.ignore_patterns("test"))
    vectors = folder / "day.safetensors"
    words = ("--images", here.images, "--modality", "visible", "--out", vectors, "--workers", 1)
    assert run("embed", *words, "--weights", here.run, *CPU) == 0
    assert run("index", "create", "--index", here.index, "--embeddings", vectors) == 0
    return here


def embed(at: Place, out: Path, weights: Path) -> None:
    words = ("--images", at.images, "--modality", "visible", "--out", out / "v", "--workers", 1)
    assert run("embed", *words, "--weights", weights, *CPU) == 0


def search(at: Place, out: Path, weights: Path) -> None:
    image = next(at.images.iterdir())
    words = ("--index", at.index, "--image", image, "--modality", "visible", "--json")
    assert run("search", *words, "--weights", weights, *CPU) == 0


def serve(at: Place, out: Path, weights: Path) -> None:
    with create_index(out / "index", weights_hash="0" * 64, dim=4):
        pass  # of other weights: refused once these are loaded, so that nobody has to stop it
    words = ("--index", out / "index", "--port", 0)
    assert run("serve", *words, "--weights", weights, *CPU) == 2


def a_test(at: Place, out: Path, weights: Path) -> None:
    assert run("test", "--resume", weights, "--trial", 2, *CPU) == 2  # once it has the weights


def info(at: Place, out: Path, weights: Path) -> None:
    assert run("info", weights) == 0


def card(at: Place, out: Path, weights: Path) -> None:
    assert run("card", weights, "--out", out / "README.md") == 0


def export(at: Place, out: Path, weights: Path) -> None:
    (out / "visible.onnx").touch()  # in the way: the network isn't exported, which takes a while
    assert run("export-weights", weights, "--format", "onnx", "--out", out) == 2


def python(at: Place, out: Path, weights: Path) -> None:
    vireid.load(weights, device="cpu")


def import_weights(at: Place, out: Path, weights: Path) -> None:
    assert run("import-weights", weights, "--out", out / "w.safetensors") == 0


def an_epoch(at: Place, out: Path, weights: Path) -> None:
    load_epoch(weights, device="cpu")


OF_WEIGHTS = [embed, a_test, info, python]
OF_A_RUN = [embed, search, serve, a_test, info, card, export, python]
OF_A_CHECKPOINT = [a_test, info, import_weights, an_epoch]


@pytest.mark.parametrize("finished", [False, True])
def test_every_door_says_once_that_a_run_is_unfinished(
    finished: bool, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = json.loads((place.run / "config.json").read_text())
    options["recipe"]["epochs"] = 1 if finished else 5
    (place.run / "config.json").write_text(json.dumps(options))
    again = f"`vireid train --resume {place.run}` goes on."
    note = f"note: '{place.run}' has trained 1 of 5 epochs; {again}"
    doors = [(door, place.run) for door in OF_A_RUN]
    doors += [(door, place.run / "weights.safetensors") for door in OF_WEIGHTS]
    doors += [(door, place.checkpoint) for door in OF_A_CHECKPOINT]
    for number, (door, weights) in enumerate(doors):
        (out := tmp_path / str(number)).mkdir()
        said(capsys)
        door(place, out, weights)
        message = said(capsys)
        assert message.count(note) == (not finished), (door, message)
        assert ("has trained" in message) == (not finished)


def test_the_card_says_that_its_run_is_unfinished(place: Place, tmp_path: Path) -> None:
    options = json.loads((place.run / "config.json").read_text())
    for epochs, said_so in ((5, True), (1, False)):
        options["recipe"]["epochs"] = epochs
        (place.run / "config.json").write_text(json.dumps(options))
        out = tmp_path / f"{epochs}.md"
        assert run("card", place.run, "--out", out) == 0
        assert ("| Unfinished | the run has trained 1 of 5 epochs |" in out.read_text()) == said_so


def test_nothing_is_said_of_other_files_nor_where_the_configuration_is_damaged(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights can be used whatever has become of the files beside them."""
    for name in ("weights.safetensors", "checkpoints", "config.json"):
        copy = shutil.copytree if (place.run / name).is_dir() else shutil.copy
        copy(place.run / name, tmp_path / name)
    shutil.copy(tmp_path / "weights.safetensors", tmp_path / "elsewhere.safetensors")
    said(capsys)
    vireid.load(tmp_path / "elsewhere.safetensors", device="cpu")
    for text in ("[1]", "{", '{"recipe": 1}', '{"recipe": {"epochs": "5"}}'):
        (tmp_path / "config.json").write_text(text)
        vireid.load(tmp_path, device="cpu")
    assert said(capsys) == ""
