"""Networks for programs without vireid: ONNX or PyTorch's exported programs, one for a modality.

Each takes images (B, H, W, 3) uint8 of its size, any B, and returns the named test embeddings
(B, D) float32, rows of length 1; normalisation is inside.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vireid.data.augment import normalise
from vireid.embed.embedder import Embedder
from vireid.extras import require
from vireid.files import atomic_write
from vireid.methods import Method
from vireid.types import InputError, Modality
from vireid.weights import training_facts

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
FORMAT = 1
_KEY = "vireid"  # of our facts in the file's metadata


class OneModality(nn.Module):
    """The test pass of a method on raw images of one modality."""

    def __init__(self, method: Method, modality: Modality) -> None:
        super().__init__()
        self.method, self.modality = method, modality

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Images (B, H, W, 3) uint8 → vectors (B, D) float32 in the order of `test_embeddings`."""
        rows = image.shape[0] if self.modality is Modality.VISIBLE else 0
        x = normalise(image, *self.method.input_statistics)
        vectors = self.method.embed(x, rows)
        return tuple(vectors[name].float() for name in self.method.test_embeddings)


def export(
    embedder: Embedder, folder: str | Path, *, format: str = "onnx", licence: str = "not stated"
) -> list[Path]:
    """Write a network for each modality: visible.onnx and infrared.onnx, or .pt2.

    Args:
        embedder: on the CPU.
        folder: made if missing.
        format: "onnx" or "torch" (`torch.export`).
        licence: of the weights, for the file's metadata.

    Raises:
        InputError: the method's network can't be exported.
        MissingExtra: for "onnx" without vireid[export].
    """
    if format == "onnx":
        require("export")
    written = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for modality in Modality:
        program = _program(embedder, modality)
        facts = _facts(embedder, modality, licence)
        path = Path(folder) / f"{modality.word}{ENDINGS[format]}"
        content = _onnx(program, facts) if format == "onnx" else _torch(program, facts)
        with atomic_write(path) as file:
            file.write(content)
        written.append(path)
    return written


def _facts(embedder: Embedder, modality: Modality, licence: str) -> dict[str, Any]:
    method, of_weights = embedder.method, embedder.metadata
    kept = ("recipe", "epoch", "chosen", "seed", "commit")
    return {
        "format": FORMAT,
        "modality": modality.word,
        "weights_hash": embedder.weights_hash,
        "method": method.name,
        "arch": method.architecture,
        "size": list(embedder.size),
        "mean": list(method.input_statistics[0]),
        "std": list(method.input_statistics[1]),
        "embeddings": list(method.test_embeddings),
        "default_embedding": embedder.default_embedding,
        "licence": licence,
        **training_facts(of_weights),  # who was trained on is known through this door too
        **{key: of_weights[key] for key in kept if of_weights.get(key) is not None},
    }


def _program(embedder: Embedder, modality: Modality) -> torch.export.ExportedProgram:
    network = OneModality(embedder.method, modality).eval()
    example = torch.zeros((2, *embedder.size, 3), dtype=torch.uint8)
    try:
        with torch.no_grad():
            return torch.export.export(
                network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
    except Exception as error:  # whatever a user's method does that can't be traced
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"The method '{embedder.method.name}' can't be exported with a free batch size: "
            f"{first[:300]}. Its `embed` must not look at values, nor take `len` of a tensor."
        ) from error


def _onnx(program: torch.export.ExportedProgram, facts: Mapping[str, Any]) -> bytes:
    import onnx

    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program, (), dynamo=True, verbose=False, input_names=["image"],
                output_names=list(facts["embeddings"]),
            )  # fmt: skip
    finally:
        quiet.setLevel(before)
    assert made is not None
    model = made.model_proto
    onnx.helper.set_model_props(model, {_KEY: json.dumps(facts, sort_keys=True)})
    return model.SerializeToString()


def _torch(program: torch.export.ExportedProgram, facts: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    extra = {_KEY: json.dumps(facts, sort_keys=True)}
    torch.export.save(program, buffer, extra_files=extra)
    return buffer.getvalue()
