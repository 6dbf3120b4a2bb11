"""Opens files of weights as people have them, without running any code in them."""

from __future__ import annotations

import codecs
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vireid.files import NoPermission, safetensors_fault
from vireid.models.recognise import DAMAGED, recognise
from vireid.models.whereabouts import check_file_there
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


def load_foreign(path: str | Path) -> Any:
    """Read a safetensors or PyTorch file on the CPU: tensors, plain values, NumPy values.

    Objects of settings beside them (`argparse.Namespace` and its like) become empty
    dictionaries.

    Raises:
        InputError: the file is missing, damaged or something else (which is named), or needs
            Python objects that are not plain values (its reason is given).
    """
    check_file_there(path)
    path = Path(path)
    try:
        kind, sentence = recognise(path)
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
    except DAMAGED as error:
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
