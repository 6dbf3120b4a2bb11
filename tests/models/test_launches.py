"""Launches of our own kernels are noted where they are asked for, and told apart as Triton does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="our kernels need Triton")
from triton.runtime.jit import JITFunction

from vireid.models import launches
from vireid.models.launches import Kernel, Launch, noted


def add(x, rows, channels, WIDE):
    """Stands for a kernel; never run."""


def made(function: Any = add) -> Kernel:
    return Kernel(function, do_not_specialize=["rows"])


def name(x: torch.Tensor, rows: int, channels: int, wide: int = 8, kernel: Any = None) -> str:
    return Launch(kernel or KERNEL, (1,), (x, rows, channels), {"WIDE": wide}).name


KERNEL = made()
X = torch.zeros(64)


def test_a_launch_is_named_by_what_triton_compiles_for() -> None:
    usual = name(X, 5, 64)
    same = [name(torch.zeros(7, 3), 5, 64), name(X, 1, 64), name(X, 16, 64), name(X, 5, 128)]
    assert set(same) == {usual}
    other = [name(X.half(), 5, 64), name(X[1:], 5, 64), name(X, 5, 1), name(X, 5, 60),
             name(X, 5, 64, wide=16)]  # fmt: skip
    assert len({usual, *other}) == 6


def test_kernels_of_one_name_are_two() -> None:
    """norm_kernels and layer_kernels both have `pool` and `pool_gradient`."""
    elsewhere = ModuleType("elsewhere")
    function = type(add)(add.__code__, elsewhere.__dict__, "add")
    function.__module__ = "elsewhere"
    assert name(X, 5, 64, kernel=made(function)) != name(X, 5, 64)


def test_launches_are_noted_in_the_thread_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[tuple[Any, ...]] = []
    monkeypatch.setattr(JITFunction, "run", lambda kernel, *args, **words: run.append(args))
    with noted() as found:
        KERNEL[(3,)](X, 5, 64, WIDE=8)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(KERNEL[(3,)], X, 6, 64, WIDE=8).result()
    assert run == [(X, 6, 64)]
    assert found == [Launch(KERNEL, (3,), (X, 5, 64), {"WIDE": 8})]
    found[0].make()
    assert run[1:] == [(X, 5, 64)] and len(found) == 1


def test_the_interpreters_kernels_stay_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for interpret, kind in (("1", "InterpretedFunction"), ("0", "Kernel")):
        monkeypatch.setenv("TRITON_INTERPRET", interpret)
        kernel = launches.kernel(do_not_specialize=["rows"])(add)
        assert type(kernel).__name__ == kind
