"""The embeddings file: one safetensors file that any language reads without running code.

Arrays: `vectors.NAME` (N, D) float16 or float32, `pids`, `camids`, `modality` (N,) int64,
`times` (N,) float64, `paths` (bytes of all paths as UTF-8, one after the other) and `path_ends`
(N,) int64. The header's metadata hold one entry, `vireid`: the kind of file, weights_hash,
preprocessing and the folders of the images as JSON. (safetensors writes several entries in an order
that differs by chance, and equal embeddings should be equal files.)
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vireid.files import atomic_write, writing
from vireid.types import Embeddings, InputError

KIND = "vireid-embeddings-1"


def save_embeddings(path: str | Path, embeddings: Embeddings) -> None:
    """Write embeddings, atomically.

    Raises:
        InputError: the file can't be written.
    """
    head, arrays, _ = _layout(embeddings)
    with atomic_write(path) as file:
        file.write(head)
        for array in arrays.values():
            file.write(_bytes(array))


class VectorFile:
    """An embeddings file whose vectors are written by rows, by several processes if need be.

    What was written is on the disk after the next `sync`. `close` it at the end.

    Attributes:
        path: of the file; its vectors are 0 where none were written.
    """

    def __init__(self, path: Path, embeddings: Embeddings) -> None:
        """Open the file, or create it.

        Args:
            embeddings: all but the vectors, of which only shapes and types count.

        Raises:
            InputError: the disk is full, or the folder can't be written.
        """
        self.path = path
        self._columns = embeddings.vectors
        head, arrays, self._starts = _layout(embeddings)
        size = len(head) + sum(array.nbytes for array in arrays.values())
        # Whoever opens the file writes all but the vectors, the same bytes each time: so it doesn't
        # matter who was first, or whether that one was killed.
        with writing(path), ExitStack() as undo:
            path.touch()
            self._file: FileIO = undo.enter_context(open(path, "rb+", buffering=0))
            _write_whole(self._file, memoryview(head))
            for name, array in arrays.items():
                if name in self._starts:
                    self._file.seek(array.nbytes, os.SEEK_CUR)
                else:
                    _write_whole(self._file, _bytes(array))
            if self._file.seek(0, os.SEEK_END) < size:
                self._file.truncate(size)
            undo.pop_all()

    def write(self, rows: np.ndarray, vectors: Mapping[str, np.ndarray]) -> None:
        """Write rows (n,), ascending, of vectors (n, D) by name; one thread at a time.

        Raises:
            InputError: the disk is full.
        """
        ends = [*np.flatnonzero(np.diff(rows) != 1) + 1, len(rows)]
        with writing(self.path):
            for name, values in vectors.items():
                column = self._columns[name]
                for start, end in zip([0, *ends[:-1]], ends):
                    row = int(rows[start]) * column[0].nbytes
                    self._file.seek(self._starts[f"vectors.{name}"] + row)
                    part = values[start:end].astype(column.dtype, copy=False)
                    _write_whole(self._file, _bytes(part))

    def sync(self) -> None:
        """Return once all that was written is on the disk; safe beside `write`.

        Raises:
            InputError: the disk is full or failed.
        """
        with writing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what was written since the last `sync` survives all but a power cut."""
        self._file.close()


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _write_whole(file: FileIO, left: memoryview) -> None:
    while left:  # an unbuffered write may take a part only
        left = left[file.write(left) or 0 :]


_CODES = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}


def _layout(embeddings: Embeddings) -> tuple[bytes, dict[str, np.ndarray], dict[str, int]]:
    """The format's header, the arrays in the order of the file, and where vectors begin.

    Written here, since the library can only write arrays that are in memory as a whole."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in embeddings.paths]
    arrays: dict[str, np.ndarray] = {
        "times": np.asarray(embeddings.times, np.float64),
        "camids": np.asarray(embeddings.camids, np.int64),
        "modality": np.asarray(embeddings.modality, np.int64),
        "path_ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
        "pids": np.asarray(embeddings.pids, np.int64),
    }
    vectors = {f"vectors.{name}": values for name, values in sorted(embeddings.vectors.items())}
    # Wide numbers first, so that each array begins at a multiple of its numbers' width.
    arrays |= dict(sorted(vectors.items(), key=lambda item: -item[1].itemsize))
    arrays["paths"] = np.frombuffer(b"".join(encoded), np.uint8)
    about = {
        "kind": KIND,
        "weights_hash": embeddings.weights_hash,
        "preprocessing": embeddings.preprocessing,
        "order": list(embeddings.vectors),
        "base": embeddings.base,
        "root": embeddings.root,
    }
    header: dict[str, Any] = {"__metadata__": {"vireid": json.dumps(about)}}
    starts, start = {}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        starts[name] = start
        start += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    return head, arrays, {name: len(head) + starts[name] for name in vectors}


def load_embeddings(path: str | Path) -> Embeddings:
    """Read an embeddings file.

    Raises:
        InputError: it is missing, damaged, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no embeddings file '{path}'. `vireid embed` writes one.")
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {}).get("vireid", "{}"))
            if about.get("kind") != KIND:
                raise InputError(
                    f"'{path}' is not an embeddings file of vireid (its kind is "
                    f"{about.get('kind')!r}). Write one with `vireid embed`."
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"'{path}' is not a whole embeddings file: {error}. Write it again with `vireid embed`."
        ) from error
    content, ends = arrays["paths"].tobytes(), arrays["path_ends"].tolist()
    paths = [
        content[start:end].decode("utf-8", "surrogateescape")
        for start, end in zip([0, *ends[:-1]], ends)
    ]
    return Embeddings(
        vectors={name: arrays[f"vectors.{name}"] for name in about["order"]},
        paths=paths,
        pids=arrays["pids"],
        camids=arrays["camids"],
        modality=arrays["modality"],
        times=arrays["times"],
        weights_hash=about["weights_hash"],
        preprocessing=about["preprocessing"],
        base=about.get("base", ""),  # absent in files of earlier commits
        root=about.get("root", ""),
    )
