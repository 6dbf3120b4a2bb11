"""Embedders from files of weights."""

from __future__ import annotations

from pathlib import Path

import torch

from vireid.embed.embedder import Embedder
from vireid.weights import load_weights


def load(
    weights: str | Path,
    device: str | torch.device = "auto",
    *,
    method: str | None = None,
    precision: str = "auto",
    compiled: bool | None = None,
) -> Embedder:
    """An embedder from a run's folder, a weights file, or "synth" (shipped).

    The text "synth" is always the shipped weights; a folder of that name is "./synth".

    Args:
        method: "my.py:MyMethod", needed for weights of a method of your own: no code is run
            because a weights file names it.

    Raises:
        InputError: missing, damaged or mismatched weights, or a `method` that is needed.
    """
    built, metadata = load_weights(weights, method)
    return Embedder(built, metadata, device=device, precision=precision, compiled=compiled)


def import_published(
    path: str | Path, device: str | torch.device = "auto", *, method: str | None = None
) -> Embedder:
    """An embedder from a checkpoint of the published MCLNet, AGW or DDAG code.

    The file is opened without running code in it. The epoch that it says is kept.

    Args:
        method: what reports call these weights; see `vireid.methods.published.import_published`.

    Raises:
        InputError: it is not such a checkpoint, or needs more than tensors and numbers.
    """
    from vireid.methods.published import read_published

    published = read_published(path)
    facts = {"epoch": published.epoch} if published.epoch >= 0 else {}
    return Embedder(published.build(method).eval(), facts, device=device)
