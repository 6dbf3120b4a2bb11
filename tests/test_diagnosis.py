"""The diagnosis by the generator's knobs: what each turns, what stays, what is run and follows."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import command_kit
import numpy as np
import pytest

from vireid.embed import Embedder
from vireid.methods import Sizes, build_method, method_class
from vireid.synthetic import render_person, write_dataset, writer
from vireid.synthetic.pictures.camera import SYSU_CAMERAS
from vireid.types import InputError

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
DRAWERS = ("preset_named", "sample_person", "draw_view", "render")


@pytest.fixture
def knobs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", "")  # put back afterwards: benchmarks add to it
    import knobs

    return knobs


def drawn(knobs: ModuleType, name: str) -> dict[tuple[int, int, int], tuple[Any, Any]]:
    """(pid, camid, number) → person and view, as the writer draws a variant."""
    found = {}
    with knobs.turned(knobs.VARIANTS[name]):
        _, preset = writer.preset_named("standard")
        for pid in (3, 4, 5, 6):
            person = writer.sample_person(knobs.SEED, pid)
            for camera in SYSU_CAMERAS:
                for number in range(5):
                    view = writer.draw_view(person, camera, preset, number)
                    found[pid, camera.camid, number] = person, view
    return found


def fields_that_differ(one: Any, other: Any) -> set[str]:
    return {f.name for f in dataclasses.fields(one)
            if getattr(one, f.name) != getattr(other, f.name)}  # fmt: skip


ONLY = {  # what differs of people and of views
    "standard": (set(), set()),
    "crops": (set(), {"zoom", "shift"}),
    "poses": (set(), {"pose"}),
    "alike": ({"top", "bottom", "outer", "shoe", "bag_cloth", "hat_cloth", "scarf"}, set()),
    "sensor": (set(), {"contrast"}),
    "places": (
        set(), {"scene", "wall", "side", "origin", "scale", "props", "sun", "height", "pan"}
    ),
}  # fmt: skip


def test_a_knob_turns_what_it_says_and_nothing_else(knobs: ModuleType) -> None:
    usual = drawn(knobs, "standard")
    for name, (of_people, of_views) in ONLY.items():
        pairs = [(usual[key], found) for key, found in drawn(knobs, name).items()]
        people = set().union(*(fields_that_differ(a[0], b[0]) for a, b in pairs))
        views = set().union(*(fields_that_differ(a[1], b[1]) for a, b in pairs))
        assert (people, views) == (of_people, of_views), name
    for (_, camid, _), (_, view) in drawn(knobs, "sensor").items():
        assert (view.contrast < 0.75) == (camid in (3, 6))
    for person, _ in drawn(knobs, "alike").values():
        assert person.top.nir == person.top.nir2 == person.shoe.nir == 0.62
    zooms = [view.zoom for _, view in drawn(knobs, "crops").values()]
    assert 0.75 <= min(zooms) < 0.85 and 1.25 < max(zooms) <= 1.35


def test_places_and_walks_are_few_and_occluders_many(knobs: ModuleType) -> None:
    def different(name: str, value: Any, by: Any) -> float:
        """How many values there are, of as many groups."""
        groups: dict[Any, set] = {}
        for key, (_, view) in drawn(knobs, name).items():
            groups.setdefault(by(key), set()).add(value(view))
        return float(np.mean([len(values) for values in groups.values()]))

    def of_camera(key: tuple[int, int, int]) -> int:
        return key[1]

    def of_walk(key: tuple[int, int, int]) -> tuple[int, int]:
        return key[:2]

    def scene(view: Any) -> Any:
        return view.scene, view.origin

    assert different("standard", scene, of_walk) == 5
    assert different("walks", scene, of_walk) == 1 < different("walks", scene, of_camera) == 4
    assert different("places", scene, of_camera) == different("together", scene, of_camera) == 1
    assert different("walks", lambda view: view.pose.phase, of_walk) == 5
    for (pid, camid, _), (_, view) in (walks := drawn(knobs, "walks")).items():
        assert abs(view.yaw - walks[pid, camid, 0][1].yaw) < 0.71
    hidden = {
        name: sum(v.occluder is not None for _, v in drawn(knobs, name).values())
        for name in ("standard", "occlusion", "together")
    }
    assert hidden["standard"] < 20 < hidden["occlusion"] and hidden["together"] > 20


def test_infrared_sensors_alone_get_worse(
    knobs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr(writer, "render", lambda actor, camera, *more: kept.append(camera))
    with knobs.turned(knobs.VARIANTS["sensor"]):
        for camera in SYSU_CAMERAS:
            writer.render(None, camera, None, None)
    for camera, other in zip(SYSU_CAMERAS, kept, strict=True):
        assert other.noise == camera.noise * (3 if camera.sensor == "nir" else 1)


def test_the_package_draws_as_before(knobs: ModuleType, tmp_path: Path) -> None:
    """Beside a variant, after one that failed, and `standard` to the byte."""
    before = [getattr(writer, name) for name in DRAWERS]
    image = render_person(1, 1, 3, 0)["nir"]
    with pytest.raises(ZeroDivisionError), knobs.turned(knobs.VARIANTS["together"]):
        assert writer.draw_view is not before[2]
        assert np.array_equal(render_person(1, 1, 3, 0)["nir"], image)
        raise ZeroDivisionError
    assert [getattr(writer, name) for name in DRAWERS] == before
    few = {"identities": 3, "images": 1, "seed": 5, "workers": 1}
    write_dataset(tmp_path / "usual", **few, test_identities=2, progress=False)
    knobs.write_variant("standard", tmp_path / "standard", **few)
    files = sorted(p.relative_to(tmp_path / "usual") for p in (tmp_path / "usual").rglob("*.*g"))
    assert len(files) == 18
    for file in files:
        assert (tmp_path / "usual" / file).read_bytes() == (
            tmp_path / "standard" / file
        ).read_bytes()
    knobs.write_variant("standard", tmp_path / "standard", **few)  # is there
    with pytest.raises(InputError, match="holds other people"):
        knobs.write_variant("crops", tmp_path / "standard", **few)


# What is run ------------------------------------------------------------------------------------


def fake_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise in place of people: drawing takes longer than all the rest."""

    def render(actor: Any, camera: Any, view: Any, *_: Any, **__: Any) -> dict[str, np.ndarray]:
        g = np.random.default_rng([actor.person.pid, camera.camid, view.number])
        return {camera.sensor: g.integers(0, 256, (48, 24, 3), dtype=np.uint8)}

    monkeypatch.setattr(writer, "make_actor", lambda person: SimpleNamespace(person=person))
    monkeypatch.setattr(writer, "render", render)


def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would start Python again is called here; names of what was called."""
    import knobs
    import whole_seeds

    called: list[str] = []

    def begin(self: Any, name: str, words: list[Any], **_: Any) -> str:
        called.append(name)
        self.codes[name], self.took[name] = knobs.main([str(word) for word in words[1:]]), [0, 0]
        self._running[name] = threading.Thread()
        self._running[name].start()
        return name

    def call(command: list[str], *_: Any) -> None:
        called.append(command[4])
        assert command_kit.run(*command[4:]) == 0

    monkeypatch.setattr(whole_seeds.Jobs, "begin", begin)
    monkeypatch.setattr("vireid.sweep_run.call", call)
    return called


def test_two_variants_from_people_to_the_table(
    knobs: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    import diagnosis

    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.setattr("vireid.evaluation.probe._FOLDS", 2)  # there are two to validate on
    fake_people(monkeypatch)
    called = in_this_process(monkeypatch)
    options = dataclasses.replace(
        method_class("agw").model_defaults("test_resnet", "none"), nonlocal_channels=1
    )
    network = build_method("agw", options, Sizes(num_pids=4, num_cameras=6))
    Embedder(network, size=(64, 32), device="cpu").save(tmp_path / "start.safetensors")
    base = {"config": str(command_kit.tiny_config(tmp_path)), "engine": "eager", "size": [64, 32],
            "pids_per_batch": 2, "images_per_pid": 1, "epochs": 1}  # fmt: skip
    rows = {"agw": {"method": "agw"}, "agw + erasing": {"method": "agw", "augment": "published"}}
    (tmp_path / "board.json").write_text(json.dumps({"base": base, "rows": rows}))
    words = ["--work", str(tmp_path / "work"), "--start", str(tmp_path / "start.safetensors"),
             "--seeds", "0", "--rows", "agw,agw + erasing", "--identities", "14", "--images", "1",
             "--arch", "test_resnet", "--board", str(tmp_path / "board.json"),
             "--steps-per-epoch", "2", "--jobs-per-gpu", "1"]  # fmt: skip
    two = ["--variants", "standard,crops"]

    assert diagnosis.main([*words, *two, "--deadline", "0"]) == 1  # people, and no time for more
    assert "missing: crops: agw + erasing, seed 0: no time was left" in capsys.readouterr().out
    called.clear()
    assert diagnosis.main([*words, *two]) == 0
    assert called == ["people-standard", "people-crops", *["train", "test"] * 4]
    files = {p.name.split("-20")[0]: p for p in (tmp_path / "out").glob("*.json")}
    assert sorted(files) == ["diagnosis", "diagnosis-crops", "diagnosis-standard"]
    found = {name: json.loads(path.read_text())["results"] for name, path in files.items()}
    one, other = found["diagnosis-standard"], found["diagnosis-crops"]
    assert one["setting"]["data"]["variant"] == "standard" and one["setting"]["part"] == "val"
    assert [run["start_hash"] for run in one["runs"]] == [
        run["start_hash"] for run in other["runs"]
    ]
    assert one["configurations"].keys() == other["configurations"].keys()
    for options in one["configurations"].values():
        assert (options["select"], options["steps_per_epoch"]) == ("held-out", 2)
    # of noise that is alike: nothing but the marker tells the variants apart
    assert one["runs"][0]["data_hash"] == other["runs"][0]["data_hash"]
    whole = found["diagnosis"]["variants"]
    assert [*whole["crops"]["erasing"]] == [*whole["crops"]["rows"]["agw"]] == ["rank1", "mean_ap"]
    assert 0 <= whole["standard"]["gap"]["probe"] <= 100 and whole["standard"]["tau"] is None
    assert "nothing is concluded" in found["diagnosis"]["conclusion"]["sentence"]

    called.clear()  # elsewhere, one variant again from its result, the other one shown
    merge = ["--merge", str(files["diagnosis-standard"]), str(files["diagnosis-crops"])]
    words[1] = str(tmp_path / "elsewhere")
    assert diagnosis.main([*words, *merge, "--variants", "standard", "--name", "again"]) == 0
    assert called == ["people-standard"]
    (path,) = (tmp_path / "out").glob("again-2*.json")
    again = json.loads(path.read_text())["results"]["variants"]
    assert all(again[name]["rows"] == whole[name]["rows"] for name in ("standard", "crops"))
    assert diagnosis.main([*words, "--variants", "none"]) == 2
    assert diagnosis.main([*words, "--merge", str(files["diagnosis"])]) == 2


def test_rows_are_the_boards_by_the_searchs_schedule(knobs: ModuleType, tmp_path: Path) -> None:
    import diagnosis
    import methods

    args = diagnosis.arguments(["--work", str(tmp_path)])
    file = diagnosis.write_sweep(args, diagnosis.ROWS)
    (tmp_path / "people" / "crops").mkdir(parents=True)
    jobs = {job.row: job for job in methods.composed(diagnosis.given("crops", file, args)).jobs}
    board = FOLDER / "sweeps" / "board.toml"
    words = [str(board), "--data", str(tmp_path), "--seeds", "2", "--work", str(tmp_path / "b"),
             "--start", str(tmp_path / "starts" / "start-{seed}.safetensors")]  # fmt: skip
    for job in methods.composed(methods.arguments(words)).jobs:
        if job.row in jobs:
            own = jobs.pop(job.row).options
            changed: dict[str, Any] = {"steps_per_epoch": 50, "select": "held-out"}
            changed["data_root"] = own.data_root
            assert own == dataclasses.replace(job.options, **changed)
    assert not jobs and file.read_text().count('"part": "val"') == 1


# What is concluded ------------------------------------------------------------------------------


def numbers(tau: float, erasing: float, knobs: int = 1, seeds: int = 1, low: float = 20.0) -> dict:
    import _verdict

    rows = {row: {"rank1": low, "mean_ap": low} for row in _verdict.PUBLISHED}
    return {"tau": tau, "erasing": {"rank1": erasing, "mean_ap": erasing}, "knobs": knobs,
            "seeds": [*range(seeds)], "rows": rows, "words": "", "gap": None}  # fmt: skip


def test_the_rule(knobs: ModuleType) -> None:
    from _verdict import concluded, lines, notes

    usual = numbers(7 / 15, -10, knobs=0)
    found = {"standard": usual, "crops": numbers(0.47, 1), "walks": numbers(0.87, 2),
             "places": numbers(0.87, 3), "together": numbers(1.0, 5, knobs=4),
             "poses": numbers(1.0, 9, low=2.0)}  # fmt: skip
    end = concluded(found)
    assert (end["proposal"], end["confirmed"]) == ("places", False)
    assert end["sentence"].endswith("τ 0.87, from 1 of the 3 starts that confirm it.")
    assert end["erasing_and_tau"]["kendall"] > 0.8 and end["erasing_and_tau"]["holds"]
    assert "the guess that erasing is to blame holds" in notes(found, end)[1]
    assert notes(found, end)[2].endswith("isn't within 5 and 95 %: poses.")
    assert [line["variant"] for line in lines(found, ["agw"])] == [*found]
    found["places"] = numbers(0.87, 3, seeds=3)
    assert concluded(found)["confirmed"]
    only = {"standard": usual, "together": numbers(1.0, 5, knobs=4), "alike": numbers(11 / 15, -9)}
    assert concluded(only)["proposal"] == "together"
    del only["together"]
    end = concluded(only)
    assert (end["proposal"], end["direction"]) == (None, "alike")
    only["alike"] = numbers(9 / 15, -9)
    assert concluded(only)["sentence"].startswith("The order doesn't depend on these knobs")
    only["crops"] = {**numbers(1.0, 9), "tau": None}  # rows are missing
    end = concluded(only)
    assert end["sentence"] == "2 of 3 variants have all rows: nothing is concluded yet."
    assert "erasing_and_tau" not in end and len(notes(only, end)) == 3 + len(only)
    for unlike in (numbers(0.87, -10), numbers(0.47, 1)):
        assert "doesn't show what v1 shows" in concluded({**found, "standard": unlike})["sentence"]
    assert "was not made" in concluded({"walks": found["walks"]})["sentence"]
