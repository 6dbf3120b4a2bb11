"""The weights in one of a run's checkpoints, to be tested or written as a weights file."""

from __future__ import annotations

from pathlib import Path

import torch

from vireid.embed import Embedder
from vireid.models.whereabouts import check_has_epochs
from vireid.runtime.checkpoints import (
    NAME,
    list_checkpoints,
    position,
    run_of,
    tell_unfinished,
)
from vireid.training.checkpoint import load_checkpoint
from vireid.types import InputError
from vireid.weights import build_from, read_weights


def load_epoch(
    source: str | Path,
    epoch: int | None = None,
    *,
    method: str | None = None,
    arch: str | None = None,
    device: str | torch.device = "auto",
    precision: str = "auto",
) -> Embedder:
    """An embedder with the weights of one of a run's checkpoints; its `save` writes them.

        vireid.training.load_epoch("runs/agw", 20).save("agw-20.safetensors")

    Args:
        source: a run's folder, or a file in its folder `checkpoints`.
        epoch: of a folder, the checkpoint after so many epochs.
        method, device, precision: as in `vireid.load`.

    Raises:
        InputError: there is no such checkpoint, it is damaged, or the run has no weights yet,
            from which the facts about the network are taken.
    """
    path = find_checkpoint(source, epoch)
    if path is None:
        raise InputError(
            f"'{source}' is no checkpoint of a run. Name a file in RUN/checkpoints, or a run's "
            "folder and an `epoch`."
        )
    state = load_checkpoint(path)
    metadata = read_weights(run_of(path))[1]
    done, step = position(path)
    inside = f" and step {step} of the next" if step else ""
    for name in ("weights_hash", "format", "facts_hash"):  # of that file
        metadata.pop(name, None)
    if state.get("identities"):
        metadata["identities"] = state["identities"]
    metadata |= {
        "epoch": done, "chosen": f"hand: the checkpoint after epoch {done}{inside}"
    }  # fmt: skip
    built = build_from(state["method"], metadata, f"the checkpoint '{path}'", method, arch)
    embedder = Embedder(built, metadata, device=device, precision=precision)
    if embedder.world.first:
        tell_unfinished(path)
    return embedder


def find_checkpoint(source: str | Path, epoch: int | None = None) -> Path | None:
    """The checkpoint that a run's folder and an epoch name, or that `source` is itself; None
    where it is something else and no epoch is named.

    Raises:
        InputError: the run has no checkpoint of this epoch, or `source` is no run's folder.
    """
    path = Path(source)
    if epoch is None:
        return path if path.is_file() and NAME.fullmatch(path.name) else None
    check_has_epochs(source, epoch)
    places = {position(file): file for file in list_checkpoints(path / "checkpoints")}
    if (epoch, 0) in places:
        return places[epoch, 0]
    there = [str(done) for done, step in sorted(places) if step == 0]
    if len(there) > 6:
        there = [*there[:3], "…", *there[-3:]]
    raise InputError(
        f"'{path / 'checkpoints'}' holds no checkpoint after epoch {epoch}; "
        f"{'those there are after ' + ', '.join(there) if there else 'there is none of any'}. A "
        "run keeps its last ones, as many as its option `keep` says."
    )
