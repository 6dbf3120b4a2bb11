"""Embedders from files of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vireid.config import convert
from vireid.data.identities import TrainedOn
from vireid.data.registry import facts_of, load_dataset, resolve_dataset
from vireid.embed.embedder import Embedder
from vireid.embed.onnx_embedder import OnnxEmbedder
from vireid.files import parse_json
from vireid.models.whereabouts import is_exported, on_disk
from vireid.runtime.checkpoints import tell_unfinished
from vireid.types import InputError
from vireid.weights import Trained, load_weights, training_facts


def load(
    weights: str | Path,
    device: str | torch.device = "auto",
    *,
    method: str | None = None,
    arch: str | None = None,
    precision: str = "auto",
    compiled: bool | None = None,
) -> Embedder:
    """An embedder from a run's folder, a weights file, an exported .onnx network or the folder of
    both modalities' (on the CPU), "synth" (shipped), or "hf://USER/NAME", the weights.safetensors
    of a repository of the Hugging Face Hub ("hf://USER/NAME@REVISION" for a branch, tag or commit).

    The text "synth" is always the shipped weights; a folder of that name is "./synth".

    Args:
        method: "my.py:MyMethod", needed for weights of a method of your own: no code is run
            because a weights file names it.
        arch: "my.py:MyNet", likewise of a backbone of your own.

    Raises:
        InputError: missing, damaged or mismatched weights, or a `method` that is needed.
    """
    if on_disk(weights) and is_exported(weights):
        return OnnxEmbedder(weights)
    built, metadata = load_weights(weights, method, arch)
    embedder = Embedder(built, metadata, device=device, precision=precision, compiled=compiled)
    if embedder.world.first:
        tell_unfinished(weights)
    return embedder


def import_published(
    path: str | Path,
    device: str | torch.device = "auto",
    *,
    method: str | None = None,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    trial: int | None = None,
) -> Embedder:
    """An embedder from a checkpoint of the published code of a method.

    The file is opened without running code in it. The epoch that it says is kept.

    Args:
        method: what reports call these weights; see `vireid.methods.published.import_published`.
        dataset, data_root, trial: what the checkpoint was trained on, which the published codes
            don't note; what `export_published` wrote knows it. The weights then know their
            training identities, and are not tested on them. A data set with several splits needs
            `trial`.

    Raises:
        InputError: it is not such a checkpoint, needs more than tensors and numbers, or has
            another number of identities than the data set.
    """
    from vireid.methods.published import read_published

    published = read_published(path)
    built = published.build(method).eval()
    facts: dict[str, Any] = {} if published.epoch < 0 else {"epoch": published.epoch}
    if published.facts:
        where = f"'{path}': the facts"
        facts |= training_facts(convert(Trained, parse_json(published.facts, where), where))
    if dataset is not None:
        facts |= _trained_with(str(path), published.num_pids, dataset, data_root, trial)
    elif data_root is not None or trial is not None:
        raise InputError("`data_root` and `trial` say what was trained on; give `dataset` too.")
    return Embedder(built, facts, device=device)


def _trained_with(
    path: str, num_pids: int, dataset: str, root: str | Path | None, trial: int | None
) -> dict[str, Any]:
    """What a weights file says of a training on a data set."""
    name = resolve_dataset(dataset)
    facts = facts_of(name)
    if trial is None and facts.splits > 1:
        raise InputError(
            f"{facts.title} has {facts.splits} splits, each with its own model. Set `trial` to the "
            f"one that '{path}' was trained on."
        )
    data = load_dataset(name, root, trial=trial or 1)
    identities = TrainedOn.of(data, "train")
    if len(identities.pids) != num_pids:
        raise InputError(
            f"'{path}' was trained on {num_pids:,} identities, but {facts.title} in '{data.root}' "
            f"has {len(identities.pids):,} to train on. Name the data set that it was trained on, "
            "or leave `dataset` out."
        )
    return {
        "dataset": name,
        "data_root": str(Path(root).expanduser().absolute() if root else data.root.absolute()),
        "trial": trial or 1,
        "part": "train",
        "synthetic": identities.synthetic,
        "identities": [identities.plain()],
    }
