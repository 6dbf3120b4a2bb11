"""The embeddings file: one safetensors file that any language reads without running code.

Arrays: `vectors.NAME` (N, D) float16 or float32, `pids`, `camids`, `modality` (N,) int64,
`times` (N,) float64, `paths` (bytes of all paths as UTF-8, one after the other) and `path_ends`
(N,) int64. The header's metadata hold one entry, `vireid`: the kind of file, weights_hash,
preprocessing and the folders of the images as JSON. (safetensors writes several entries in an order
that differs by chance, and equal embeddings should be equal files.)
"""

from __future__ import annotations

import itertools
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from safetensors import SafetensorError, safe_open

from vireid.config import convert
from vireid.console import path_meant
from vireid.files import atomic_write, parse_json, safetensors_fault, writing
from vireid.types import Embeddings, InputError, Preprocessing, shown

KIND = "vireid-embeddings-1"
_OTHERS = (".npy", ".npz", ".csv", ".json", ".txt", ".pt", ".pth", ".pkl")  # not of our files


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
        self._sums: dict[str, int] = {}
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
        with writing(self.path):
            for name, values in vectors.items():
                column = self._columns[name]
                for part in _runs(rows):
                    self._seek(name, int(rows[part][0]))
                    content = _bytes(values[part].astype(column.dtype, copy=False))
                    _write_whole(self._file, content)
                    self._sums[name] = zlib.crc32(content, self._sums.get(name, 0))

    def take_sums(self) -> dict[str, int]:
        """By name, a checksum over all vectors written since it was last taken, in their order."""
        sums, self._sums = self._sums, {}
        return sums

    def sums_of(self, batches: Sequence[np.ndarray]) -> dict[str, int]:
        """What `take_sums` says if the file holds what was written: rows (n,) batch by batch."""
        sums = dict.fromkeys(self._columns, 0)
        with writing(self.path):
            for rows in batches:
                for name, column in self._columns.items():
                    for part in _runs(rows):
                        self._seek(name, int(rows[part][0]))
                        left = len(rows[part]) * column[0].nbytes
                        while left and (content := self._file.read(left)):
                            sums[name] = zlib.crc32(content, sums[name])
                            left -= len(content)
        return sums

    def _seek(self, name: str, row: int) -> None:
        self._file.seek(self._starts[f"vectors.{name}"] + row * self._columns[name][0].nbytes)

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


def _runs(rows: np.ndarray) -> Iterator[slice]:
    """Parts of ascending rows (n,) that follow on each other without a gap."""
    ends = [*np.flatnonzero(np.diff(rows) != 1) + 1, len(rows)]
    return map(slice, [0, *ends[:-1]], ends)


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


def parts_folder(out: Path) -> Path:
    """Where the parts of an embeddings file lie while it is made."""
    return out.with_name(out.name + ".parts")


def check_out(out: Path) -> None:
    """Refuse a name that no embeddings file can or should have.

    Raises:
        InputError: it is a folder, or ends as another kind of file does.
    """
    if out.is_dir():
        raise InputError(f"`out` is the folder '{out}'; a file was expected.")
    if out.suffix.lower() in _OTHERS:
        raise InputError(
            f"`out` is '{out}', but embeddings are written in safetensors' format, which is no "
            f"{out.suffix} file. Name it '{out.with_suffix('.safetensors')}'."
        )


def load_embeddings(path: str | Path) -> Embeddings:
    """Read an embeddings file.

    Raises:
        InputError: it is missing, damaged, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"There is no embeddings file '{path}'.{path_meant(path, Path.is_file)} `vireid embed` "
            "writes one."
        )
    try:
        with safe_open(path, framework="np") as file:
            about = _read_about((file.metadata() or {}).get("vireid", "{}"), path)
            arrays = {name: file.get_tensor(name) for name in _shapes(file, about, path)}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"'{path}' is not a whole embeddings file: {safetensors_fault(path, error)}. Write it "
            "again with `vireid embed`."
        ) from error
    embeddings = Embeddings(
        vectors={name: arrays[f"vectors.{name}"] for name in about["order"]},
        paths=_paths(arrays["paths"], arrays["path_ends"], path),
        pids=arrays["pids"],
        camids=arrays["camids"],
        modality=arrays["modality"],
        times=arrays["times"],
        weights_hash=about["weights_hash"],
        preprocessing=dict(about["preprocessing"]),
        base=about.get("base", ""),
        root=about.get("root", ""),
    )
    try:
        embeddings.check_values()
    except InputError as error:
        raise InputError(f"'{path}': {error}") from error
    return embeddings


class _Always(TypedDict):
    kind: str
    weights_hash: str
    preprocessing: Preprocessing
    order: list[str]


class _About(_Always, total=False):
    """What the header says of the arrays; files of earlier commits have no `base` and `root`."""

    base: str
    root: str


def _read_about(text: str, path: Path) -> _About:
    where = f"'{path}': the header"
    about = convert(dict[str, Any], parse_json(text, where), where)
    if about.get("kind") != KIND:
        raise InputError(
            f"'{path}' is not an embeddings file of vireid (its kind is "
            f"{shown(about.get('kind'))}). Write one with `vireid embed`."
        )
    if not convert(_About, about, where)["order"]:
        raise InputError(f"'{path}' names no vectors in its `order`. Write it again.")
    return about  # as it was written: lists stay lists


def _shapes(file: Any, about: _About, path: Path) -> dict[str, tuple[str, list[int]]]:
    """Type and shape of each array of the format, where all are there and fit each other."""
    there = set(file.keys())
    vectors = [f"vectors.{name}" for name in about["order"]]
    columns = {"pids": "I64", "camids": "I64", "modality": "I64", "path_ends": "I64",
               "times": "F64", "paths": "U8"}  # fmt: skip
    if missing := [name for name in (*columns, *vectors) if name not in there]:
        raise InputError(
            f"'{path}' is not a whole embeddings file: it has no {shown(missing[0])}. Write it "
            "again with `vireid embed`."
        )
    slices = {name: file.get_slice(name) for name in (*columns, *vectors)}
    found = {name: (one.get_dtype(), one.get_shape()) for name, one in slices.items()}
    count = next(iter(found["path_ends"][1]), 0)
    for name, (kind, shape) in found.items():
        if name in vectors:
            fits = kind in ("F16", "F32") and len(shape) == 2 and shape[0] == count and shape[1] > 0
        else:
            fits = kind == columns[name] and len(shape) == 1
            fits = fits and (name == "paths" or shape[0] == count)
        if not fits:
            raise InputError(
                f"'{path}' is not an embeddings file: its {shown(name)} has the type {kind} and "
                f"the shape {shape} for {count} images. Write it again with `vireid embed`."
            )
    return found


def _paths(content: np.ndarray, ends: np.ndarray, path: Path) -> list[str]:
    """The paths that `content` holds one after the other."""
    whole = np.concatenate([[0], ends])
    if np.any(np.diff(whole) < 0) or whole[-1] != len(content):
        raise InputError(
            f"'{path}' is damaged: its paths don't end where it says. Write it again with `vireid "
            "embed`."
        )
    text, places = content.tobytes(), whole.tolist()
    return [
        text[start:end].decode("utf-8", "surrogateescape")
        for start, end in itertools.pairwise(places)
    ]
