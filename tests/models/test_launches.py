"""Launches of our own kernels are noted where they are asked for, and told apart as Triton does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("triton", reason="our kernels need Triton")
from triton.runtime.jit import JITFunction

from vireid.models import launches, precompile
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


@pytest.mark.parametrize("chosen", [True, False])
def test_each_kernel_is_compiled_behind_a_lock_of_its_own(
    chosen: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever folder Triton keeps kernels in."""
    run: list[int] = []

    def launched(kernel: Any, x: Any, rows: int, channels: int, **words: Any) -> None:
        run.append(channels)

    folder = tmp_path / "mine" if chosen else tmp_path / ".triton" / "cache"
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    if chosen:
        monkeypatch.setenv("TRITON_CACHE_DIR", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(JITFunction, "run", launched)
    needed = [Launch(KERNEL, (1,), (X, 5, channels), {"WIDE": 8}) for channels in (1, 60, 64)]
    monkeypatch.setattr(precompile, "launches_of", lambda *_: needed)
    precompile.precompile(nn.Identity(), torch.float32, torch.device("cpu"))
    assert sorted(run) == [1, 60, 64]
    locks = sorted(path.name for path in (folder / "locks").iterdir())
    assert len(locks) == 3 and all(lock.startswith("add-") for lock in locks)


def test_a_kernel_that_does_not_compile_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def launched(*_: Any, **words: Any) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(JITFunction, "run", launched)
    needed = [Launch(KERNEL, (1,), (X, 5, 64), {"WIDE": 8})]
    monkeypatch.setattr(precompile, "launches_of", lambda *_: needed)
    with pytest.raises(RuntimeError, match="no compiler"):
        precompile.precompile(nn.Identity(), torch.float32, torch.device("cpu"))
