"""Opens files of weights as people have them, without running any code in them."""

from __future__ import annotations

import codecs
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vireid.console import path_meant
from vireid.files import NoPermission, safetensors_fault
from vireid.models.options import ENDINGS
from vireid.types import InputError

# Keys under which codes store the named tensors.
_WRAPPERS = ("net", "state_dict", "model", "model_state_dict", "model_state", "network")
_PREFIX = re.compile(r"(?:module\.|_orig_mod\.)+")  # of DataParallel and torch.compile
_OF_A_RUN = {"config", "method", "optimisers", "progress"}  # keys of our training's checkpoints
_OURS = "model.stem_visible."
_PUBLISHED = re.compile(
    r"(visible(_module)?\.visible|thermal(_module)?\.thermal|base(_resnet)?\.base)\."
)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How pickle protocol 2 writes bytes; other encodings are refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding '{encoding}' are not allowed")
    return codecs.encode(text, encoding)  # type: ignore[return-value]


class _Settings:
    """Stands for an object of settings beside the tensors: whatever it is made of, it becomes an
    empty dictionary of a kind that the unpickler may fill."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return OrderedDict()


_SETTINGS = [
    "argparse.Namespace", "types.SimpleNamespace", "easydict.EasyDict", "yacs.config.CfgNode",
    *(
        f"{module}.{kind}"
        for module in ("pathlib", "pathlib._local")
        for kind in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")
    ),
]  # fmt: skip
# NumPy scalars and arrays, under the names that NumPy 1 and NumPy 2 write; stand-ins for
# settings; nothing else.
_ALLOWED: list[Any] = [
    *((_Settings, name) for name in _SETTINGS),
    np.dtype,
    np.ndarray,
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefdSU"},
    (_encode, "_codecs.encode"),
    *(
        (function, f"{module}.{function.__name__}")
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for function in cast(
            "list[Any]", [np.float64().__reduce__()[0], np.empty(0).__reduce__()[0]]
        )
    ),
]


# What PyTorch raises on files that are damaged or something else.
_DAMAGED = (
    RuntimeError, EOFError, ValueError, LookupError, OSError, TypeError, AttributeError,
    AssertionError, MemoryError, OverflowError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def load_foreign(path: str | Path) -> Any:
    """Read a safetensors or PyTorch file on the CPU: tensors, plain values, NumPy values.

    Objects of settings beside them (`argparse.Namespace` and its like) become empty
    dictionaries.

    Raises:
        InputError: the file is missing, damaged or something else (which is named), or needs
            Python objects that are not plain values (its reason is given).
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder. Name the file of weights in it.")
    if not path.is_file():
        raise InputError(f"There is no file '{path}'.{path_meant(path, Path.is_file)}")
    try:
        kind, sentence = _recognise(path)
        if sentence:
            raise InputError(f"The file '{path}' {sentence}")
        if kind == "safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the pickle's protocol, for programmers
            with path.open("rb") as file:  # of a path, PyTorch looks at the ending
                return torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise NoPermission(path, error) from error
    except SafetensorError as error:
        raise InputError(
            f"The file '{path}' is not readable safetensors: {safetensors_fault(path, error)}. "
            "Fetch or write it again."
        ) from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"The file '{path}' was refused: {_reason(error)}. Files of weights are opened without "
            "running code in them; tensors, plain values and NumPy values are allowed. If you "
            "trust the file, open it with the code that wrote it and save only its state dict."
        ) from error
    except _DAMAGED as error:
        raise InputError(
            f"The file '{path}' is not a readable PyTorch file ({_first_sentence(error)}). "
            "It may be damaged or cut short; fetch it again."
        ) from error


def named_tensors(content: Any, depth: int = 4) -> dict[str, Tensor]:
    """The named tensors in what `load_foreign` read; none if there are none.

    They are looked for under the keys `net`, `state_dict`, `model` and the like (also one in
    another, down to `depth`), then at the top. Prefixes that wrappers of modules write ("module.",
    Lightning's name of the network within another module) are dropped, other values left out.
    """
    if not isinstance(content, dict) or depth == 0:
        return {}
    for wrapper in _WRAPPERS:
        if found := named_tensors(dict.get(content, wrapper), depth - 1):
            return found
    found = {
        name[match.end() :] if (match := _PREFIX.match(name)) else name: value
        for name, value in dict.items(content)
        if isinstance(name, str) and isinstance(value, Tensor)
        if value.layout is torch.strided and not value.is_meta
    }
    return _without_outer(found)


def _without_outer(net: dict[str, Tensor]) -> dict[str, Tensor]:
    """Named tensors without the name of a module around the published network."""
    outer = {name.partition(".")[0] for name in net}
    inner = {name.partition(".")[2]: value for name, value in net.items()}
    if len(outer) == 1 and len(inner) == len(net) and any(map(_PUBLISHED.match, inner)):
        return inner
    return net


def kind_of(content: Any) -> Literal["run", "ours", "published", "other", "nothing"]:
    """What `load_foreign` read: a checkpoint of a run of ours, weights of ours, a checkpoint of
    the published codes, other named tensors, or nothing of the kind."""
    if isinstance(content, dict) and dict.keys(content) >= _OF_A_RUN:
        return "run"
    names = named_tensors(content)
    if any(name.startswith(_OURS) for name in names):
        return "ours"
    if any(_PUBLISHED.match(name) for name in names):
        return "published"
    return "other" if names else "nothing"


def misfits(own: Mapping[str, Sequence[int]], given: Mapping[str, Tensor]) -> str:
    """How given tensors differ from the shapes that a network has, in words; "" if they fit."""
    other = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(shape)}"
        for name, shape in own.items()
        if name in given and tuple(given[name].shape) != tuple(shape)
    ]
    lists = {
        "missing": [name for name in own if name not in given],
        "unknown": [name for name in given if name not in own],
        "of another shape": other,
    }
    return "; ".join(
        f"{len(names)} {what} ({', '.join(name[:120] for name in names[:3])}"
        f"{' …' if len(names) > 3 else ''})"
        for what, names in lists.items()
        if names
    )


def describe_file(path: Path) -> str:
    """What a file is that should have been weights of ours, as the rest of a sentence on it; ""
    if that can't be told."""
    try:
        kind, sentence = _recognise(path)
    except _DAMAGED:
        return ""
    if kind == "torch":
        return (
            "is a PyTorch file, not weights of vireid. `vireid import-weights FILE` makes them of "
            "a checkpoint of the published codes, and of one in a run's folder."
        )
    return sentence


# What a file begins with → what it is.
_ARCHIVES = {
    b"\x1f\x8b": "a gzip archive", b"BZh": "a bzip2 archive", b"\xfd7zXZ\0": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive", b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
}  # fmt: skip
_OTHERS = {b"\x89HDF": "an HDF5 file, as Keras writes them", b"\x93NUMPY": "a NumPy array"}
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")
_MOST_COMPRESSED = 2**28  # bytes by which a PyTorch file may grow when it is read
_POINTER = b"version https://git-lfs"


def _recognise(path: Path) -> tuple[Literal["torch", "safetensors", ""], str]:
    """What a file is by its content: what reads it, or the rest of a sentence on what it is."""
    with open(path, "rb") as file:
        head = file.read(512)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        return "", (
            "is a saved web page, not weights: the download led to a page, such as a warning or a "
            "login. Open the link in a browser, fetch the file itself and compare its size."
        )
    if head.startswith(_POINTER):
        size = re.search(rb"\nsize (\d{1,15})", head)
        mebibytes = f" ({int(size[1]) / 2**20:,.0f} MiB)" if size else ""
        return "", (
            f"is a Git-LFS pointer: a few lines of text in the place of the file itself{mebibytes}."
            " Run `git lfs pull` in its repository, or fetch the file from its web page."
        )
    archive = next((name for magic, name in _ARCHIVES.items() if head.startswith(magic)), None)
    if archive or head[257:262] == b"ustar":
        return "", f"is {archive or 'a tar archive'}. Unpack it and name the file of weights in it."
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return "", f"is {name}. A PyTorch or safetensors file was expected."
    if head.startswith(b"PK") and zipfile.is_zipfile(path):
        return _recognise_zip(path)
    if head.startswith(b"\x80"):  # a pickle
        return "torch", ""
    if _is_text(head):
        return "", "is text, not weights. A PyTorch or safetensors file was expected."
    return ("safetensors" if head[8:9] == b"{" or path.suffix == ".safetensors" else ""), ""


def _is_text(head: bytes) -> bool:
    """Whether a file that begins so is one of words; a character may be cut in two at the end."""
    text = head.decode("utf-8", "ignore")
    whole = len(head) - len(text.encode()) < 4
    return bool(text) and whole and all(c.isprintable() or c.isspace() for c in text)


def _recognise_zip(path: Path) -> tuple[Literal["torch", ""], str]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        unpacked = sum(entry.file_size for entry in archive.infolist())
    inner = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in inner:
        return "", (
            "is a TorchScript program, which is code. Save its state dict with the code that made "
            "it."
        )
    if "data.pkl" in inner:
        if unpacked > path.stat().st_size + _MOST_COMPRESSED:  # PyTorch itself compresses nothing
            return "", (
                f"is a PyTorch file that somebody has compressed, and unpacks to "
                f"{unpacked / 2**30:,.1f} GiB. Take the file as it was."
            )
        return "torch", ""
    names.sort(key=lambda name: not name.lower().endswith(ENDINGS))
    listed = ", ".join(name[:120] for name in names[:3]) + (" …" if len(names) > 3 else "")
    return "", (
        f"is a zip archive that is no checkpoint; it holds {listed or 'nothing'}. Unpack it and "
        "name the file of weights in it."
    )


def _reason(error: Exception) -> str:
    """Why a file was refused, from PyTorch's message for programmers."""
    if name := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it needs the Python object {name[1]}"
    if code := re.search(r"Unsupported operand (\d+)", str(error)):
        return f"it isn't a PyTorch file, or has pickle's operation {code[1]}"
    return _first_sentence(error)


def _first_sentence(error: Exception) -> str:
    sentence = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__
