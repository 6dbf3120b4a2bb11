"""A network, its gradients and its optimiser's state leave memory with the run that made them.

Python's collector is off here: objects in a cycle, which it would find some time, stay, and ten
trials of RegDB would pile up ten networks.
"""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import command_kit
import fakes
import pytest
import training_kit

from vireid.data import regdb
from vireid.methods import Method
from vireid.training.average import WeightAverage
from vireid.training.optimisers import Optimisers
from vireid.training.step import Step

HEAVY = (Method, Optimisers, Step, WeightAverage)


@contextmanager
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All objects of `HEAVY` that are made inside are gone at the end, by themselves."""
    made: list[weakref.ref] = []
    for cls in HEAVY:
        monkeypatch.setattr(cls, "__init__", _noting(cls.__init__, made))
    gc.collect()
    gc.disable()
    try:
        yield
        left = [ref() for ref in made if ref() is not None]
        assert {type(one).__mro__[-2] for one in left} == set() and len(made) > 2
    finally:
        gc.enable()


def _noting(init, made: list[weakref.ref]):
    def noting(self, *args, **words):
        init(self, *args, **words)
        made.append(weakref.ref(self))

    return noting


@pytest.mark.parametrize("method", ["mcl", pytest.param("ddag", marks=pytest.mark.long)])
def test_a_trial_leaves_nothing(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """As `--trial all` does: trained, then tested, one after another."""
    two = dataclasses.replace(regdb.REGDB, splits=2)
    monkeypatch.setattr(regdb, "REGDB", two)
    root = fakes.make_regdb(tmp_path / "regdb", identities=8, images=1)
    words = ("--dataset", "regdb", "--trial", "all", "--method", method)
    with nothing_left(monkeypatch):
        assert command_kit.train(tmp_path / "all", root, *words) == 0


def test_a_run_with_evaluations_and_an_average_leaves_nothing(
    tmp_path: Path, sysu_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = command_kit.TINY["recipe"] | {"ema": 0.9, "optim": "adam"}
    config = command_kit.tiny_config(tmp_path, recipe=recipe, select="val")
    words = ("--config", config, "--data-root", sysu_root, "--device", "cpu")
    with nothing_left(monkeypatch):
        assert command_kit.run("train", *words, "--run", tmp_path / "run") == 0


def test_a_compiled_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for the compiler here keeps the function, as the compiler does."""
    monkeypatch.setattr("torch.compile", lambda function, **_: lambda *args: function(*args))
    options = training_kit.tiny_options(engine="compiled", recipe={"epochs": 1})
    with nothing_left(monkeypatch):
        training_kit.run(tmp_path / "run", options)
