"""A method of the user's own that breaks the contract is answered by a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_kit import refused, run, said, tiny_config

HEAD = """
from dataclasses import dataclass
import torch
from vireid.methods import Method, ParameterGroup
from vireid.methods.baseline import Baseline
from vireid.methods.options import MethodOptions


class Mine(Baseline):
"""
TERMS = "    def terms(self, output, batch):\n        loss = super().terms(output, batch)\n"
HOST = TERMS + "        if loss['identity'] > 0:\n            pass\n        return loss\n"


def words(folder: Path, root: Path, body: str, head: str = HEAD) -> tuple[object, ...]:
    (folder / "my.py").write_text(head + body)
    return ("train", "--config", tiny_config(folder), "--data-root", root, "--device", "cpu",
            "--run", folder / "run", "--method", f"{folder / 'my.py'}:Mine")  # fmt: skip


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (TERMS + "        return loss['identity']", "returned a tensor of shape (); a dict"),
        (TERMS + "        return list(loss.values())", "a dict of named loss terms was expected"),
        (TERMS + "        return {}", "returned {}; a dict of named loss terms was expected"),
        (TERMS + "        return {'a': output.pooled.mean(1)}", "'a' of method 'mine' has shape"),
        (TERMS + "        return {'a': 0.5}", "'a' of method 'mine' is a float"),
        (TERMS + "        return {'a': batch.pid_label.sum()}", "is a tensor of torch.int64"),
        (TERMS + "        return {'a': loss['identity'].detach()}", "has no gradient"),
        (TERMS + "        return loss['nothing']", "(line 12 of"),
        ("    test_embeddings = ('pooled', 'other')", "has the test_embeddings pooled, other"),
        ("    def embed(self, image, num_visible):\n        return {'pooled': image, "
         "'embedding': image}", "is (4, 3, 64, 32) for 4 images"),
        ("    Options = dict", "Options dict, which don't extend"),
        ("    class Options(MethodOptions):\n        a: float = 1.0", "which are no dataclass"),
        ("    def groups(self):\n        return super().groups()[:1]", "in no group"),
        ("    def groups(self):\n        first, *more = super().groups()\n"
         "        return [first, *more, ParameterGroup(name='b', parameters=first.parameters)]",
         "in the groups 'backbone' and 'b'; put it in exactly one"),
        ("    def groups(self):\n        return 2 * super().groups()", "group named 'backbone'"),
    ],
)  # fmt: skip
def test_a_broken_contract(
    tmp_path: Path, sysu_root: Path, capsys: pytest.CaptureFixture[str], body: str, expected: str
) -> None:
    assert expected in refused(capsys, *words(tmp_path, sysu_root, body))
    assert not (tmp_path / "run").exists()  # nothing was begun


def test_no_terms(tmp_path: Path, sysu_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = HEAD.replace("Mine(Baseline)", "Mine(Method)")
    message = refused(capsys, *words(tmp_path, sysu_root, "    pass", head))
    assert "has no `terms(self, output, batch)`" in message


def test_a_class_without_a_name_is_named_after_itself(
    tmp_path: Path, sysu_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not after the method that it extends, whose numbers it would seem to have."""
    command = words(tmp_path, sysu_root, "    pass")
    assert run(*command[:-4], *command[-2:], "--model-path", tmp_path) == 0
    assert len([*tmp_path.glob("sysu-mine-test_resnet-scratch-*-seed0")]) == 1


def test_values_read_on_the_host_run_eagerly(
    tmp_path: Path, sysu_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words(tmp_path, sysu_root, HOST)) == 0
    assert "engine eager: method 'mine' reads values of tensors on the host (line 12: if" in said(
        capsys
    )
    assert "line 12" in json.loads((tmp_path / "run" / "summary.json").read_text())["engine"]


def test_a_network_of_ones_own_says_what_it_is(
    tmp_path: Path, sysu_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report doesn't name the network that the options would have built."""
    body = (
        "    def __init__(self, *words):\n        super().__init__(*words)\n"
        "        self.model.__class__ = type('SmallNet', (type(self.model),), {})\n"
        "        del self.model.arch\n"
    )
    assert run(*words(tmp_path, sysu_root, body)) == 0
    kept = json.loads((tmp_path / "run" / "record.json").read_text())
    assert kept["architecture"] == "SmallNet"
    capsys.readouterr()
    assert run("info", tmp_path / "run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "SmallNet"
