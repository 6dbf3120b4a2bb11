"""Importing the package needs no POSIX-only module, so that it works on Windows too."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import forks
import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "vireid"
POSIX_ONLY = (
    "resource", "fcntl", "termios", "tty", "pty", "pwd", "grp", "posix", "syslog", "crypt", "spwd",
)  # fmt: skip
# `os` without what Windows doesn't have.
POSIX_NAMES = (
    "fork", "getuid", "geteuid", "getgid", "sched_getaffinity", "sched_setaffinity", "killpg",
    "setsid", "getpgid", "mkfifo", "statvfs", "posix_fallocate", "posix_fadvise", "pread",
    "pwrite", "preadv", "getloadavg", "nice", "chown", "O_NOFOLLOW", "O_DIRECTORY", "WNOHANG",
)  # fmt: skip
# Libraries have their own ways on Windows: they are loaded before the modules vanish.
LIBRARIES = (
    "asyncio", "multiprocessing.pool", "subprocess", "tempfile", "shutil", "pathlib",
    "torch", "torchvision", "timm", "numba", "scipy.io", "scipy.optimize", "matplotlib.pyplot",
    "rich.console", "cv2", "fastapi", "fastapi.testclient", "uvicorn", "tyro", "safetensors.torch",
    "PIL.Image",
)  # fmt: skip
# Module → distribution, where the names differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "cv2": "opencv-python-headless",
    "grpc": "grpcio",
}
# FastAPI reads uploads with the first; timm imports the second, whose bound follows PyTorch's.
NEEDED_UNSEEN = {"python-multipart", "torchvision"}
WITH_PYTORCH = {"triton"}  # comes with it where it can be used at all


def declared(lines: list[str]) -> set[str]:
    """Names of distributions in lines like "numba>=0.60"."""
    return {normalised(re.split(r"[^\w.-]", line)[0]) for line in lines}


def modules() -> list[str]:
    """Every module of the package but `__main__`, which runs the command, and, where Triton isn't
    installed, those that need it: they are imported only where it is."""
    paths = list(SOURCE.rglob("*.py"))
    if importlib.util.find_spec("triton") is None:
        needs = ("import triton", "vireid.models.fused import")
        paths = [p for p in paths if not any(f"\n{n}" in p.read_text("utf-8") for n in needs)]
    parts = [path.relative_to(SOURCE.parent).with_suffix("").parts for path in paths]
    return sorted(
        ".".join(p[:-1] if p[-1] == "__init__" else p) for p in parts if p[-1] != "__main__"
    )


def import_without_posix(names: list[str]) -> None:
    """Import modules as if for the first time, where the system has no POSIX; say which fail."""
    for library in LIBRARIES:
        importlib.import_module(library)
    for loaded in [name for name in sys.modules if name.split(".")[0] == "vireid"]:
        del sys.modules[loaded]
    for name in POSIX_ONLY:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in POSIX_NAMES:
        if hasattr(os, name):
            delattr(os, name)
    failed = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed.append(f"{name}: {error!r}")
    if failed:
        sys.exit("\n".join(failed))


def test_every_module_is_imported_without_posix(tmp_path: Path) -> None:
    child = forks.start(tmp_path / "log", import_without_posix, modules())
    child.join(300)
    assert child.exitcode == 0, (tmp_path / "log").read_text()


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    imported = third_party()
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    missing = imported.keys() - declared([*project["dependencies"], *extras]) - WITH_PYTORCH
    where = {name: imported[name] for name in missing}
    assert not missing, f"imported, but not in pyproject.toml: {where}"
    unused = declared(project["dependencies"]) - imported.keys() - NEEDED_UNSEEN
    assert not unused, f"in pyproject.toml, but not imported: {unused}"


def third_party() -> dict[str, str]:
    """Distribution that the package imports, at a top or within a function → a file that does."""
    imported: dict[str, str] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            for first in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                if first != "vireid":
                    name = normalised(DISTRIBUTIONS.get(first, first))
                    imported[name] = path.relative_to(SOURCE).as_posix()
    return imported


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("python", ["nowhere/python", __file__, "false"])
def test_a_python_that_cannot_be_run_is_told_in_one_sentence(python: str, tmp_path: Path) -> None:
    words = ["make", "--silent", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}", "demo"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout.startswith(f"'{python}' can't be run as Python.")
    assert done.stdout.count("\n") == 1 and "sh:" not in done.stderr
