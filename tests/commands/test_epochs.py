"""A checkpoint in a run's folder: tested by --epoch, turned into weights, named at other doors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import command_kit
import pytest
import torch
from command_kit import refused, run, said

import vireid
from vireid.models import ModelOptions, build_model
from vireid.testing import TestOptions
from vireid.training import load_epoch
from vireid.types import InputError
from vireid.weights import read_weights

QUICK = ("--figure-queries", 0, "--trials", 1, "--device", "cpu")
OPTIONS = TestOptions(num_trials=1, figure_queries=0)


@pytest.fixture(scope="module")
def epochs(tmp_path_factory: pytest.TempPathFactory, sysu_root: Path) -> Path:
    """A run of three epochs with all of its checkpoints, and one within the second epoch."""
    folder = tmp_path_factory.mktemp("runs") / "three"
    words = ("--epochs", 3, "--keep", 9, "--checkpoint-steps", 1)
    assert command_kit.train(folder, sysu_root, *words) == 0
    return folder


@pytest.fixture
def three(epochs: Path, tmp_path: Path) -> Path:
    """A copy to write into."""
    return Path(shutil.copytree(epochs, tmp_path / "three"))


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_an_epoch_is_tested_beside_the_weights(three: Path, tmp_path: Path, capsys) -> None:
    assert run("test", "--resume", three, *QUICK) == 0
    assert run("test", "--resume", three, "--epoch", 2, *QUICK) == 0
    assert f"vireid report {three / 'test' / 'sysu-all-1shot-seeded-1trials-epoch2'}" in said(
        capsys
    )
    last = report(three / "test" / "sysu-all-1shot-seeded-1trials")
    second = report(three / "test" / "sysu-all-1shot-seeded-1trials-epoch2")
    assert last["protocol"]["epoch"] == 3 and second["protocol"]["epoch"] == 2
    assert second["protocol"]["epoch_choice"] == "hand: the checkpoint after epoch 2"
    assert second["protocol"]["weights_hash"] != last["protocol"]["weights_hash"]
    assert second["protocol"]["trained_on"] == last["protocol"]["trained_on"]

    inside = three / "checkpoints" / "epoch-0001-step-000001.pt"
    assert run("test", "--resume", inside, *QUICK) == 0  # the file itself, within an epoch
    within = report(three / "test" / "sysu-all-1shot-seeded-1trials-epoch1-step1")["protocol"]
    assert within["epoch"] == 1
    assert within["epoch_choice"].endswith("after epoch 1 and step 1 of the next")
    vireid.evaluate(three, OPTIONS, epoch=2, device="cpu", out=tmp_path / "again")
    again = report(tmp_path / "again")
    assert again["protocol"] == second["protocol"] and again["pooled"] == second["pooled"]


def test_a_checkpoint_becomes_weights(three: Path, tmp_path: Path, capsys) -> None:
    for epoch in (2, 3):
        file = three / "checkpoints" / f"epoch-{epoch:04d}-step-000000.pt"
        assert run("import-weights", file, "--out", tmp_path / f"{epoch}.safetensors") == 0
        assert "Method mcl" in said(capsys)
    tensors, last = read_weights(three)
    again, facts = read_weights(tmp_path / "3.safetensors")
    assert facts["weights_hash"] == last["weights_hash"]  # the last epoch's are the run's
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    assert {k for k in last if facts[k] != last[k]} == {"chosen", "facts_hash"}
    other = read_weights(tmp_path / "2.safetensors")[1]
    assert other["epoch"] == 2 and other["weights_hash"] != last["weights_hash"]
    assert load_epoch(three, 2, device="cpu").weights_hash == other["weights_hash"]
    assert run("test", "--resume", tmp_path / "2.safetensors", *QUICK) == 0
    file = three / "checkpoints" / "epoch-0003-step-000000.pt"
    assert "Leave --method out" in refused(capsys, "import-weights", file, "--method", "agw")
    build_model(ModelOptions(arch="test_resnet", pretrained=str(tmp_path / "2.safetensors")), 4)


def test_epochs_that_cannot_be_tested(three: Path, tmp_path: Path, capsys) -> None:
    words = ("test", "--resume", three, *QUICK, "--epoch")
    for epoch in (20, 0, -1):
        assert f"no checkpoint after epoch {epoch}; those there are after " in refused(
            capsys, *words, epoch
        )
    assert "1, 2, 3. A run keeps its last ones" in refused(capsys, *words, 20)
    weights = three / "weights.safetensors"
    for source in (weights, "synth", tmp_path / "absent"):
        sentence = refused(capsys, "test", "--resume", source, *QUICK, "--epoch", 2)
        assert "--epoch is 2, which chooses among a run's checkpoints" in sentence
    (three / "none" / "checkpoints").mkdir(parents=True)
    none = ("test", "--resume", three / "none", "--epoch", 2)
    assert "there is none of any" in refused(capsys, *none)

    file = three / "checkpoints" / "epoch-0002-step-000000.pt"
    moved = tmp_path / "away" / "deep" / file.name
    moved.parent.mkdir(parents=True)
    for name in (file.name, f"{file.name}.sha256"):
        shutil.copy(file.with_name(name), moved.with_name(name))
    assert "holds no weights.safetensors" in refused(capsys, "test", "--resume", moved)
    renamed = Path(shutil.copy(file, tmp_path / "best.pt"))
    assert "a checkpoint of a run of vireid" in refused(capsys, "import-weights", renamed)
    file.write_bytes(file.read_bytes()[:-9])
    assert "is damaged" in refused(capsys, *words, 2)
    assert not (three / "test").exists()


def test_other_doors_send_a_checkpoint_to_import_weights(epochs: Path, capsys) -> None:
    file = epochs / "checkpoints" / "epoch-0002-step-000000.pt"
    images = ("--images", epochs, "--modality", "infrared", "--out", epochs / "e.safetensors")
    for words in (("embed", *images, "--weights", file), ("export-weights", file)):
        assert "`vireid import-weights" in refused(capsys, *words)
    for call in (
        lambda: vireid.load(file),
        lambda: build_model(ModelOptions(arch="test_resnet", pretrained=str(file)), 4),
    ):
        with pytest.raises(InputError, match=r"`vireid import-weights"):
            call()


def test_info_knows_a_checkpoint(epochs: Path, tmp_path: Path, capsys) -> None:
    inside = epochs / "checkpoints" / "epoch-0001-step-000001.pt"
    assert run("info", inside, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["method"] == "mcl" and facts["after"] == "epoch 1, step 1 of the next"
    assert facts["weights"].endswith("M values")
    assert run("info", inside) == 0
    assert f"vireid test --resume {inside}" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "other.pt").write_bytes(b"<html>")
    assert "is a saved web page" in refused(capsys, "info", tmp_path / "other.pt")
