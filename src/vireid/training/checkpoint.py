"""Checkpoints to resume from.

A checkpoint is `checkpoints/epoch-0007-step-000000.pt`, a file of `torch.save` with its
SHA-256 beside it (in the form that `sha256sum -c` reads). The sum is written first: a file
whose sum fits is whole, whatever happened while it was written. Files are opened with
`weights_only=True`, so nothing in them is run.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor

from vireid.config import convert
from vireid.console import count_text, path_meant
from vireid.data.identities import trained_on
from vireid.files import NoPermission, atomic_write, file_hash, permitted, read_json, write_text
from vireid.methods.published import read_published
from vireid.models.foreign import load_foreign
from vireid.models.hub import WEIGHTS
from vireid.runtime.checkpoints import (
    NAME,
    checkpoint_name,
    epochs_so_far,
    list_checkpoints,
    position,
)
from vireid.runtime.record import record_of
from vireid.training.options import check_config
from vireid.types import InputError, shown
from vireid.version import __version__
from vireid.weights import read_weights

FORMAT = 2
ERROR_LOG = "error.log"  # in a run's folder: the traceback of code of the user's own


class RankState(TypedDict):
    """What each rank has of its own: sums of its losses in this epoch, batch statistics, random
    numbers."""

    sums: dict[str, float]
    buffers: dict[str, Tensor]
    random: Tensor
    device_random: Tensor | None


class _State(TypedDict):
    """See `State`."""

    format: int
    config: dict[str, Any]
    versions: dict[str, str]
    method: dict[str, Tensor]
    optimisers: dict[str, dict[str, dict[str, Tensor]]]
    scaler: dict[str, Any]
    progress: dict[str, Any]
    ranks: list[RankState]


class State(_State, total=False):
    """What a checkpoint holds; `run_state` packs it, and checks what is in the inner ones."""

    identities: list[dict[str, Any]]
    average: dict[str, Tensor] | None


def _check_plain(value: Any, where: str, most: int = 10_000) -> None:
    """Raises InputError unless `value` is a tree of plain values, as JSON writes them: parts that
    are there many times would take for ever to go through."""
    left, seen = [value], 0
    while left:
        one, seen = left.pop(), seen + 1
        if isinstance(one, dict) and all(isinstance(key, str) for key in one):
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif not (one is None or isinstance(one, (bool, int, float, str))):
            raise InputError(f"{where} holds {shown(one)}, which is no plain value.")
        if seen > most:
            raise InputError(f"{where} holds more than {most} values.")


def save_checkpoint(
    folder: str | Path, state: Mapping[str, Any], *, epoch: int, step: int = 0, keep: int = 2
) -> Path:
    """Write `state` as the checkpoint before `step` of `epoch`, and drop all but the last `keep`.

    Older ones are removed only once the new one is on the disk.

    Args:
        folder: the run's `checkpoints` folder.
        state: plain values and tensors, as `torch.load(weights_only=True)` reads them.
        epoch, step: where training goes on from this state, both from 0.
        keep: checkpoints that stay.

    Raises:
        InputError: the folder cannot be written or the disk is full; what was there stays.
    """
    folder = Path(folder)
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getbuffer()
    target = folder / checkpoint_name(epoch, step)
    if target in list_checkpoints(folder) and _is_whole(target):
        return target  # a run that was stopped again before its next step
    sums = _sum_file(target)
    try:
        write_text(sums, f"{hashlib.sha256(content).hexdigest()}  {target.name}\n")
        with atomic_write(target) as file:
            file.write(content)
    except InputError:
        if sums.exists() and not target.exists():
            sums.unlink(missing_ok=True)
        raise
    for old in list_checkpoints(folder)[max(1, keep) :]:
        old.unlink(missing_ok=True)
        _sum_file(old).unlink(missing_ok=True)
    return target


def load_latest(folder: str | Path) -> tuple[dict[str, Any], Path, list[str]]:
    """The newest whole checkpoint.

    Returns:
        Its state, its path, and a sentence for every newer one that is damaged.

    Raises:
        InputError: there is no checkpoint, or none that is whole.
        NoPermission: the newest one may not be read; it may be whole, so no older one is taken.
    """
    notes: list[str] = []
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            return load_checkpoint(path), path, notes
        except NoPermission:
            raise
        except InputError as error:
            notes.append(str(error))
    if notes:
        raise InputError(
            f"No checkpoint in '{folder}' can be used; start a new run. {' '.join(notes)}"
        )
    raise InputError(
        f"There is no checkpoint in '{folder}'.{path_meant(folder)} A run writes its first one at "
        "the end of its first epoch; start a new run, or name another run's folder."
    )


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in one checkpoint.

    Raises:
        InputError: it is damaged, or of another version.
    """
    if not _is_whole(path):
        raise InputError(f"The checkpoint '{path}' is damaged: its checksum is missing or wrong.")
    where = f"The checkpoint '{path}'"
    state = load_foreign(path)
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise InputError(f"{where} holds no state of a run.")
    if state["format"] != FORMAT:
        raise InputError(
            f"{where} has format {state['format']}; vireid {__version__} reads format {FORMAT}. "
            "The version that wrote it can resume the run."
        )
    convert(State, state, where)
    _check_plain(state["config"], f"{where}: config")
    _check_plain(state.get("identities", []), f"{where}: identities", most=5_000_000)
    return state


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint has the checksum beside it.

    Raises:
        NoPermission: one of the files may not be read.
    """
    try:
        with permitted(path):
            return file_hash(path) == _sum_file(path).read_text(encoding="utf-8").split()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return False


def _sum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def describe_run(source: str | Path) -> dict[str, str]:
    """Facts about a run's folder, a checkpoint in it, a checkpoint of the published codes or a
    weights file, as text for a table.

    Raises:
        InputError: it is something else, or damaged.
    """
    path = Path(source)
    facts: dict[str, str] = {}
    if path.is_file() and path.suffix != ".safetensors":
        return _describe_checkpoint(path)
    if path.is_dir():
        facts = _describe_options(read_json(path / "config.json"), f"'{path / 'config.json'}'")
        facts["state"] = _state(path)
        newest = list_checkpoints(path / "checkpoints")
        facts["newest checkpoint"] = newest[0].name if newest else "none yet"
        if not (path / WEIGHTS).is_file():
            return facts
    tensors, metadata = read_weights(path)
    of_run = ("method", "dataset", "trial", "part", "seed") if not facts else ()
    facts |= {
        "weights": _count(tensors),
        "hash": metadata["weights_hash"],
        "hash as a start": file_hash(path / WEIGHTS if path.is_dir() else path),
        **_identities(metadata),
    }
    for name in (*of_run, "epoch", "chosen", "size", "trained_as"):
        if name in metadata:
            facts[name.replace("_", " ")] = str(metadata[name])
    kept = record_of(metadata) or {}
    for name in ("commit", "options_hash", "data_hash", "start_hash"):
        if value := kept.get(name) or metadata.get(name):
            facts[name.replace("_", " ")] = str(value)
    arch = kept.get("architecture") or metadata["model"].get("arch")
    return facts | {"architecture": str(arch)}


def describe_briefly(run: str | Path) -> dict[str, str]:
    """Facts about a run's folder that tell it from others, without its weights.

    Raises:
        InputError: it has no configuration of a run.
    """
    folder = Path(run)
    facts = _describe_options(read_json(folder / "config.json"), f"'{folder / 'config.json'}'")
    return {**facts, "state": _state(folder)}


def _is_trained(run: Path) -> bool:
    return (run / "summary.json").is_file() and (run / WEIGHTS).is_file()


def has_failed(run: Path) -> bool:
    """Whether code of the user's own ended a run, which hasn't gone on since. A trained run may
    fail in further epochs; a log from before its end says nothing."""
    log, summary = run / ERROR_LOG, run / "summary.json"
    if not log.is_file():
        return False
    return not _is_trained(run) or log.stat().st_mtime > summary.stat().st_mtime


def _state(run: Path) -> str:
    newest = list_checkpoints(run / "checkpoints")
    if has_failed(run):
        return f"failed ({ERROR_LOG}), {newest[0].stem if newest else 'no checkpoint yet'}"
    if so_far := epochs_so_far(run):  # also of a trained run that was given more epochs
        return so_far
    if _is_trained(run):
        return "trained"
    return newest[0].stem if newest else "no checkpoint yet"


def _identities(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Who was trained on, where that is known."""
    people = trained_on(metadata)
    if not people:
        return {}
    count, digest = len(people[0].pids), people[0].pids_hash[:16]
    counted = count_text(count, "identity", "identities")
    return {"trained on": f"{counted} (hash of their list {digest})"}


def _describe_options(config: Any, where: str) -> dict[str, str]:
    options = check_config(config, where)
    try:
        epochs = count_text(options["recipe"]["epochs"], "epoch", "epochs")
        return {
            "method": options["method"],
            "data set": f"{options['dataset']} (trial {options['trial']})",
            "recipe": f"{options['recipe']['name']}, {epochs}",
            "weights kept": options["select"],
            "seed": str(options["seed"]),
            "data folder": str(options["data_root"]),
            "started from": str(options["model"]["pretrained"]),
        }
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{where} is not the configuration of a run: it has no "
            f"{error.args[0] if isinstance(error, KeyError) else 'options'}. Name a folder "
            "that `vireid train` wrote, or a data set's."
        ) from error


def _describe_checkpoint(path: Path) -> dict[str, str]:
    if NAME.fullmatch(path.name):
        state, (epoch, step) = load_checkpoint(path), position(path)
        facts = _describe_options(state["config"], f"The checkpoint '{path}': config")
        facts |= {"after": f"epoch {epoch}" + (f", step {step} of the next" if step else "")}
        facts |= _identities(state)
        tensors = state["method"]
    else:
        published = read_published(path)
        facts = {
            "checkpoint of": "the published code",
            "network": f"{published.model_options.arch} with {published.network}",
            "training identities": str(published.num_pids),
            **({"epoch": str(published.epoch)} if published.epoch >= 0 else {}),
        }
        tensors = published.net
    return facts | {"weights": _count(tensors)}


def _count(tensors: Mapping[str, Tensor]) -> str:
    return f"{sum(tensor.numel() for tensor in tensors.values()) / 1e6:.1f} M values"
