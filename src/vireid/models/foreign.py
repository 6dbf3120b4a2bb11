"""Opens files of weights that others wrote, without running any code in them."""

from __future__ import annotations

import codecs
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vireid.types import InputError


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How pickle protocol 2 writes bytes; other encodings are refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding '{encoding}' are not allowed")
    return codecs.encode(text, encoding)  # type: ignore[return-value]


# NumPy scalars and arrays, under the names that NumPy 1 and NumPy 2 write; nothing else.
_ALLOWED: list[Any] = [
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

    Raises:
        InputError: the file is missing or damaged, is neither, or needs Python objects that
            are not plain values (its reason is given).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file '{path}'.")
    if path.suffix.lower() == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"The file '{path}' is not readable safetensors: {error}.") from error
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
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
