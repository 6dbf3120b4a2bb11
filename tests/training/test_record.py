"""A run is a record that can't lie: what it holds, and what a resumed one must not change."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from training_kit import run, tiny_data, tiny_options

from vireid import weights
from vireid.config import to_plain
from vireid.data import load_dataset, prepare
from vireid.data.content import data_hash
from vireid.methods.recipe import Schedule
from vireid.runtime import record as records
from vireid.runtime.record import Record, code_hash, other_code, own_code, recipe_of, unlike
from vireid.training import record, training_set
from vireid.training.defaults import train_options
from vireid.training.naming import run_name
from vireid.training.options import TrainOptions
from vireid.types import InputError

MINE = """
from vireid.methods.baseline import Baseline
import helper_of_mine


class Mine(Baseline):
    def terms(self, output, batch):
        return {k: helper_of_mine.SCALE * v for k, v in super().terms(output, batch).items()}
"""


def known(**changes: Any) -> Record:
    return record.begin(replace(tiny_options("mcl"), **changes), tiny_data()[0])


def test_a_run_holds_its_record_and_so_do_its_weights(tmp_path: Path) -> None:
    options = tiny_options("mcl", steps_per_epoch=1, recipe={"epochs": 1})
    run(tmp_path / "one", options)
    kept = json.loads((tmp_path / "one" / "record.json").read_text())
    assert kept == weights.read_weights(tmp_path / "one")[1]["record"]
    assert kept["options"]["method_options"] == to_plain(options.method_options)  # not deltas
    assert kept["options"]["recipe"]["schedule"]["kind"] == "cosine"
    every = kept["options"].keys() | kept["incidental"].keys() | {"data_root"}
    assert every == to_plain(options).keys()
    assert kept["architecture"] == "test_resnet" and kept["precision"] == "float32"
    assert kept["start"] == "none" and kept["start_hash"] is None and kept["ranks"] == 1
    assert len(kept["data_hash"]) == len(kept["package_hash"]) == len(kept["options_hash"]) == 64
    assert {"torch", "timm", "numpy"} <= kept["versions"].keys()


def test_the_hash_of_options_is_of_what_decides_numbers() -> None:
    base = known()["options"]
    assert known(seed=3, keep=7, device="cpu")["options"] == {**base, "seed": 3}
    for change in ({"size": (96, 48)}, {"select": "held-out"}, {"steps_per_epoch": 5}):
        assert known(**change)["options"] != base
    often, seldom = (known(select="val", eval_every=n)["options"] for n in (1, 2))
    assert often != seldom  # only evaluated epochs can be chosen
    assert known(eval_every=2)["options"] == base
    refits = [known(stop_epoch=n, epochs_from="best mAP")["options"] for n in (1, 2)]
    assert refits[0] == refits[1] != base  # the epoch is each seed's own, as its choice is


def test_the_start_is_named_by_its_hash(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        file = tmp_path / f"{name}.pth"
        file.write_text(name)
        model = replace(tiny_options("base").model, pretrained=str(file))
        begun = known(model=model)
        assert begun["options"]["model"]["pretrained"] == begun["start"] == "a file"
        method: Any = SimpleNamespace(model_options=model, architecture="test_resnet")
        found.append(record.finish(begun, method, precision="float32", ranks=1))
    assert [one["start_hash"] for one in found] == [
        hashlib.sha256(name).hexdigest() for name in (b"a", b"b")
    ]
    assert found[0]["options_hash"] == found[1]["options_hash"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A method of one's own that imports a file beside it."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "helper_of_mine.py").write_text("SCALE = 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "helper_of_mine", raising=False)
    return tmp_path / "mine.py"


def test_an_edited_method_stops_a_resume(mine: Path, tmp_path: Path, capsys) -> None:
    options = tiny_options(f"{mine}:Mine", steps_per_epoch=1, recipe={"epochs": 1})
    folder = tmp_path / "run"
    run(folder, options)
    (code,) = json.loads((folder / "record.json").read_text())["code"].values()
    assert code["name"] == "mine.py:Mine"
    assert code["copies"] == ["method/mine.py", "method/helper_of_mine.py"]
    assert (folder / "code" / "method" / "mine.py").read_text() == MINE
    config = (folder / "config.json").read_text()

    # the file that it imports counts as well, and the run stops before anything is written
    (tmp_path / "helper_of_mine.py").write_text("SCALE = 2.0\n")
    longer = replace(options, recipe=replace(options.recipe, epochs=2))
    with pytest.raises(InputError, match=r"the code of `method` \(mine.py:Mine\) has changed"):
        run(folder, longer, resume=True)
    assert (folder / "config.json").read_text() == config

    run(folder, longer, resume=True, other_code=True)
    assert "note: the code of `method`" in capsys.readouterr().err
    kept = json.loads((folder / "record.json").read_text())
    assert [c.split(" (")[0] for c in kept["changes"]] == [
        "the code of `method`", "`epochs` was 1 and is 2, and with it the learning rate's schedule",
    ]  # fmt: skip
    assert all(change.endswith("from epoch 2 on") for change in kept["changes"])
    assert (folder / "code" / "method" / "helper_of_mine.py").read_text() == "SCALE = 1.0\n"
    (place,) = {Path(copy).parts[0] for copy in kept["code"]["method"]["copies"]}
    assert (folder / "code" / place / "helper_of_mine.py").read_text() == "SCALE = 2.0\n"

    method, metadata = weights.load_weights(folder, options.method)
    assert other_code(metadata["record"], method) == ""
    mine.write_text(MINE + "\n# edited\n")
    assert "has changed since these weights were trained" in other_code(metadata["record"], method)


def test_a_moved_file_is_named_again(tmp_path: Path) -> None:
    text = MINE.replace("import helper_of_mine\n", "").replace("helper_of_mine.SCALE", "1.5")
    for name in ("here", "there", "edited"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(text + ("# new\n" if name == "edited" else ""))

    def options(folder: str, epochs: int) -> Any:
        method = f"{tmp_path / folder / 'mine.py'}:Mine"
        schedule = {"schedule": Schedule(kind="constant"), "epochs": epochs}
        return tiny_options(method, steps_per_epoch=1, recipe=schedule)

    run(tmp_path / "run", options("here", 1))
    (tmp_path / "here" / "mine.py").unlink()
    run(tmp_path / "run", options("there", 2), resume=True)
    kept = json.loads((tmp_path / "run" / "record.json").read_text())
    assert kept["changes"] == [] and kept["options"]["method"] == "mine.py:Mine"
    with pytest.raises(InputError, match="would go on with something else"):
        run(tmp_path / "run", options("edited", 3), resume=True)


def test_other_packages_and_other_data_stop_a_resume_too() -> None:
    before = known()
    assert record.other_code(before, known()) == []
    other: Any = {**before, "versions": {**before["versions"], "torch": "1.0"}}
    (change,) = record.other_code(other, before)
    assert change == f"torch was 1.0 and is {before['versions']['torch']}"
    other = {**before, "package_hash": "0" * 64, "data_hash": "0" * 64}
    changes = record.other_code(other, before)
    assert "the code of vireid" in changes[0] and "images or labels" in changes[1]
    text = record.refuse_other_code(changes, before, Path("runs/a"))
    assert "'runs/a' would go on with something else" in text and "`other_code`" in text


def test_other_evaluations_are_recorded_where_they_choose_the_epoch() -> None:
    one, other = known(select="val", eval_every=1), known(select="val", eval_every=3)
    (change,) = record.other_course(one, other)
    assert change == "`eval_every` was 1 and is 3, so other epochs can be chosen"
    assert record.other_course(known(eval_every=1), known(eval_every=3)) == []


def test_records_say_in_what_runs_differ() -> None:
    one, other = known(), known(seed=5)
    assert unlike(one, other) == {}
    other["options"]["recipe"]["lr"] = 0.5
    other["ranks"], one["ranks"] = 2, 1
    assert unlike(one, other) == {"recipe.lr": (0.02, 0.5), "ranks": (1, 2)}
    assert unlike(one, None) == {"record": ("stated", None)} and unlike(None, None) == {}
    other["changes"] = ["torch was 1.0 and is 2.0, from epoch 2 on"]
    assert "change 1" in recipe_of(other)
    found = own_code({"augment": "/home/me/a.py:Mine", "hooks": ["/x/b.py:On"], "model": {"a": 1}})
    assert {name: label for name, (label, _) in found.items()} == {
        "augment": "a.py:Mine", "hooks.1": "b.py:On"
    }  # fmt: skip


def test_the_hash_of_data_is_of_images_and_labels(sysu_root: Path, tmp_path: Path) -> None:
    from vireid.data import load_dataset

    first = load_dataset("sysu", sysu_root)
    found = data_hash(first)
    copy = tmp_path / "copy"
    shutil.copytree(sysu_root, copy, ignore=shutil.ignore_patterns(".vireid"))
    moved = load_dataset("sysu", copy)
    assert data_hash(moved) == found
    prepare(moved, size=(16, 8))
    assert data_hash(moved) == found and list((copy / ".vireid").glob("sysu-*.sha256"))
    path = copy / moved.samples[0].path
    path.write_bytes(path.read_bytes() + b"\0")
    assert data_hash(moved) != found
    relabelled = replace(first, samples=(replace(first.samples[0], camid=9), *first.samples[1:]))
    assert data_hash(relabelled) != found


def test_code_beside_a_file_counts_only_where_it_is_imported(mine: Path) -> None:
    alone = code_hash(mine)  # nothing has imported the helper yet
    assert [*records._with_imports(mine)] == [mine]
    __import__("helper_of_mine")
    assert code_hash(mine) != alone
    (mine.parent / "unrelated.py").write_text("x = 1\n")
    assert len([*records._with_imports(mine)]) == 2


def test_ten_runs_of_an_ablation_name_themselves() -> None:
    ablation: list[dict[str, Any]] = [
        {}, {"confusion": False}, {"identity_centers": False}, {"camera_centers": False},
        {"lr": 0.05}, {"optim": "adamw"}, {"schedule": "cosine"}, {"ema": 0.999},
        {"size": (384, 192)}, {"pretrained": "none"},
    ]  # fmt: skip
    names = [run_name(train_options(method="mcl", **changes)) for changes in ablation]
    assert len(set(names)) == 10
    assert names[0] == "sysu-mcl-resnet50-clean-seed0"
    assert names[1] == "sysu-mcl-resnet50-clean-no-confusion-seed0"
    assert names[4] == "sysu-mcl-resnet50-clean-lr0.05-seed0"
    assert names[8] == "sysu-mcl-resnet50-clean-size384x192-seed0"
    assert names[9] == "sysu-mcl-resnet50-scratch-seed0"
    clean = run_name(train_options(method="mcl", pretrained="none", recipe="clean"))
    assert clean == "sysu-mcl-resnet50-clean-from-none-seed0"
    assert run_name(train_options(method="mcl", seed=2), 100).endswith("-clean-100steps-seed2")


def test_names_of_many_changes_stay_short_and_unlike() -> None:
    many: dict[str, Any] = {
        "confusion_weight": 0.5, "rho": 1.0, "sigma": 2.0, "momentum": 0.8, "erase": 0.1,
        "weight_decay": 0.1, "clip_norm": 5.0, "freeze_epochs": 3, "epochs": 4, "hidden": 64,
    }  # fmt: skip
    names = [run_name(train_options(method="mcl", **many, pids_per_batch=p)) for p in (4, 6)]
    assert len(set(names)) == 2 and max(map(len, names)) < 130


def test_a_runs_data_set_is_loaded_by_all_of_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that takes over earlier runs knows them by their data, so it loads as they did."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(training_set, "load_dataset", lambda *_, **words: given.update(words))
    training_set.dataset_of(train_options(method="agw"))
    takes = inspect.signature(load_dataset).parameters.keys()
    same = takes & {one.name for one in fields(TrainOptions)}
    assert given.keys() == {"name", "root"} | same
