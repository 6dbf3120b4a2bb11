"""The device that a process computes on: which one, how PyTorch is set for it, what it used.

PyTorch is imported only where it is asked for something: names are checked without it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vireid.types import InputError

if TYPE_CHECKING:
    import torch


def torchrun_size() -> int:
    """Processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device_named(gpu: int | None, device: str) -> str:
    """What the options `gpu` and `device` name together, be it there or not.

    Raises:
        InputError: they contradict.
    """
    if gpu is None:
        return device
    if device.strip().lower() not in {"auto", "cuda", f"cuda:{gpu}"}:
        raise InputError(f"`gpu` {gpu} and `device` {device} contradict each other; give one.")
    return f"cuda:{gpu}"


def resolve_device(gpu: int | None, device: str) -> str:
    """The device that the options `gpu` and `device` name.

    Under torchrun each process takes the GPU of its own number on this host.

    Args:
        gpu: number of a GPU, from 0; None leaves the choice to `device`.
        device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:N" or "mps", in any case.

    Returns:
        "cpu", "cuda:N" or "mps".

    Raises:
        InputError: a GPU that isn't there, with those present, or two that contradict.
    """
    name = device_named(gpu, device).strip().lower()
    if name == "cpu":
        return name
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name == "cpu" or (name == "mps" and torch.backends.mps.is_available()):
        return name
    kind, _, index = name.partition(":")
    if kind != "cuda" or (name != "cuda" and not index.removeprefix("-").isdigit()):
        raise InputError(f"`device` is '{device}'; auto, cpu, cuda:N or mps was expected.")
    number = int(index or 0)
    if torchrun_size() > 1:
        number = int(os.environ.get("LOCAL_RANK", "0"))
    if not 0 <= number < count:
        names = (f"{i}: {torch.cuda.get_device_name(i)}" for i in range(count))
        raise InputError(
            f"There is no GPU {number} on this machine. GPUs present: {', '.join(names) or 'none'}."
            f" {'Choose one of them, or use' if count else 'Use'} `device` cpu."
        )
    return f"cuda:{number}"


def check_device(device: str) -> None:
    """Refuse a device that isn't there, as `resolve_device` does; "auto" always is.

    Raises:
        InputError: it isn't.
    """
    if device.strip().lower() != "auto":
        resolve_device(None, device)


class Throttle:
    """Keeps the host at most `ahead` steps before the device, so that a stop takes effect soon
    and rates are true, without ever leaving the device idle."""

    def __init__(self, device: torch.device, ahead: int = 8) -> None:
        self._events: list[torch.cuda.Event] = []
        self._ahead, self._cuda = ahead, device.type == "cuda"

    def tick(self) -> None:
        if not self._cuda:
            return
        import torch

        event = torch.cuda.Event()
        event.record()
        self._events.append(event)
        if len(self._events) > self._ahead:
            self._events.pop(0).synchronize()


def memory_format(method: torch.nn.Module, device: torch.device) -> None:
    """Lay convolution weights out as tensor cores read them (channels last) on a GPU."""
    if device.type == "cuda":
        import torch

        method.to(memory_format=torch.channels_last)


def tune(device: torch.device, *, deterministic: bool, full_float32: bool) -> None:
    """Set PyTorch's switches for this process: reproducible, or fast."""
    import torch

    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.allow_tf32 = not full_float32
    torch.set_float32_matmul_precision("highest")


def peak_gpu_memory(device: torch.device) -> int:
    """Most bytes that tensors took on the device in this process; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    import torch

    return torch.cuda.max_memory_allocated(device)


def peak_cpu_memory() -> int:
    """Most bytes of memory that this process took; 0 where the system doesn't say."""
    try:
        import resource
    except ImportError:  # Windows
        return _peak_on_windows()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _peak_on_windows() -> int:
    """PeakWorkingSetSize of PROCESS_MEMORY_COUNTERS, which `resource` would give elsewhere."""
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = [
            ("cb", wintypes.DWORD),
            ("PageFaultCount", wintypes.DWORD),
            ("PeakWorkingSetSize", ctypes.c_size_t),
            ("others", ctypes.c_size_t * 7),
        ]

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    read = kernel.K32GetProcessMemoryInfo
    read.argtypes = [wintypes.HANDLE, ctypes.POINTER(Counters), wintypes.DWORD]
    done = read(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb)
    return counters.PeakWorkingSetSize if done else 0


def use_compile_cache() -> Path | None:
    """Keep compiled kernels between runs, in the folder that the user set or in ours; None where
    ours can't be made."""
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if chosen and not _is_compilers_own(Path(chosen)):
        return Path(chosen)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "vireid" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None  # a read-only home: kernels are compiled again in each run
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    return folder


def _is_compilers_own(folder: Path) -> bool:
    """Whether PyTorch chose this folder: it writes its choice, which a reboot empties, into the
    environment as soon as a part of its compiler is imported."""
    return folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("torchinductor_")
