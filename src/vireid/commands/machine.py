"""doctor, bench: commands about this machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path

from vireid.commands.common import print_json
from vireid.console import facts_table, results
from vireid.cores import usable_cores
from vireid.data import dataset_names
from vireid.extras import EXTRAS, how_to_install, installed
from vireid.files import nearest_there
from vireid.training.options import KernelsName

REQUIRED = (
    "torchvision", "timm", "safetensors", "pillow", "numba", "numpy", "scipy", "matplotlib",
    "rich", "tyro",
)  # fmt: skip


def doctor(*, json: bool = False) -> int:
    """Show what vireid finds on this machine, and what is missing.

    Args:
        json: Print JSON on standard output instead of tables.
    """
    facts = _facts()
    if json:
        print_json(facts)
        return 0
    for title, rows in facts.items():
        results.print(facts_table(title, rows))
    return 0


def _facts() -> dict[str, dict[str, str]]:
    import torch

    from vireid.version import __version__

    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "vireid": __version__,
        "cores": str(usable_cores()),
        "PyTorch": f"{torch.__version__}, threads: {torch.get_num_threads()}",
        "free disk here": f"{shutil.disk_usage('.').free / 2**30:.0f} GiB",
    }
    base = os.environ.get("VIREID_DATA")
    data = {"$VIREID_DATA": base or "not set (give --data-root to each command)"}
    if base:
        for name in dataset_names():
            data[name] = "present" if (Path(base) / name).is_dir() else "absent"
    data["temporary folder"] = _writable(Path(tempfile.gettempdir()))
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    data["cache folder"] = _writable(Path(cache))
    return {"This machine": machine, "GPUs": _gpus(), "Parts": _parts(), "Data and folders": data}


def _gpus() -> dict[str, str]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        cuda = f" (PyTorch is built for CUDA {built})" if built else ""
        return {"GPU": f"none; training runs on the CPU in float32, slowly{cuda}"}
    gpus = {}
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        native = torch.cuda.get_device_capability(i) >= (8, 0)
        use = "bfloat16, engine graph" if native else "float16 with loss scaling, no bfloat16"
        gpus[f"GPU {i}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {use}"
    return gpus


def _parts() -> dict[str, str]:
    """Libraries and weights that are installed, and how to install the others."""
    parts = {name: _version(name) or f"MISSING: pip install {name}" for name in REQUIRED}
    for name, extra in EXTRAS.items():
        there = "installed" if installed(name) else f"not installed: {how_to_install(name)}"
        parts[f"[{name}] {extra.use}"] = there
    folder = Path(__file__).parents[1] / "shipped"
    shipped = sorted(path.name for path in folder.glob("*.safetensors"))
    return parts | {"weights in the package": ", ".join(shipped) or "none"}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _writable(folder: Path) -> str:
    writable = os.access(nearest_there(folder), os.W_OK)
    return f"{folder} ({'writable' if writable else 'NOT writable'})"


def bench(
    *,
    json: bool = False,
    arch: str = "resnet50",
    method: str = "mcl",
    steps: int = 50,
    kernels: KernelsName = "auto",
    gpu: int | None = None,
    device: str = "auto",
    published: bool = True,
) -> int:
    """Time this machine: training step, extraction and evaluation, beside the published way.

    The published way is a simple implementation written from its description: two backward
    passes a step, a Python loop over classes, evaluation as a NumPy loop over queries.

    Args:
        json: Print JSON on standard output instead of tables.
        arch: Backbone.
        method: Method whose step is timed.
        steps: Steps to time, after warming up.
        kernels: Kernels of a captured step, as in `vireid train`.
        gpu: GPU to compute on, by its number from 0; short for --device cuda:N.
        device: Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps.
        published: Time the published way too.
    """
    from vireid.bench import measure
    from vireid.runtime.device import device_named

    facts = measure(
        device=device_named(gpu, device),
        arch=arch,
        method=method,
        steps=steps,
        kernels=kernels,
        published=published,
    )
    if json:
        print_json(facts)
        return 0
    for title, rows in facts.items():
        if isinstance(rows, dict):
            results.print(facts_table(title, rows))
        else:
            results.print(f"{title}: {rows}", markup=False)
    return 0
