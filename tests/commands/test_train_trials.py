"""RegDB: one model a trial, ten models averaged, and no test on people that were seen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import command_kit
import fakes
import pytest
from command_kit import TINY, refused, run, said, tiny_config

from vireid.data import regdb

SMALL = ("--dataset", "regdb", "--device", "cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many identities that no two trials train on the same half of them."""
    return fakes.make_regdb(tmp_path_factory.mktemp("regdb"), identities=16, images=1)


def test_a_model_is_tested_on_its_own_trial(tmp_path: Path, root: Path, capsys) -> None:
    one = tmp_path / "one"
    assert command_kit.train(one, root, "--dataset", "RegDB", "--trial", 3) == 0
    message = refused(capsys, "test", "--resume", one, "--trial", 4)
    assert "trained on trial 3 of RegDB" in message
    moved = tmp_path / "elsewhere.safetensors"  # the file alone knows it too
    moved.write_bytes((one / "weights.safetensors").read_bytes())
    assert "trial 3" in refused(
        capsys, "test", "--resume", moved, "--data-root", root, "--trial", 1
    )
    assert run("test", "--resume", one, "--figure-queries", 0, "--out", tmp_path / "both") == 0
    for direction in ("infrared-to-visible", "visible-to-infrared"):
        report = json.loads((tmp_path / "both" / direction / "report.json").read_text())
        assert report["protocol"]["split"] == 3
        assert report["protocol"]["direction"] == direction.replace("-", "_")


def test_a_split_that_can_not_be_tested_is_told_before_the_first_is_trained(
    tmp_path: Path, capsys
) -> None:
    root = fakes.make_regdb(tmp_path / "regdb", images=1)
    for kind, keep in (("visible", slice(1)), ("thermal", slice(1, None))):
        file = root / "idx" / f"test_{kind}_3.txt"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[keep]))
    words = ("--config", tiny_config(tmp_path), "--data-root", root, "--method", "base")
    all_trials = ("--run", tmp_path / "ten", "--trial", "all")
    message = refused(capsys, "train", *words, *SMALL, *all_trials)
    assert "Trial 3 can't be tested: None of the 3 queries has a match" in message
    assert not (tmp_path / "ten").exists()


def test_all_trials_go_on_where_they_stopped(
    tmp_path: Path, root: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = dataclasses.replace(regdb.REGDB, splits=3)  # ten take long; the loop is the same
    monkeypatch.setattr(regdb, "REGDB", three)
    ten = tmp_path / "ten"
    config = tiny_config(tmp_path, steps_per_epoch=1, recipe=TINY["recipe"] | {"epochs": 2})
    words = ("--config", config, "--data-root", root, *SMALL, "--run", ten, "--trial", "ALL")
    assert run("train", *words) == 0
    shown = capsys.readouterr()
    assert shown.err.count("Trial ") == 3 and f"vireid report {ten}" in shown.err
    for direction in ("infrared-to-visible", "visible-to-infrared"):
        mean = json.loads((ten / "test" / direction / "report.json").read_text())
        assert mean["averaged"]["reports"] == 3
        ranks = [
            json.loads((ten / f"trial{n}" / "test" / direction / "report.json").read_text())
            for n in (1, 2, 3)
        ]
        expected = sum(report["pooled"]["rank1"]["mean"] for report in ranks) / 3
        assert mean["pooled"]["rank1"]["mean"] == pytest.approx(expected)

    first = (ten / "trial1" / "weights.safetensors").stat().st_mtime_ns
    (ten / "trial3" / "summary.json").unlink()  # as if it had been stopped there
    (ten / "trial2" / "test" / "visible-to-infrared" / "report.json").unlink()
    assert run("train", "--resume", ten, "--device", "cpu") == 0
    assert said(capsys).count("Trial ") == 1
    assert (ten / "trial1" / "weights.safetensors").stat().st_mtime_ns == first
    assert "--lr was 0.01 and is 0.3" in refused(capsys, "train", *words, "--lr", 0.3)
    assert "--epochs was 2 and is 1, but all" in refused(capsys, "train", *words, "--epochs", 1)
    steps = ("--max-steps", 3)
    for again in (("--resume", ten, "--device", "cpu"), words):
        refusal = refused(capsys, "train", *again, *steps)
        assert "begun without --max-steps, not with --max-steps 3" in refusal
    assert run("info", ten) == 0 and run("report", ten) == 0
    capsys.readouterr()
    assert "Name one" in refused(capsys, "test", "--resume", ten)
