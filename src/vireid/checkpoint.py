"""What a run leaves on the disk: whole checkpoints to go on from, and weights to use.

A checkpoint is `checkpoints/epoch-0007-step-000000.pt`, a file of `torch.save` with its
SHA-256 beside it (in the form that `sha256sum -c` reads). The sum is written first: a file
whose sum fits is whole, whatever happened while it was written. Files are opened with
`weights_only=True`, so nothing in them is run.

Weights are one safetensors file in float32 with the facts about them in its header.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

import vireid
from vireid.config import from_plain, to_plain
from vireid.files import atomic_write, file_hash, read_json, write_text
from vireid.methods import Method, Sizes, build_method
from vireid.models.options import ModelOptions
from vireid.types import InputError

log = logging.getLogger(__name__)
NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.pt")
WEIGHTS = "weights.safetensors"
FORMAT = 1


def checkpoint_name(epoch: int, step: int) -> str:
    """File name of the state before `step` of `epoch` (both from 0)."""
    return f"epoch-{epoch:04d}-step-{step:06d}.pt"


def list_checkpoints(folder: str | Path) -> list[Path]:
    """Checkpoints in `folder`, newest first."""
    found = [
        (tuple(map(int, match.groups())), path)
        for path in Path(folder).glob("*.pt")
        if (match := NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def save_checkpoint(
    folder: str | Path, state: Mapping[str, Any], *, epoch: int, step: int = 0, keep: int = 2
) -> Path:
    """Write `state` as the checkpoint before `step` of `epoch`, and drop all but the last `keep`.

    The older ones go only after the new one is on the disk.

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
    """
    notes: list[str] = []
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            return _load_checkpoint(path), path, notes
        except InputError as error:
            notes.append(str(error))
    if notes:
        raise InputError(
            f"No checkpoint in '{folder}' is whole. {' '.join(notes)} Start the run anew."
        )
    raise InputError(
        f"There is no checkpoint in '{folder}'. A run writes its first one at the end of its first "
        "epoch; start it anew, or name the folder of another run."
    )


class BackgroundWriter:
    """Writes files in one background thread, in order, so that training goes on meanwhile. A
    failure is raised at one of the next calls."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="vireid-save")
        self._pending: list[Future[Any]] = []

    def submit(self, write: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Let `write(*args, **kwargs)` happen soon; at most two wait in memory."""
        while len(self._pending) >= 2:
            self._pending.pop(0).result()
        self._pending.append(self._pool.submit(write, *args, **kwargs))

    def finish(self) -> None:
        """Wait until everything is on the disk."""
        while self._pending:
            self._pending.pop(0).result()

    def close(self) -> None:
        """End the thread, after what it has to write."""
        self._pool.shutdown(wait=True)


def _load_checkpoint(path: Path) -> dict[str, Any]:
    if not _is_whole(path):
        raise InputError(f"The checkpoint '{path}' is damaged: its checksum lacks or doesn't fit.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state.get("format") != FORMAT:
        raise InputError(
            f"The checkpoint '{path}' has format {state.get('format')}; this version "
            f"of vireid ({vireid.__version__}) reads format {FORMAT}."
        )
    return state


def _is_whole(path: Path) -> bool:
    """Whether a checkpoint has the checksum beside it."""
    try:
        return file_hash(path) == _sum_file(path).read_text(encoding="utf-8").split()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        return False


def _sum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of `tensors`, as 64 hexadecimal digits.

    The same weights have the same hash on every machine and in every file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def portable(method: Method) -> dict[str, Tensor]:
    """The state of `method` on the CPU, contiguous, floating values in float32."""
    state = {}
    for name, tensor in method.state_dict().items():
        tensor = tensor.detach().to("cpu", copy=True)
        if tensor.is_floating_point():
            tensor = tensor.float()
        state[name] = tensor.contiguous()
    return state


def method_metadata(
    method_name: str, model: ModelOptions, sizes: Sizes, method_options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The part of a weights file's metadata from which the method is built again."""
    return {
        "method": method_name,
        "model": to_plain(model),
        "sizes": to_plain(sizes),
        "method_options": to_plain(dict(method_options or {})),
    }


def save_weights(
    path: str | Path,
    method: Method | Mapping[str, Tensor],
    metadata: Mapping[str, Any],
) -> str:
    """Write weights as safetensors, atomically, and return their hash.

    Args:
        path: file to write.
        method: the method, or its `portable` state.
        metadata: `method_metadata` and whatever else is known: size, dataset, trial, part,
            epoch, chosen, seed, versions, commit.
    """
    state = portable(method) if isinstance(method, torch.nn.Module) else dict(method)
    known = {**to_plain(dict(metadata)), "weights_hash": weights_hash(state), "format": FORMAT}
    content = safetensors_bytes(state, {"vireid": json.dumps(known, sort_keys=True)})
    with atomic_write(path) as file:
        file.write(content)
    return known["weights_hash"]


def find_weights(source: str | Path) -> Path:
    """The weights file that a run folder or a file name stands for.

    Raises:
        InputError: there is none.
    """
    path = Path(source)
    if path.is_dir():
        path = path / WEIGHTS
        if not path.is_file():
            raise InputError(
                f"'{source}' holds no {WEIGHTS}: it is no run's folder, or its first epoch was not "
                "finished. Name a finished run or a .safetensors file."
            )
    if not path.is_file():
        raise InputError(
            f"There are no weights '{source}'. Name a run's folder or a "
            ".safetensors file that vireid wrote."
        )
    return path


def read_weights(source: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a weights file, checked against its hash.

    Raises:
        InputError: missing, damaged, or not written by vireid.
    """
    path = find_weights(source)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"'{path}' is not a whole safetensors file: {error}. Train or copy it "
            "again; for a checkpoint of the published code use "
            "`vireid import-weights`."
        ) from error
    if "vireid" not in header:
        raise InputError(
            f"'{path}' was not written by vireid: its header doesn't say which method "
            "it belongs to. Give a run's folder or its weights.safetensors."
        )
    metadata = json.loads(header["vireid"])
    if weights_hash(tensors) != metadata.get("weights_hash"):
        raise InputError(
            f"'{path}' is damaged: its tensors don't have the hash that its header "
            "states. Copy or train it again."
        )
    return tensors, metadata


def load_weights(source: str | Path) -> tuple[Method, dict[str, Any]]:
    """Build the method that a weights file describes, with exactly its weights, in eval mode.

    Args:
        source: a run's folder or a .safetensors file.

    Returns:
        The method on the CPU and the file's metadata.

    Raises:
        InputError: missing, damaged, foreign or mismatched weights; never an untrained network.
    """
    tensors, metadata = read_weights(source)
    path = find_weights(source)
    model = from_plain(ModelOptions, metadata["model"], f"the network in '{path}'")
    if ":" in metadata["method"]:
        log.warning(
            "'%s' was trained with the method in %s; that file is run now.",
            path,
            metadata["method"],
        )
    method = build_method(
        metadata["method"],
        dataclasses.replace(model, pretrained="none"),
        from_plain(Sizes, metadata["sizes"], f"the sizes in '{path}'"),
        metadata["method_options"],
    )
    load_strictly(method, tensors, f"'{path}'")
    return method.eval(), metadata


def load_strictly(method: Method, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into `method`; every name and shape has to fit.

    Raises:
        InputError: which names lack, are too many, or have another shape.
    """
    own = method.state_dict()
    lacking = [name for name in own if name not in tensors]
    foreign = [name for name in tensors if name not in own]
    other = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in tensors and own[name].shape != tensors[name].shape
    ]
    problems = [
        f"{len(names)} {what} ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})"
        for what, names in (("missing", lacking), ("unknown", foreign), ("of another shape", other))
        if names
    ]
    if problems:
        raise InputError(
            f"The weights in {source} are of another network than '{method.name}' as configured: "
            f"tensors {'; '.join(problems)}. Use the method, architecture and options they were "
            "trained with."
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def describe_run(source: str | Path) -> dict[str, str]:
    """Facts about a run's folder or a weights file, as words for a table."""
    path = Path(source)
    facts: dict[str, str] = {}
    if path.is_dir():
        options = read_json(path / "config.json")
        try:
            facts |= {
                "method": options["method"],
                "data set": f"{options['dataset']} ({options['part']}, trial {options['trial']})",
                "recipe": f"{options['recipe']['name']}, {options['recipe']['epochs']} epochs",
                "seed": str(options["seed"]),
            }
        except (KeyError, TypeError) as error:
            raise InputError(
                f"'{path / 'config.json'}' is not the configuration of a run: it doesn't say its "
                f"{str(error.args[0]) if isinstance(error, KeyError) else 'options'}. Name a "
                "folder that `vireid train` wrote, or a data set's."
            ) from error
        newest = list_checkpoints(path / "checkpoints")
        facts["newest checkpoint"] = newest[0].name if newest else "none yet"
        if not (path / WEIGHTS).is_file():
            return facts
    tensors, metadata = read_weights(path)
    count = sum(tensor.numel() for tensor in tensors.values()) / 1e6
    plain = {"weights": f"{count:.1f} M values", "hash": metadata["weights_hash"]}
    known = ("method", "dataset", "trial", "part", "seed") if not facts else ()
    for name in (*known, "epoch", "chosen", "size", "commit"):
        if name in metadata:
            plain[name] = str(metadata[name])
    plain["architecture"] = str(metadata["model"].get("arch"))
    return facts | plain
