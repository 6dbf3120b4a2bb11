"""An embedder whose network is ONNX, run by ONNX Runtime on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from vireid.config import convert
from vireid.console import first_line, path_meant
from vireid.cores import sensible_threads
from vireid.embed.colours import ColourCheck
from vireid.embed.embedder import Embedder
from vireid.embed.forward import with_mirrored
from vireid.extras import require
from vireid.files import parse_json
from vireid.runtime.ranks import join
from vireid.types import InputError, Modality, Side


class _Facts(TypedDict):
    """What is read of the metadata that `vireid.embed.export` writes."""

    modality: Literal["visible", "infrared"]
    weights_hash: str
    method: str
    size: tuple[Side, Side]
    mean: list[float]
    std: list[float]
    embeddings: list[str]
    default_embedding: str


class OnnxEmbedder(Embedder):
    """An `Embedder` of one or both modalities from files that `vireid.embed.export` wrote."""

    def __init__(self, source: str | Path) -> None:
        """
        Args:
            source: an .onnx file, or the folder of both.

        Raises:
            InputError: missing, damaged, or not written by vireid; two files of two networks.
            MissingExtra: ONNX Runtime isn't installed.
        """
        require("export")
        path = Path(source)
        files = [path / f"{m.word}.onnx" for m in Modality] if path.is_dir() else [path]
        self.world = join("cpu")
        self.device = self.world.device
        torch.set_num_threads(sensible_threads(self.world.size))
        sessions, facts_of = {}, []
        for file in files:
            session, facts = _open(file)
            sessions[Modality.parse(facts["modality"])] = session
            facts_of.append({k: v for k, v in facts.items() if k != "modality"})
        if any(facts != facts_of[0] for facts in facts_of) or len(sessions) != len(files):
            raise InputError(f"The networks in '{path}' are not the two of one export.")
        facts = facts_of[0]
        self.metadata = facts
        self.method = _Named(facts["method"], str(facts.get("arch")))  # type: ignore[assignment]
        self.precision, self._exact = "float32", None
        height, width = facts["size"]
        self.size = (int(height), int(width))
        self.test_embeddings = tuple(facts["embeddings"])
        self.default_embedding = facts["default_embedding"]
        self.statistics = (tuple(facts["mean"]), tuple(facts["std"]))
        self._hash, self._hashing = facts["weights_hash"], threading.Lock()
        self._colours = ColourCheck()
        self.forward = _OnnxForward(sessions, self.test_embeddings, path)  # type: ignore[assignment]

    def save(self, path: str | Path) -> None:
        """Refused: an exported network is not weights."""
        raise InputError("An ONNX network can't be written as weights; take those it was made of.")


class _Named(NamedTuple):
    """What reports say of the method whose network was exported."""

    name: str
    architecture: str


class _OnnxForward:
    """Calls sessions as `Forward` calls a method."""

    def __init__(self, sessions: Mapping[Modality, Any], names: tuple[str, ...], path: Path):
        self.sessions, self.names, self.path = sessions, names, path

    def expect(self, total: int) -> None:
        """Nothing is compiled."""

    def __call__(
        self, image: Tensor, kind: int, flip: bool = False, mean: bool = False
    ) -> dict[str, Tensor]:
        session = self.sessions.get(Modality(kind))
        if session is None:
            own = next(iter(self.sessions)).word
            raise InputError(
                f"'{self.path}' is the network of {own} images; {Modality(kind).word} ones were "
                "given. Take the file of that modality, or the folder of both."
            )
        return with_mirrored(lambda rows: self._run(session, rows), image, flip, mean)

    def _run(self, session: Any, image: Tensor) -> dict[str, Tensor]:
        try:
            found = session.run(list(self.names), {"image": np.ascontiguousarray(image.numpy())})
        except Exception as error:  # see `_open`
            raise InputError(
                f"The network in '{self.path}' can't be run on its images: {first_line(error)}. "
                "Export it again."
            ) from error
        for name, value in zip(self.names, found):
            if value.dtype != np.float32 or value.ndim != 2 or len(value) != len(image):
                raise InputError(
                    f"The network in '{self.path}' makes no vectors: of {len(image)} images, its "
                    f"output '{name}' is {value.dtype} of shape {value.shape}. Export it again."
                )
        return {name: torch.from_numpy(value) for name, value in zip(self.names, found)}


def _open(path: Path) -> tuple[Any, dict[str, Any]]:
    import onnxruntime

    if not path.is_file():
        raise InputError(
            f"There is no network '{path}'.{path_meant(path, Path.is_file)} "
            "`vireid export-weights` writes one."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = sensible_threads(1)
    options.log_severity_level = 4
    try:
        content = path.read_bytes()  # from bytes, a file can't name others that hold its tensors
        # Its second try, with the same provider, would print the first one's failure.
        session = onnxruntime.InferenceSession(
            content, options, ["CPUExecutionProvider"], enable_fallback=0
        )
    except OSError as error:
        raise InputError(f"'{path}' can't be read: {error.strerror or error}.") from error
    except Exception as error:  # ONNX Runtime has its own exceptions for every fault of a file
        raise InputError(
            f"'{path}' can't be opened as an ONNX network: it is damaged or made for a newer ONNX "
            "Runtime. Export it again."
        ) from error
    metadata = f"'{path}': the metadata"
    try:
        text = session.get_modelmeta().custom_metadata_map.get("vireid", "null")
        facts: dict[str, Any] = parse_json(text, metadata)
        convert(_Facts, facts, metadata)
        ours = facts["default_embedding"] in facts["embeddings"]
        shape = [(i.name, i.type, list(i.shape[1:])) for i in session.get_inputs()]
        outputs = [output.name for output in session.get_outputs()]
    except (InputError, UnicodeDecodeError):  # ONNX Runtime checks no name's encoding
        ours = False
    if not ours or shape != [("image", "tensor(uint8)", [*facts["size"], 3])]:
        raise InputError(
            f"'{path}' was not written by `vireid export-weights`: its metadata don't say which "
            "images it takes."
        )
    if outputs != facts["embeddings"]:
        raise InputError(f"'{path}' has other outputs than its metadata name. Export it again.")
    return session, facts
