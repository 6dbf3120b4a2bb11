"""Embedders from files of weights."""

from __future__ import annotations

from pathlib import Path

import torch

from vireid.embed.embedder import Embedder
from vireid.embed.onnx_embedder import OnnxEmbedder, is_exported
from vireid.weights import is_shipped, load_weights


def load(
    weights: str | Path,
    device: str | torch.device = "auto",
    *,
    precision: str = "auto",
    compiled: bool | None = None,
) -> Embedder:
    """An embedder from a run's folder, a weights file, an exported .onnx network or the folder of
    both modalities' (on the CPU), or "synth" (shipped).

    The text "synth" is always the shipped weights; a folder of that name is "./synth".

    Raises:
        InputError: missing, damaged or mismatched weights.
    """
    if not is_shipped(weights) and is_exported(weights):
        return OnnxEmbedder(weights)
    method, metadata = load_weights(weights)
    return Embedder(method, metadata, device=device, precision=precision, compiled=compiled)


def import_published(path: str | Path, device: str | torch.device = "auto") -> Embedder:
    """An embedder from a checkpoint of the published code of a method.

    The file is opened without running code in it. The published baseline's network has the
    method `base`; one with non-local blocks is `mcl`, as MCLNet, AGW and CAJ write the
    same tensors.

    Raises:
        InputError: it is not such a checkpoint, or needs more than tensors and numbers.
    """
    from vireid.methods.published import import_published as read

    return Embedder(read(path).eval(), {}, device=device)
