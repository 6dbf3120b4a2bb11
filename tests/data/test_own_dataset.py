"""A data set from outside the package: its own layout, scope, rule and direction."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import command_kit
import fakes
import numpy as np
import pytest
from command_kit import refused, run
from evaluation.examples import embeddings_of

from vireid.data import (
    DatasetFacts,
    ProtocolOptions,
    Rule,
    Variant,
    dataset_names,
    load_dataset,
    register,
    registry,
    resolve_dataset,
    trials,
)
from vireid.data.inspect import inspect
from vireid.evaluation import score, search_trials
from vireid.types import InputError

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_dataset.py"


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hallway")
    for camid in range(1, 5):
        for pid in range(1, 8):
            for number in range(2):
                place = folder / f"cam{camid}" / f"{pid:04d}" / f"{number}.png"
                fakes.save(place, pid, camid > 2, 10 * camid + number)
    (folder / "test.txt").write_text("5 6 7\n")
    return folder


def example(**changes: object) -> DatasetFacts:
    from vireid.own_code import import_file

    facts: DatasetFacts = import_file(EXAMPLE, "data set").HALLWAY
    return dataclasses.replace(facts, **changes)


def test_info_train_test_and_report(root: Path, tmp_path: Path, capsys) -> None:
    name = f"{EXAMPLE}:HALLWAY"
    assert run("info", root, "--dataset", name) == 0
    shown = capsys.readouterr()
    assert "hallway in" in shown.out and f"--dataset {name}" in shown.err
    one = tmp_path / "one"
    assert command_kit.train(one, root, "--dataset", name) == 0
    quick = ("test", "--resume", one, "--trials", 2, "--device", "cpu")
    asked, command = refused(capsys, *quick).split(" Then: ")  # no file has code run
    assert "needs the data set 'HALLWAY'" in asked and command.endswith(f" --dataset {name}")
    quick += ("--dataset", name)
    assert run(*quick) == 0 and run(*quick, "--mode", "Front", "--figure-queries", 0) == 0
    folders = sorted((one / "test").iterdir())
    assert [folder.name for folder in folders] == ["hallway-all-2trials", "hallway-front-2trials"]
    assert (folders[0] / "ranks.jpg").is_file()
    report = json.loads((folders[0] / "report.json").read_text())
    protocol = report["protocol"]
    assert (protocol["dataset"], protocol["trained_on"]) == ("hallway", "HALLWAY")
    assert protocol["direction"] == "visible_to_infrared"
    assert protocol["rule"] == "hallway"
    pairs = [(p["query_camid"], p["gallery_camid"]) for p in report["camera_pairs"]["pooled"]]
    assert pairs == [(1, 3), (1, 4), (2, 4)]
    front = json.loads((folders[1] / "report.json").read_text())
    assert {p["query_camid"] for p in front["camera_pairs"]["pooled"]} == {1}
    assert "mcl on Hallway" in (folders[0] / "report.md").read_text()
    capsys.readouterr()
    assert run("report", *folders, "--out", tmp_path / "compared") == 0
    text = (tmp_path / "compared" / "comparison.md").read_text()
    assert "differ in search" in text and "Hallway" in text and "front-search" in text
    assert "Valid: all, front. (The data set is Hallway.)" in refused(
        capsys, *quick, "--mode", "indoor"
    )
    for direction in ("both", "i2v"):
        assert "Hallway is searched from visible to infrared only" in refused(
            capsys, *quick, "--direction", direction
        )
    gate = tmp_path / "gate.py"  # one scope, of its own name
    text = EXAMPLE.read_text().replace('"all": None, ', "").replace('"hallway"', '"gate"')
    gate.write_text(text)
    at_gate = (*quick, "--dataset", f"{gate}:HALLWAY", "--data-root", root, "--figure-queries", 0)
    assert run(*at_gate) == 0
    protocol = json.loads(
        (one / "test" / "gate-visible-to-infrared-2trials" / "report.json").read_text()
    )["protocol"]
    assert (protocol["scope"], protocol["direction"]) == ("front", "visible_to_infrared")


def test_from_python(root: Path) -> None:
    facts = register(example(name="mine", aliases=("my-own",)))
    assert register(facts) is facts and "mine" in dataset_names()
    assert resolve_dataset("My_Own") == "mine"
    assert inspect(None, root, pixels=False)["title"] == "Hallway", "recognised by its layout"
    dataset = load_dataset("mine", root)
    with pytest.raises(InputError, match="expected one of all, front"):
        trials(dataset, ProtocolOptions(scope="indoor"))
    with pytest.raises(InputError, match="expected visible_to_infrared"):
        trials(dataset, ProtocolOptions(direction="infrared_to_visible"))
    (trial,) = trials(dataset, ProtocolOptions(scope="front", num_trials=1))
    assert set(dataset.camids[trial.query]) == {1} and set(dataset.camids[trial.gallery]) == {3, 4}


def test_its_rule_scores(root: Path) -> None:
    dataset = example().load(root)
    options = ProtocolOptions(num_trials=1)
    drawn = trials(dataset, options)
    rows = np.arange(len(dataset))
    embeddings = embeddings_of(dataset, rows, names=("pooled",))
    (search,) = search_trials(dataset, drawn, embeddings, rows)
    query_pids, gallery_pids, query_camids, gallery_camids = search.labels
    for q, row in enumerate(search.similarity):
        kept = ~((query_camids[q] == 2) & (gallery_camids == 3))
        order = np.argsort(-row[kept], kind="stable")
        matches = gallery_pids[kept][order] == query_pids[q]
        assert search.scores.first[q] == np.flatnonzero(matches)[0] + 1
        assert search.scores.kept[q] == kept.sum()
    by_name = score(search.similarity, *search.labels, rule=register(example(name="mine")).name)
    assert np.array_equal(by_name.first, search.scores.first)


def test_the_first_scope_shots_and_direction_are_the_defaults(root: Path) -> None:
    facts = example(scopes={"front": (1, 3, 4), "all": None}, shots=(2, 1))
    options = ProtocolOptions(part="test").of(facts)
    assert (options.scope, options.shots) == ("front", 2)
    assert options.direction == "visible_to_infrared"
    assert (options.query_modality, options.gallery_modality) == (0, 1)
    assert facts.tested_directions == ("visible_to_infrared",)
    dataset = dataclasses.replace(facts.load(root), facts=facts)
    (trial,) = trials(dataset, ProtocolOptions(num_trials=1))
    assert set(dataset.camids[trial.query]) == {1}
    assert len(trial.gallery) == 3 * 2 * 2, "people, infrared cameras, shots"


def test_rules_may_have_several_parts() -> None:
    rule = Rule(skip_pairs=((1, 2), (1, 1)), skip_same_camera=True, collapse_identities=True)
    similarity = np.array([[0.9, 0.8, 0.7, 0.6]])
    found = score(similarity, [1], [1, 1, 2, 1], [1], [1, 2, 3, 3], rule=rule)
    assert found.kept[0] == 2 and found.first[0] == 2 and found.ap[0] == 0.5
    assert rule.skips(1, 1, 9, 2) and rule.skips(1, 5, 1, 5) and not rule.skips(1, 5, 2, 5)


def test_what_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already"):
        register(example(name="sysu"))
    swapped = Variant(direction="infrared_to_visible", note="")
    for facts, message in (
        ({"scopes": {}}, "has no scope"),
        ({"shots": (0,)}, r"the shots \(0,\)"),
        ({"directions": ()}, "has no direction"),
        ({"directions": ("sideways",)}, "the directions sideways;"),
        ({"variants": {"swapped": swapped}}, "a variant of a direction that is not among"),
        ({"splits": 0}, "has 0 splits"),
    ):
        with pytest.raises(InputError, match=message):
            example(**facts)
    with pytest.raises(InputError, match=r"It has: HALLWAY\."):
        load_dataset(f"{EXAMPLE}:OTHER", root)
    with pytest.raises(InputError, match="does not exist"):
        load_dataset(f"{tmp_path / 'gone.py'}:X", root)
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_this_name\n")
    with pytest.raises(InputError, match=r"cannot be run \(line 1\)"):
        load_dataset(f"{broken}:X", root)
    with pytest.raises(InputError, match=r"path/to/my\.py:MY_SET"):
        load_dataset("hallwy", root)


def test_a_loader_that_forgets_something(root: Path) -> None:
    dataset = example().load(root)
    parts = {name: rows for name, rows in dataset.parts.items() if name != "val"}
    for number, (made, message) in enumerate(
        (
            (None, "returned NoneType"),
            (dataclasses.replace(dataset, parts=parts), "gives no part val"),
            (dataclasses.replace(dataset, samples=dataset.samples[::-1]), "not sorted by path"),
        )
    ):
        register(example(name=f"mine{number}", load=lambda root, made=made, **_: made))
        with pytest.raises(InputError, match=message):
            load_dataset(f"mine{number}", root)
