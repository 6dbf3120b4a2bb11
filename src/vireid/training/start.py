"""The network that a run started from, built again."""

from __future__ import annotations

from pathlib import Path

import torch

from vireid.embed import Embedder
from vireid.files import file_hash, read_json
from vireid.methods import Sizes, build_method
from vireid.models.pretrained import locate
from vireid.training import record
from vireid.training.options import TrainOptions
from vireid.types import InputError
from vireid.weights import read_weights


def rebuild_start(
    run: Path, *, method: str | None = None, arch: str | None = None, device: str = "cpu"
) -> Embedder:
    """The network as it was before the first step: from the run's seed and its pretrained weights.

    Raises:
        InputError: the run keeps no hash of its start, or the file that it started from is gone or
            has changed.
    """
    known = record.read(run)
    if known is None or "start_hash" not in known:
        raise InputError(
            f"The run '{run}' keeps no hash of its start, so the start can't be rebuilt: it is of "
            "an earlier version."
        )
    options = TrainOptions.read(
        read_json(run / "config.json"), f"'{run}'", {"method": method, "arch": arch}
    )
    found = locate(options.model.pretrained, options.model.arch)
    there = file_hash(found[1]) if found else None
    if there != known["start_hash"]:
        start = options.model.pretrained
        instead = (
            "Use the version of vireid that the run began with."
            if start == "synth"
            else "Put the file back."
        )
        raise InputError(
            f"The run '{run}' started from other weights than '{start}' names now (hash "
            f"{str(known['start_hash'])[:12]}, now {str(there)[:12]}), so its start can't be "
            f"rebuilt. {instead}"
        )
    _, metadata = read_weights(run)
    sizes = Sizes(**metadata["sizes"])
    torch.manual_seed(options.seed)  # as the run did
    network = build_method(options.method, options.model, sizes, options.method_options)
    return Embedder(network, {"size": list(options.size)}, device=device)
