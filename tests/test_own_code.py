"""Whatever of a run is the user's own: its errors are sentences with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_kit import refused, tiny_config

import vireid
from vireid.types import InputError

METHOD = """
from vireid.methods.baseline import Baseline

class Mine(Baseline):
    calls = 0

    def terms(self, output, batch):
        Mine.calls += 1
        if Mine.calls > 2:
            raise ValueError("no more")
        return super().terms(output, batch)
"""
NETWORK = """
def Mine():
    return {}["nothing"]
"""
AUGMENT = """
import numpy as np
from vireid.data import OwnAugment

class Mine(OwnAugment):
    def draw(self, generator, steps, rows):
        if steps > 2:
            return np.zeros((steps, len(rows.visible), 0))[5]["nothing"]
        return np.zeros((steps, len(rows.visible), 0))

    def forward(self, image, draws):
        if len(image) == WHERE:
            raise KeyError("nothing")
        return image
"""
DATASET = """
from vireid.data.facts import DatasetFacts, Rule

def load(root, **_):
    return {}["nothing"]

Mine = DatasetFacts(name="of-doors", title="Mine", load=load, rule=Rule())
"""
SAMPLER = """
from vireid.data import IdentitySampler

class Mine(IdentitySampler):
    def compose(self, generator):
        return {}["nothing"]
"""
CALLBACK = """
from vireid.training import Callback

class Mine(Callback):
    def __init__(self):
        self.key = {}["nothing"]
"""


@pytest.mark.parametrize(
    ("flag", "code", "place"),
    [
        ("--method", METHOD, "line 10 of '{}': ValueError: no more"),
        ("--arch", NETWORK, "line 3 of '{}': KeyError: 'nothing'"),
        ("--augment", AUGMENT.replace("WHERE", "4"), "line 13 of '{}': KeyError: 'nothing'"),
        ("--augment", AUGMENT.replace("WHERE", "8"), "line 13 of '{}': KeyError: 'nothing'"),
        ("--dataset", DATASET, "line 5 of '{}': KeyError: 'nothing'"),
        ("--sampler", SAMPLER, "line 6 of '{}': KeyError: 'nothing'"),
        ("--callback", CALLBACK, "line 6 of '{}': KeyError: 'nothing'"),
    ],
)
def test_every_door(
    tmp_path: Path,
    sysu_root: Path,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    code: str,
    place: str,
) -> None:
    file = tmp_path / "my.py"
    file.write_text(code)
    config = tiny_config(tmp_path, engine="eager", recipe={
        "name": "scratch", "pids_per_batch": 2, "images_per_pid": 2, "epochs": 2,
    })  # fmt: skip
    message = refused(
        capsys, "train", "--config", config, "--data-root", sysu_root, "--device", "cpu",
        "--run", tmp_path / "run", flag, f"{file}:Mine",
    )  # fmt: skip
    assert place.format(file) in message


def test_from_python(tmp_path: Path, sysu_root: Path) -> None:
    """The error itself is the cause of what is raised."""
    (tmp_path / "my.py").write_text(METHOD)
    options = vireid.training.train_options(
        tiny_config(tmp_path), method=f"{tmp_path / 'my.py'}:Mine", data_root=str(sysu_root),
        device="cpu",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"line 10 of .*ValueError: no more") as refusal:
        vireid.train(options, tmp_path / "run")
    assert isinstance(refusal.value.__cause__, ValueError)
