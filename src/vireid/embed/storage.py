"""The embeddings file: one safetensors file that any language reads without running code.

Arrays: `vectors.NAME` (N, D) float16 or float32, `pids`, `camids`, `modality` (N,) int64,
`times` (N,) float64, `paths` (bytes of all paths as UTF-8, one after the other) and `path_ends`
(N,) int64. The header's metadata hold one entry, `vireid`: the kind of file, weights_hash and
preprocessing as JSON. (safetensors writes several entries in an order that differs by chance, and
equal embeddings should be equal files.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vireid.files import sync_folder
from vireid.types import Embeddings, InputError

KIND = "vireid-embeddings-1"


def save_embeddings(path: str | Path, embeddings: Embeddings) -> None:
    """Write embeddings, atomically.

    Raises:
        InputError: the file can't be written.
    """
    encoded = [text.encode("utf-8", "surrogateescape") for text in embeddings.paths]
    arrays: dict[str, np.ndarray] = {
        "pids": np.asarray(embeddings.pids, np.int64),
        "camids": np.asarray(embeddings.camids, np.int64),
        "modality": np.asarray(embeddings.modality, np.int64),
        "times": np.asarray(embeddings.times, np.float64),
        "paths": np.frombuffer(b"".join(encoded), np.uint8),
        "path_ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
    }
    for name, vectors in embeddings.vectors.items():
        arrays[f"vectors.{name}"] = np.ascontiguousarray(vectors)
    about = {
        "kind": KIND,
        "weights_hash": embeddings.weights_hash,
        "preprocessing": embeddings.preprocessing,
        "order": list(embeddings.vectors),
    }
    with _replacing(Path(path)) as temporary:
        save_file(arrays, temporary, {"vireid": json.dumps(about)})


def load_embeddings(path: str | Path) -> Embeddings:
    """Read an embeddings file.

    Raises:
        InputError: it is missing, damaged, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no embeddings file '{path}'. `vireid embed` makes one.")
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {}).get("vireid", "{}"))
            if about.get("kind") != KIND:
                raise InputError(
                    f"'{path}' is no embeddings file of vireid (its kind is "
                    f"{about.get('kind')!r}). Make one with `vireid embed`."
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"'{path}' is not a whole embeddings file: {error}. Make it again with `vireid embed`."
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
    )


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary file's name beside `target`; the file becomes `target` if the block succeeds.
    (For writers that want a name and stream; else `vireid.files.atomic_write`.)"""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"The file '{target}' could not be written: {error}. What was there before is "
            "untouched. Free some space or name a folder you may write to."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
