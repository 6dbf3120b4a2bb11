"""A method of the user's own that breaks the contract is answered by a sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_kit import refused, run, said, tiny_config

from vireid.own_code import OWN_MODULE
from vireid.training.checkpoint import describe_briefly

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


INIT = "    def __init__(self, *parts):\n        super().__init__(*parts)\n"
OPTIONS = HEAD.replace(
    "class Mine",
    "from vireid.config import option\nfrom vireid.losses import HardTripletLoss\n\n\n"
    "@dataclass(frozen=True, kw_only=True)\nclass MineOptions(MethodOptions):\n"
    "    {}\n\n\nclass Mine",
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (INIT + "        self.loss = torch.nn.Linear(margn=0.3)",
         "my.py': TypeError: Linear.__init__() got an unexpected keyword argument 'margn'"),
        (INIT.replace("super().__init__(*parts)", "self.loss = torch.nn.ReLU()"),
         "Module.__init__() call. Call super().__init__ first"),
        (INIT.replace("super().__init__(*parts)", "self.weight = 3"),
         "leaves out `self.options` and `self.model`. Call `super().__init__` first"),
        ("    def __init__(self):\n        pass", "can't be built, in '"),
    ],
)  # fmt: skip
def test_a_method_that_cant_be_built(
    tmp_path: Path, sysu_root: Path, capsys: pytest.CaptureFixture[str], body: str, expected: str
) -> None:
    """Told before the data set is read: there is none in its folder."""
    (tmp_path / "none").mkdir()
    assert expected in refused(capsys, *words(tmp_path, tmp_path / "none", body))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("help_too", [False, True])
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("lr: float = option(0.5)", "option 'lr' (line 15 of"),
        ("epochs: int = option(5)", "has the name of another one, --epochs"),
        ("gpu: int = option(5)", "has the name of another one, --gpu"),
        ("help: bool = option(False)", "has the name of another one, --help"),
        ("weight: float", "The option 'weight' (line 15 of"),
        ("weight: float", "has no default. Write `weight: float = option(0.5)`"),
        ("weight: Nothing = option(0.5)", "NameError: name 'Nothing' is not defined"),
        ("weight: float = option(-1.0, at_least=0)", "`weight` is -1.0; it must be at least 0"),
    ],
)
def test_options_that_cant_be(
    tmp_path: Path,
    sysu_root: Path,
    capsys: pytest.CaptureFixture[str],
    field: str,
    expected: str,
    help_too: bool,
) -> None:
    head = "from __future__ import annotations\n" + OPTIONS.format(field).lstrip("\n")
    command = words(tmp_path, sysu_root, "    Options = MineOptions", head)
    assert expected in refused(capsys, *command, *["--help"][: int(help_too)])


def later(where: str) -> str:
    return (
        INIT + "        self.calls = 0\n"
        f"    def {where}\n"
        "        self.calls += 1\n"
        "        if self.calls > 3:\n"
        "            raise ValueError('no more')\n"
    )


LATER = later("terms(self, output, batch):") + "        return super().terms(output, batch)\n"


def test_an_error_in_a_later_step(
    tmp_path: Path, sysu_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(tmp_path, sysu_root, LATER)
    message = refused(capsys, *command, "--engine", "eager", "--epochs", "3")
    assert f"in line 16 of '{tmp_path / 'my.py'}': ValueError: no more" in message
    assert f"--resume {tmp_path / 'run'} --method {tmp_path / 'my.py'}:Mine --other-code" in message
    log = tmp_path / "run" / "error.log"
    assert f"The traceback is in '{log}'" in message
    assert "raise ValueError('no more')" in log.read_text()
    assert describe_briefly(tmp_path / "run")["state"].startswith("failed (error.log), epoch-")
    named = f"--resume {tmp_path / 'run'} --method {tmp_path / 'my.py'}:Mine"
    assert run("info", tmp_path / "run") == 0
    shown = capsys.readouterr()
    assert "failed (error.log), epoch-" in shown.out
    assert f"vireid train {named} --other-code" in " ".join(shown.err.split())
    (tmp_path / "my.py").write_text(HEAD + INIT)  # corrected, as it says
    again = ("--method", f"{tmp_path / 'my.py'}:Mine", "--device", "cpu", "--other-code")
    for name in [name for name in sys.modules if name.startswith(OWN_MODULE)]:
        del sys.modules[name]  # as in another process
    assert "--other-code" in refused(capsys, "train", "--resume", tmp_path / "run", *again[:-1])
    assert log.exists()  # nothing has gone on
    assert run("train", "--resume", tmp_path / "run", *again) == 0
    assert run("info", tmp_path / "run") == 0
    assert f"vireid test {named}" in said(capsys)
    assert not log.exists() and describe_briefly(tmp_path / "run")["state"] == "trained"


def test_a_loss_that_is_nan_from_the_first_step(
    tmp_path: Path, sysu_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = TERMS + "        nan = (loss['identity'] * 0 - 1).log()\n"
    body += "        return {'a': nan, 'b': nan, 'c': nan}\n"
    message = refused(capsys, *words(tmp_path, sysu_root, body))
    assert (
        "The losses a, b and c became NaN in epoch 1. Use a smaller --lr, a --clip-norm of 5 or a "
        "longer" in message
    )
    assert "it may also be the arithmetic of your own terms: a logarithm" in message
