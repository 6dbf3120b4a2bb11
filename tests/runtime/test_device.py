"""Which device a user's words name, and what the process took."""

from __future__ import annotations

import sys

import pytest
import torch

from vireid.runtime.device import peak_cpu_memory, resolve_device
from vireid.types import InputError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")


def test_names(two_gpus: None) -> None:
    assert resolve_device(None, " CPU ") == "cpu"
    assert resolve_device(None, "auto") == resolve_device(None, "Cuda") == "cuda:0"
    assert resolve_device(1, "auto") == resolve_device(1, "cuda:1") == "cuda:1"


def test_each_process_of_torchrun_takes_its_own_gpu(
    two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device(None, "auto") == resolve_device(None, "cuda:0") == "cuda:1"
    assert resolve_device(None, "cpu") == "cpu"


@pytest.mark.parametrize(
    ("gpu", "device", "expected"),
    [
        (7, "auto", "There is no GPU 7 on this machine. GPUs present: 0: card 0, 1: card 1."),
        (-1, "auto", "There is no GPU -1"),
        (0, "cpu", "contradict each other"),
        (None, "tpu", "`device` is 'tpu'; auto, cpu, cuda:N or mps was expected."),
        (None, "cuda:x", "`device` is 'cuda:x'"),
    ],
)
def test_refusals(two_gpus: None, gpu: int | None, device: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        resolve_device(gpu, device)
    assert expected in str(error.value)


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device(None, "auto") == "cpu"
    with pytest.raises(InputError, match=r"GPUs present: none\. Use `device` cpu"):
        resolve_device(0, "auto")


@pytest.mark.skipif(sys.platform == "win32", reason="has no module resource")
def test_peak_memory_without_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_cpu_memory() > 1e7
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr("vireid.runtime.device._peak_on_windows", lambda: 5)
    assert peak_cpu_memory() == 5
