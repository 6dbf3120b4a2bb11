"""The device that a process computes on: which one, how PyTorch is set for it, what it used."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch

from vireid.types import InputError


def torchrun_size() -> int:
    """Processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def pick_device(word: str, local_rank: int = 0) -> torch.device:
    """The device that `word` means for the process `local_rank` of this host.

    Raises:
        InputError: a GPU that isn't there.
    """
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    if word.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = local_rank if torchrun_size() > 1 or ":" not in word else int(word[5:])
        if index >= count:
            names = ", ".join(torch.cuda.get_device_name(i) for i in range(count)) or "none"
            raise InputError(
                f"There is no GPU {index} here. GPUs present: {names}. Choose one of "
                "them, start fewer processes, or use --device cpu."
            )
        return torch.device("cuda", index)
    return torch.device(word)


class Throttle:
    """Keeps the host at most `ahead` steps before the device, so that a stop is soon a stop and
    rates are true; never leaves the device without work."""

    def __init__(self, device: torch.device, ahead: int = 8) -> None:
        self._events: list[torch.cuda.Event] = []
        self._ahead, self._cuda = ahead, device.type == "cuda"

    def tick(self) -> None:
        if not self._cuda:
            return
        event = torch.cuda.Event()
        event.record()
        self._events.append(event)
        if len(self._events) > self._ahead:
            self._events.pop(0).synchronize()


def memory_format(method: torch.nn.Module, device: torch.device) -> None:
    """Lay convolution weights out as tensor cores read them (channels last) on a GPU."""
    if device.type == "cuda":
        method.to(memory_format=torch.channels_last)


def tune(device: torch.device, *, deterministic: bool, full_float32: bool) -> None:
    """Set PyTorch's switches for this process: reproducible, or fast."""
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.allow_tf32 = not full_float32
    torch.set_float32_matmul_precision("highest")


def peak_memory(device: torch.device) -> int:
    """Most bytes that tensors took on the device in this process."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def use_compile_cache() -> Path | None:
    """Keep compiled kernels between runs, unless the user set a place for them."""
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if given and not _is_compilers_own(Path(given)):
        return Path(given)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "vireid" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None  # a read-only home: kernels are compiled anew in each run
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    return folder


def _is_compilers_own(folder: Path) -> bool:
    """Whether PyTorch chose this folder: it writes its choice, which a reboot empties, into the
    environment as soon as a part of its compiler is imported."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")
