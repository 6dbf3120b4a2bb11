"""Checkpoints and weights: whole or not at all, and what is damaged is named."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vireid.config import to_plain
from vireid.files import NoPermission
from vireid.methods import Sizes, build_method, method_class
from vireid.runtime.background import BackgroundWriter
from vireid.runtime.checkpoints import unfinished
from vireid.training import checkpoint
from vireid.training.checkpoint import describe_briefly
from vireid.training.defaults import train_options
from vireid.types import InputError
from vireid.weights import (
    load_weights,
    method_metadata,
    portable,
    save_weights,
    weights_hash,
)


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(3)
    model = method_class("mcl").model_defaults("resnet10t", "none")
    return build_method("mcl", model, Sizes(num_pids=4, num_cameras=3), {"centers": "frozen"})


@pytest.fixture
def weights(method, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    known = method_metadata("mcl", method.model_options, method.sizes, {"centers": "frozen"})
    save_weights(path, method, known | {"size": [64, 32], "epoch": 7})
    return path


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Writing beyond `limit` bytes of a file fails, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def state(value: float) -> dict:
    """As a run packs it, but for its contents."""
    return {"format": checkpoint.FORMAT, "config": {"words": ["a", 1, None]}, "versions": {},
            "method": {"x": torch.full((1000,), value)}, "optimisers": {}, "scaler": {},
            "progress": {}, "ranks": []}  # fmt: skip


def test_newest_is_loaded_and_old_ones_go(tmp_path: Path) -> None:
    for epoch in range(4):
        checkpoint.save_checkpoint(tmp_path, state(epoch), epoch=epoch, keep=2)
    checkpoint.save_checkpoint(tmp_path, state(3.5), epoch=3, step=9, keep=2)
    found, path, notes = checkpoint.load_latest(tmp_path)
    assert (
        found["method"]["x"][0] == 3.5 and found["config"]["words"] == ["a", 1, None] and not notes
    )
    assert path.name == "epoch-0003-step-000009.pt"
    assert [p.name for p in checkpoint.list_checkpoints(tmp_path)] == [
        "epoch-0003-step-000009.pt",
        "epoch-0003-step-000000.pt",
    ]
    assert len(list(tmp_path.iterdir())) == 4  # two files and their sums


@pytest.mark.parametrize("damage", ["cut", "flipped", "no sum", "empty"])
def test_damaged_newest_is_named_and_the_one_before_used(tmp_path: Path, damage: str) -> None:
    checkpoint.save_checkpoint(tmp_path, state(1), epoch=1)
    newest = checkpoint.save_checkpoint(tmp_path, state(2), epoch=2)
    content = bytearray(newest.read_bytes())
    if damage == "no sum":
        Path(f"{newest}.sha256").unlink()
    else:
        content[len(content) // 2] ^= 1
        keep = {"cut": len(content) // 2, "flipped": len(content), "empty": 0}[damage]
        newest.write_bytes(content[:keep])
    found, path, notes = checkpoint.load_latest(tmp_path)
    assert found["method"]["x"][0] == 1 and path.name.startswith("epoch-0001")
    assert len(notes) == 1 and newest.name in notes[0]


def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is an older one taken for it, or the run begun anew."""
    for epoch in (1, 2):
        newest = checkpoint.save_checkpoint(tmp_path, state(epoch), epoch=epoch)

    def refuse(path: Path) -> str:  # root, whom tests may run as, may read all
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("vireid.training.checkpoint.file_hash", refuse)
    sentence = f"'{newest}' can't be used: Permission denied. Change its permissions"
    for load in (checkpoint.load_latest, lambda _: checkpoint.load_checkpoint(newest)):
        with pytest.raises(NoPermission, match=re.escape(sentence)):
            load(tmp_path)
    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(NoPermission, match=re.escape(f"'{tmp_path}' can't be used")):
        checkpoint.list_checkpoints(tmp_path)


def test_no_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no checkpoint"):
        checkpoint.load_latest(tmp_path)
    path = checkpoint.save_checkpoint(tmp_path, state(1), epoch=1)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"No checkpoint in .* can be used"):
        checkpoint.load_latest(tmp_path)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, state(1) | {"format": 1}, epoch=1)
    with pytest.raises(InputError, match=r"has format 1; vireid .* reads format 2"):
        checkpoint.load_latest(tmp_path)


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, state(1), epoch=1)
    with full_disk(2000), pytest.raises(InputError, match="could not be written"):
        checkpoint.save_checkpoint(tmp_path, state(2), epoch=2, keep=1)
    found, _, notes = checkpoint.load_latest(tmp_path)
    assert found["method"]["x"][0] == 1 and not notes
    assert len(list(tmp_path.iterdir())) == 2


def test_background_failures_are_raised(tmp_path: Path) -> None:
    writer = BackgroundWriter()
    (tmp_path / "file").write_text("x")
    writer.submit(checkpoint.save_checkpoint, tmp_path / "file" / "folder", state(1), epoch=1)
    with pytest.raises(InputError, match="could not be written"):
        writer.finish()
    writer.close()


def test_weights_round_trip(method, weights: Path) -> None:
    loaded, metadata = load_weights(weights)
    assert metadata["epoch"] == 7 and not loaded.training
    own, other = method.state_dict(), loaded.state_dict()
    assert own.keys() == other.keys() and all(torch.equal(own[k], other[k]) for k in own)
    assert loaded.options.centers == "frozen"
    assert metadata["weights_hash"] == weights_hash(portable(loaded))


@pytest.mark.parametrize("keep", [0, 40, 5000, -9])
def test_cut_weights_are_refused(weights: Path, keep: int) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_weights(weights)


def test_changed_weights_are_refused(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-100] ^= 4
    weights.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        load_weights(weights)


def test_foreign_and_missing_weights(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(3)}, foreign)
    with pytest.raises(InputError, match="not written by vireid"):
        load_weights(foreign)
    with pytest.raises(InputError, match="There are no weights"):
        load_weights(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match=r"holds no weights\.safetensors"):
        load_weights(tmp_path)


def test_weights_of_another_network_are_refused(method, tmp_path: Path) -> None:
    known = method_metadata(
        "mcl", method_class("mcl").model_defaults("resnet14t", "none"), method.sizes,
        {"centers": "frozen"})  # fmt: skip
    path = tmp_path / "other.safetensors"
    save_weights(path, method, known)
    with pytest.raises(InputError, match=r"another network.*missing"):
        load_weights(path)
    known["sizes"] = {"num_pids": 5, "num_cameras": 3}
    known["model"]["arch"] = "resnet10t"
    save_weights(path, method, known)
    with pytest.raises(InputError, match=r"of another shape"):
        load_weights(path)


def test_facts_of_a_weights_file(weights: Path) -> None:
    facts = checkpoint.describe_run(weights)
    assert facts["method"] == "mcl" and facts["epoch"] == "7"


def test_a_run_that_failed_after_it_was_trained_is_said_to_have_failed(tmp_path: Path) -> None:
    """A log from before its end, as earlier versions left it, says nothing."""
    (tmp_path / "config.json").write_text(json.dumps(to_plain(train_options(method="agw"))))
    for name, moment in (("weights.safetensors", 2), ("summary.json", 3), ("error.log", 1)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (moment, moment))
    assert describe_briefly(tmp_path)["state"] == "trained"
    os.utime(tmp_path / "error.log", (4, 4))
    assert describe_briefly(tmp_path)["state"] == "failed (error.log), no checkpoint yet"


def test_a_run_that_was_stopped_says_how_far_it_is(tmp_path: Path) -> None:
    """Also one that was trained, and then was given more epochs."""
    options = to_plain(train_options(method="agw", epochs=5))
    (tmp_path / "config.json").write_text(json.dumps(options))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / checkpoint.checkpoint_name(4, 3)).touch()
    for name in ("weights.safetensors", "summary.json"):
        (tmp_path / name).touch()
    assert describe_briefly(tmp_path)["state"] == "4 of 5 epochs"
    said = unfinished(tmp_path)
    assert said and said.endswith(f"4 of 5 epochs; `vireid train --resume {tmp_path}` goes on.")
    (tmp_path / "checkpoints" / checkpoint.checkpoint_name(5, 0)).touch()
    assert unfinished(tmp_path) is None
    assert describe_briefly(tmp_path)["state"] == "trained"
    options["stop_epoch"] = 4  # of the same schedule
    (tmp_path / "checkpoints" / checkpoint.checkpoint_name(5, 0)).unlink()
    (tmp_path / "config.json").write_text(json.dumps(options))
    assert unfinished(tmp_path) is None
