"""The optional parts of an installation: what each is for, and which packages bring it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vireid.console import quoted
from vireid.types import InputError


@dataclass(frozen=True)
class Extra:
    """What `pip install 'vireid[NAME]'` adds.

    Attributes:
        use: what it is for.
        modules: what is imported of it; it is installed when all can be found.
    """

    use: str
    modules: tuple[str, ...]


EXTRAS = {
    "serve": Extra("the search page and its server", ("fastapi", "uvicorn", "python_multipart")),
    "synthetic": Extra("synthetic people and the demo", ("cv2",)),
    "export": Extra("ONNX networks", ("onnx", "onnxscript", "onnxruntime")),
    "plot": Extra("maps of embeddings", ("sklearn",)),
    "logging": Extra("curves in TensorBoard", ("tensorboard",)),
    "milvus": Extra("indexes in Milvus", ("pymilvus",)),
}


class MissingExtra(InputError, ImportError):
    """An optional part that isn't installed; the sentence says how to install it."""


def installed(name: str) -> bool:
    """Whether everything of an extra can be imported."""
    return all(importlib.util.find_spec(module) is not None for module in EXTRAS[name].modules)


def has_triton() -> bool:
    """Whether Triton, which our kernels are written in, is installed: PyTorch brings it where it
    can."""
    return importlib.util.find_spec("triton") is not None


def how_to_install(name: str) -> str:
    """The command that installs an extra into this environment, from where the package came: it
    may be on no index."""
    folder = os.path.dirname(shutil.which("python") or "")
    pip = "pip" if folder == os.path.dirname(sys.executable) else f"{quoted(sys.executable)} -m pip"
    return f"{pip} install {_source(name)}"


def _source(name: str) -> str:
    """The package with an extra, as pip is told where it is."""
    try:
        said = importlib.metadata.distribution("vireid").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        said = None
    origin = json.loads(said or "{}")
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        return f"'vireid[{name}] @ {origin['vcs_info'].get('vcs', 'git')}+{url}'"
    if not url.startswith("file:"):
        return f"'vireid[{name}]'"
    path = url2pathname(urlsplit(url).path)
    flag = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f"{flag}{shlex.quote(f'{path}[{name}]')}"


def require(name: str) -> None:
    """Refuse to go on without an extra.

    Raises:
        MissingExtra: it isn't installed.
    """
    if not installed(name):
        missing = [m for m in EXTRAS[name].modules if importlib.util.find_spec(m) is None]
        raise MissingExtra(
            f"Something needed for {EXTRAS[name].use} isn't installed ({', '.join(missing)}). "
            f"Run: {how_to_install(name)}"
        )
