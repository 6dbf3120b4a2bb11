"""import-weights, export-weights: to the published code and back."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
from command_kit import refused, run, said

from vireid.methods import Sizes, build_method, method_class
from vireid.methods.mcl import MCL
from vireid.methods.published import read_back_as
from vireid.weights import method_metadata, read_weights, save_weights


def test_there_and_back(tmp_path: Path, capsys) -> None:
    torch.manual_seed(0)
    sizes = Sizes(num_pids=4, num_cameras=6)
    options = MCL.model_defaults("resnet50", "none")
    method = build_method("mcl", options, sizes)
    facts = method_metadata("mcl", options, sizes, {}) | {"size": [288, 144]}
    save_weights(tmp_path / "ours.safetensors", method, facts)
    assert run("export-weights", tmp_path / "ours.safetensors", "--format", "PUBLISHED") == 0
    suggested = shlex.split(said(capsys).split("Next: vireid ")[1], comments=True)
    assert suggested == ["import-weights", str(tmp_path / "published.t"), "--method", "mcl"]
    back = tmp_path / "published.safetensors"
    assert run(*suggested) == 0 and back.is_file()
    assert "M parameters" in said(capsys)
    before = read_weights(tmp_path / "ours.safetensors")[0]
    after = read_weights(back)[0]
    alive = [name for name in after if name.startswith("model.")]
    assert len(alive) > 300
    for name in alive:
        assert torch.equal(before[name], after[name]), name
    other = ("import-weights", tmp_path / "published.t", "--out", tmp_path / "agw.safetensors")
    assert "has non-local blocks" in refused(capsys, *other, "--method", "Baseline")
    assert run(*other, "--method", "AGW") == 0
    assert read_weights(tmp_path / "agw.safetensors")[1]["method"] == "agw"
    assert "exists already" in refused(capsys, *suggested)


def test_what_an_exported_network_is_read_back_as() -> None:
    """The same tensors may be of several methods; the first one would be taken for each."""
    expected = {"mcl": "mcl", "agw": "agw", "caj": "caj", "halo": "agw", "base": "base"}
    for name, meant in expected.items():
        options = method_class(name).model_defaults("test_resnet", "none")
        assert read_back_as(build_method(name, options, Sizes(num_pids=4, num_cameras=6))) == meant


@pytest.mark.long
def test_what_is_no_checkpoint(trained: Path, tmp_path: Path, capsys) -> None:
    assert "There is no file" in refused(capsys, "import-weights", tmp_path / "no.t")
    junk = tmp_path / "junk.t"
    junk.write_text("no weights")
    assert "it isn't a PyTorch file" in refused(capsys, "import-weights", junk)
    junk.write_bytes(b"")
    assert "is not a readable PyTorch file (EOFError" in refused(capsys, "import-weights", junk)
    for content in ({"net": {"classifier.weight": 3}}, {"net": {1: torch.ones(2)}}, [1]):
        torch.save(content, junk)
        assert "of named tensors" in refused(capsys, "import-weights", junk)
    assert "cannot be written as a published" in refused(capsys, "export-weights", trained)
    caffe = ("export-weights", trained, "--format", "caffe")
    assert "Valid: published, onnx, torch." in refused(capsys, *caffe)
    assert "There are no weights" in refused(capsys, "export-weights", tmp_path / "no")
