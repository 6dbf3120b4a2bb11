"""Who was trained on and who has a match: found out by every door, before anything is wasted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import command_kit
import fakes
import pytest
import torch
import training_kit
from command_kit import refused, run, said
from published_kit import make_net

import vireid
from vireid.commands import train_trials
from vireid.commands.data import _after_run
from vireid.data import regdb
from vireid.types import InputError
from vireid.weights import identities_before, read_weights

QUICK = ("--figure-queries", 0, "--trials", 1, "--device", "cpu")
BASE = ("--method", "base")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, trained for an epoch before its list of identities was edited: person
    1 is to be found now, and 9 to be trained on."""
    folder = tmp_path_factory.mktemp("changed")
    root = fakes.make_sysu(folder / "sysu", images=1)
    assert command_kit.train(folder / "run", root, *BASE) == 0
    fakes.write_ids(root / "exp" / "train_id.txt", [2, 3, 4, 5, 6, 9])
    fakes.write_ids(root / "exp" / "test_id.txt", [1, 10, 11, 12])
    return folder / "run"


def test_a_run_does_not_go_on_with_other_identities(changed: Path, capsys) -> None:
    before = {path: path.stat().st_mtime_ns for path in changed.rglob("*.pt")}
    message = refused(capsys, "train", "--resume", changed, "--epochs", 2)
    assert "1 identity left: 1; 1 identity came: 9" in message
    assert "Restore the data set" in message and str(changed) in message
    assert before == {path: path.stat().st_mtime_ns for path in changed.rglob("*.pt")}


def test_people_who_were_trained_on_are_not_tested(changed: Path, tmp_path: Path, capsys) -> None:
    weights = tmp_path / "moved.safetensors"
    shutil.copy(changed / "weights.safetensors", weights)
    (checkpoint,) = changed.glob("checkpoints/*.pt")
    root = ("--data-root", changed.parent / "sysu")
    made = tmp_path / "made.safetensors"
    assert run("import-weights", checkpoint, "--out", made) == 0
    for source in ((changed,), (changed, "--epoch", 1), (checkpoint,), (weights,), (made,)):
        message = refused(capsys, "test", "--resume", *source, *root, *QUICK)
        assert "were trained on 1 identity of those that would be searched for" in message, source
        assert "sysu': 1. " in message
    with pytest.raises(InputError, match="were trained on 1 identity"):
        vireid.evaluate(changed, device="cpu")
    assert not (changed / "test").exists()
    # weights that start from these know it too
    (found,) = identities_before(str(weights))
    assert found["pids"] == [1, 2, 3, 4, 5, 6, 7, 8] and identities_before("imagenet") == []
    capsys.readouterr()
    assert run("info", changed) == 0
    assert f"8 identities (hash of their list {found['pids_hash'][:16]})" in capsys.readouterr().out


def test_other_images_of_the_same_people_are_said(tmp_path: Path, capsys) -> None:
    root = fakes.make_sysu(tmp_path / "sysu", train=3, val=1, test=2, images=2)
    assert command_kit.train(tmp_path / "run", root, *BASE) == 0
    (root / "cam1" / "0001" / "0002.jpg").unlink()
    assert "All 8 queries have a match" in said(capsys)
    resume = ("train", "--resume", tmp_path / "run", "--epochs", 2, "--device", "cpu")
    assert run(*resume, "--other-code") == 0
    assert "are not those that the run began with (48 then, 47 now)" in said(capsys)
    start = ("--pretrained", tmp_path / "run" / "weights.safetensors")
    assert command_kit.train(tmp_path / "next", root, *BASE, *start) == 0
    people = read_weights(tmp_path / "next")[1]["identities"]
    assert [one["images"] for one in people] == [47, 47]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published checkpoint of four identities, as many as half of RegDB's fake ones."""
    path = tmp_path_factory.mktemp("published") / "regdb.t"
    net = make_net("base")
    net["classifier.weight"] = net["classifier.weight"][:4].clone()
    torch.save({"net": net, "epoch": 7}, path)
    return path


def test_imported_weights_are_told_what_they_were_trained_on(
    published: Path, regdb_root: Path, sysu_root: Path, tmp_path: Path, capsys
) -> None:
    words = ("import-weights", published, "--dataset")
    out = ("--out", tmp_path / "known.safetensors")
    place = ("--data-root", regdb_root)
    assert "Set --trial to the one" in refused(capsys, *words, "regdb", *place, *out)
    message = refused(capsys, *words, "sysu", "--data-root", sysu_root, *out)
    assert "was trained on 4 identities, but SYSU-MM01 in" in message and "has 8 to" in message
    alone = ("import-weights", published, "--trial", 3, *out)
    assert "give --dataset too" in refused(capsys, *alone)
    assert list(tmp_path.iterdir()) == []
    assert run(*words, "RegDB", *place, "--trial", 3, *out) == 0
    assert "Next: vireid test --resume" in said(capsys)
    facts = read_weights(tmp_path / "known.safetensors")[1]
    assert (facts["dataset"], facts["trial"], facts["epoch"]) == ("regdb", 3, 7)
    assert len(facts["identities"][0]["pids"]) == 4
    test = ("test", "--resume", tmp_path / "known.safetensors", *QUICK)
    assert "trained on trial 3 of RegDB" in refused(capsys, *test, "--trial", 4)
    embedder = vireid.import_published(
        published, "cpu", dataset="regdb", data_root=regdb_root, trial=3
    )
    assert embedder.metadata["identities"] == facts["identities"]

    # out to the published form and back, it is still known
    there, back = tmp_path / "there.t", tmp_path / "back.safetensors"
    assert run("export-weights", tmp_path / "known.safetensors", "--out", there) == 0
    assert run("import-weights", there, "--out", back) == 0
    assert read_weights(back)[1]["identities"] == facts["identities"]
    assert read_weights(back)[1]["trial"] == 3

    copy = tmp_path / "copy"  # another copy, whose third trial has other people
    shutil.copytree(regdb_root, copy, ignore=shutil.ignore_patterns(".vireid"))
    for part in ("train", "test"):
        for kind in ("visible", "thermal"):
            target = copy / "idx" / f"{part}_{kind}_3.txt"
            shutil.copy(copy / "idx" / f"{part}_{kind}_1.txt", target)
    assert "were trained on" in refused(capsys, *test, "--data-root", copy)


def test_imported_regdb_weights_need_their_trial(published: Path, tmp_path: Path, capsys) -> None:
    regdb_root = fakes.make_regdb(tmp_path / "regdb", images=1)  # a ResNet-50 sees them
    weights = tmp_path / "unknown.safetensors"
    assert run("import-weights", published, "--out", weights) == 0
    unknown = f"vireid test --resume {weights} --dataset sysu --data-root DIR   # or another; with"
    assert f"Next: {' '.join(unknown.split())} regdb also its --trial" in said(capsys)
    assert unknown.removeprefix("vireid ") in _after_run({"hash": ""}, str(weights), weights, 0)
    test = ("test", "--resume", weights, "--dataset", "regdb", "--data-root", regdb_root, *QUICK)
    message = refused(capsys, *test)
    assert "RegDB has 10 splits" in message and "Set --trial to the split" in message
    with pytest.raises(InputError, match="Set `trial` to the split"):
        vireid.evaluate(
            weights, vireid.TestOptions(dataset="regdb", data_root=str(regdb_root)), device="cpu"
        )
    one = ("--direction", "i2v", "--out", tmp_path / "report")
    assert run(*test, "--trial", 2, *one) == 0
    asked = json.loads((tmp_path / "report" / "report.json").read_text())["protocol"]
    assert (asked["split"], asked["epoch"]) == (2, 7)


def dual_sensor(root: Path) -> Path:
    """Images of ten people by one camera with two sensors and one number."""
    for pid in range(1, 11):
        for kind in ("visible", "infrared"):
            for number in range(2):
                path = root / kind / f"{pid:04d}" / f"c1_{number}.png"
                fakes.save(path, pid, kind == "infrared", number, (32, 16))
    return root


def test_one_camera_number_for_both_sensors(tmp_path: Path, capsys) -> None:
    root = dual_sensor(tmp_path / "own")
    cameras = ("--camera-pattern", r"c(\d+)_")
    own = ("--dataset", "folder", *cameras, *BASE)
    assert run("info", root, *cameras) == 0
    shown = " ".join(capsys.readouterr().out.split())
    reason = "the rule ignores images of the query's own identity and camera"
    assert "None of the 4 queries has a match (test, infrared to visible)" in shown
    assert reason in shown and "set `sensor_cameras`" in shown

    assert command_kit.train(tmp_path / "one", root, *own, "--eval-every", 1) == 0
    message = said(capsys)
    assert "There will be no evaluation between epochs" in message
    assert "This run can't be tested on its own data set. None of the 4 queries" in message
    assert "precision float32" in message.split(reason)[-1]  # said before training
    message = refused(capsys, "test", "--resume", tmp_path / "one", *QUICK)
    assert reason in message and "set --sensor-cameras" in message
    assert "Embedding" not in message and not (tmp_path / "one" / "test").exists()
    config = ("--config", command_kit.tiny_config(tmp_path), "--data-root", root)
    place = ("--device", "cpu", "--run", tmp_path / "two")
    message = refused(capsys, "train", *own, *config, *place, "--select", "val")
    assert reason in message and not (tmp_path / "two").exists()

    words = ("--sensor-cameras", "--select", "val")
    assert command_kit.train(tmp_path / "two", root, *own, *words) == 0
    message = said(capsys)
    assert "All 2 queries have a match (val, infrared to visible)" in message
    assert "Camera N of the infrared images is counted as camera N + 1" in message
    assert run("test", "--resume", tmp_path / "two", *QUICK) == 0  # by the run's own numbers
    assert "--sensor-cameras was False and is True" in refused(
        capsys, "train", "--resume", tmp_path / "one", "--sensor-cameras"
    )


def test_junk_by_every_door(tmp_path: Path, capsys) -> None:
    root = fakes.make_folder(tmp_path / "own", identities=6, images=1)
    for kind in ("visible", "infrared"):
        (root / kind / "person06").rename(root / kind / "0000")
        shutil.copytree(root / kind / "person05", root / kind / "-1")
    junk = ("--junk", "0000")
    note = "4 images of nobody (identity {}) left out, such as 'infrared/{}/c3_0.png'."
    for word, option in (("-1", ()), ("0000", junk)):
        assert run("info", root, *option) == 0
        assert note.format(word, word) in " ".join(capsys.readouterr().out.split())
    assert run("prepare", "--dataset", "folder", "--data-root", root, *junk) == 0
    assert note.format("0000", "0000") in said(capsys)
    assert command_kit.train(tmp_path / "run", root, "--dataset", "folder", *BASE, *junk) == 0
    assert note.format("0000", "0000") in said(capsys)
    names = read_weights(tmp_path / "run")[1]["identities"][0]["names"].values()
    assert all(name.startswith("person") for name in names)
    assert run("test", "--resume", tmp_path / "run", *QUICK) == 0
    (report,) = (tmp_path / "run" / "test").glob("*/report.json")
    notes = json.loads(report.read_text())["notes"]
    assert note.format("0000", "0000") in notes and note.format("-1", "-1") in notes


def test_queries_without_a_match_are_on_the_console(tmp_path: Path, capsys) -> None:
    root = fakes.make_sysu(tmp_path / "sysu", train=2, val=1, test=2, images=1)
    for camid in (1, 2, 4, 5):
        shutil.rmtree(root / f"cam{camid}" / "0005")
    assert command_kit.train(tmp_path / "run", root, *BASE) == 0
    capsys.readouterr()
    reports = vireid.evaluate(
        tmp_path / "run", vireid.TestOptions(figure_queries=0, num_trials=1), device="cpu"
    )
    expected = "2 of 4 queries have a match (test, infrared to visible). The others have none"
    assert expected in said(capsys)
    assert "Queries without a match, which don't count: 2." in str(reports[0])
    (report,) = (tmp_path / "run" / "test").glob("*/report.md")
    assert expected in report.read_text()


def test_an_evaluation_that_fails_ends_no_training(tmp_path: Path, capsys) -> None:
    asked: list[int] = []

    def evaluate(method: object, epoch: int) -> dict[str, float]:
        asked.append(epoch)
        if epoch != 2:
            raise InputError("The network's vectors aren't finite.")
        return {"embedding_mean_ap": 0.25}

    options = training_kit.tiny_options(select="val")
    result = training_kit.run(tmp_path / "one", options, evaluate=evaluate)
    assert asked == [1, 2, 3] and result.epoch == 3
    message = said(capsys)
    assert "No evaluation after epoch 1: The network's vectors aren't finite." in message
    assert read_weights(tmp_path / "one")[1]["epoch"] == 2

    def never(method: object, epoch: int) -> dict[str, float]:
        raise InputError("No.")

    training_kit.run(tmp_path / "two", options, evaluate=never)
    facts = read_weights(tmp_path / "two")[1]
    assert (facts["epoch"], facts["chosen"]) == (3, "last epoch; no epoch could be evaluated")


def test_a_test_that_fails_ends_no_training_of_other_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, regdb_root: Path, capsys
) -> None:
    import dataclasses

    monkeypatch.setattr(regdb, "REGDB", dataclasses.replace(regdb.REGDB, splits=2))

    def evaluate(*_, **__):
        raise InputError("There is nothing to measure.")

    monkeypatch.setattr(train_trials, "evaluate", evaluate)
    config = ("--config", command_kit.tiny_config(tmp_path, steps_per_epoch=1))
    words = ("--data-root", regdb_root, "--dataset", "regdb", "--trial", "all", "--device", "cpu")
    message = refused(capsys, "train", *config, *words, *BASE, "--run", tmp_path / "all")
    assert "2 of 2 can't be tested" in message and "There is nothing to measure." in message
    for trial in (1, 2):
        assert (tmp_path / "all" / f"trial{trial}" / "summary.json").is_file()
