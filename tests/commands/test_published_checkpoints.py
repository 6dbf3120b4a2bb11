"""Published checkpoints end to end: imported, tested, tabulated, exported back bit for bit."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import torch
from command_kit import run, said
from published_kit import is_dead, make_net
from torch import Tensor

from vireid.models.foreign import load_foreign


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SYSU-MM01 with two people to find: 4 queries, 8 gallery images."""
    return fakes.make_sysu(tmp_path_factory.mktemp("sysu"), train=2, val=1, test=2, images=1)


def as_saved(method: str, net: dict[str, Tensor]) -> dict[str, Any]:
    """As one code or another saves it."""
    if method == "agw":  # trained on several GPUs, with its flags beside it
        wrapped = {f"module.{key}": value for key, value in net.items()}
        return {"state_dict": wrapped, "epoch": "best", "args": argparse.Namespace(lr=0.1)}
    if method == "base":
        return {"model": net}
    return {"net": net, "cmc": np.linspace(0.1, 1, 20), "mAP": np.float64(0.5), "epoch": 60}


SIZES = {"deen": [384, 144], "rle": [384, 192]}
# The whole networks of RLE and DEEN go there and back in tests/methods/test_later_methods.py.
CHECKPOINTS = ["base", "agw", "mcl", "ddag", "caj", "dns", "deen_regdb", "rle_regdb"]


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
@pytest.mark.long
def test_there_and_back(checkpoint: str, people: Path, tmp_path: Path, capsys) -> None:
    method, net = checkpoint.removesuffix("_regdb"), make_net(checkpoint)
    file, weights, back = tmp_path / "best.t", tmp_path / "ours.safetensors", tmp_path / "back.t"
    torch.save(as_saved(method, net), file)
    name = (
        ("--method", method) if method in ("agw", "caj") else ()
    )  # the others are told by their tensors
    assert run("import-weights", file, "--out", weights, *name) == 0
    message = said(capsys)
    identities = 206 if checkpoint.endswith("_regdb") else 395
    assert f"Method {method}, " in message and f"{identities} identities" in message
    says = method not in ("agw", "base")
    assert ("says epoch 60" in message) == says
    assert run("info", file) == 0
    shown = capsys.readouterr()
    assert str(identities) in shown.out and ("60" in shown.out) == says
    assert f"vireid import-weights {file}" in " ".join(shown.err.split())
    file.unlink()

    report = tmp_path / "report"
    words = ("--data-root", people, "--device", "cpu", "--figure-queries", 0, "--trials", 1)
    assert run("test", "--resume", weights, "--dataset", "sysu", *words, "--out", report) == 0
    found = json.loads((report / "report.json").read_text())
    assert found["protocol"]["method"] == method and found["protocol"]["arch"] == "resnet50"
    assert found["protocol"]["epoch"] == (60 if says else None)
    more = {"ddag": {"part"}, "deen": {"sum", "weighted"}, "rle": {"sum", "weighted"}}
    embeddings = {"pooled", "embedding"} | more.get(method, set())
    assert found["protocol"]["preprocessing"]["size"] == SIZES.get(method, [288, 144])
    assert embeddings <= found.keys()
    assert all(0 < found[one]["mean_ap"]["mean"] <= 1 for one in embeddings)
    capsys.readouterr()
    assert run("report", report, "--out", tmp_path / "tables") == 0
    table = "".join(path.read_text() for path in (tmp_path / "tables").glob("*.md"))
    assert method in table and "Rank-1" in table

    assert run("export-weights", weights, "--out", back) == 0
    theirs = load_foreign(back)["net"]
    assert theirs.keys() == net.keys()
    for key, tensor in net.items():
        assert theirs[key].shape == tensor.shape and theirs[key].dtype == tensor.dtype, key
        assert is_dead(key, checkpoint) or torch.equal(theirs[key], tensor), key
    live = sum(tensor.nbytes for key, tensor in net.items() if not is_dead(key, checkpoint))
    assert back.stat().st_size < live + 1e6  # what is dead shares the memory of what is live
