"""Weights files: safetensors in float32, with the facts about the weights in the header."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from vireid.config import from_plain, to_plain
from vireid.data.augment import MEAN, STD
from vireid.files import atomic_write
from vireid.methods import Method, Sizes, build_method
from vireid.methods.options import MethodOptions
from vireid.models.foreign import describe_file, kind_of, misfits
from vireid.models.options import ModelOptions
from vireid.models.pretrained import shipped_weights
from vireid.types import InputError

log = logging.getLogger(__name__)
WEIGHTS = "weights.safetensors"  # in a run's folder
WEIGHTS_EMA = "weights_ema.safetensors"  # beside them, where the recipe averages
FORMAT = 1


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
    method_name: str,
    model: ModelOptions | Mapping[str, Any],
    sizes: Sizes,
    method_options: MethodOptions | Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The part of a weights file's metadata from which the method is built again.

    Args:
        method_options: as an object or as plain values; None for the defaults.
    """
    return {
        "method": method_name,
        "model": to_plain(model),
        "sizes": to_plain(sizes),
        "method_options": to_plain(method_options or {}),
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
        metadata: `method_metadata` and more facts: size, dataset, trial, part,
            epoch, chosen, seed, versions, commit.
    """
    state = portable(method) if isinstance(method, torch.nn.Module) else dict(method)
    facts = {**to_plain(dict(metadata)), "weights_hash": weights_hash(state), "format": FORMAT}
    content = safetensors_bytes(state, {"vireid": json.dumps(facts, sort_keys=True)})
    with atomic_write(path) as file:
        file.write(content)
    return facts["weights_hash"]


def is_shipped(source: str | Path) -> bool:
    """Whether `source` is the word `synth`, whatever lies beside the command.

    A folder of that name is "./synth", or a `Path`.
    """
    return isinstance(source, str) and source.strip().lower() == "synth"


def find_weights(source: str | Path) -> Path:
    """The weights file that a run's folder, a file's name or the word `synth` stands for.

    Raises:
        InputError: there is none.
    """
    if is_shipped(source):
        shipped = shipped_weights()
        if shipped is None:
            raise InputError(
                "The weights 'synth' aren't in this installation. Name a run's folder "
                "or a .safetensors file; `vireid train` writes one."
            )
        return shipped
    path = Path(source)
    if path.is_dir():
        path = path / WEIGHTS
        if not path.is_file():
            raise InputError(
                f"'{source}' holds no {WEIGHTS}: it is not a run's folder, or its first epoch is "
                "not finished. Name a finished run or a .safetensors file."
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
        what = describe_file(path) or (
            f"is not a whole safetensors file: {error}. Train or copy it again."
        )
        raise InputError(f"'{path}' {what}") from error
    if "vireid" not in header:
        published = kind_of(tensors) == "published"
        raise InputError(
            f"'{path}' was not written by vireid: its header names no method. "
            + (
                f"It is a checkpoint of a published code; `vireid import-weights {path}` makes "
                "weights of it."
                if published
                else "Give a run's folder or its weights.safetensors."
            )
        )
    metadata = json.loads(header["vireid"])
    if weights_hash(tensors) != metadata.get("weights_hash"):
        raise InputError(
            f"'{path}' is damaged: the hash of its tensors is not the one in its header. Copy or "
            "train it again."
        )
    return tensors, metadata


def load_weights(source: str | Path) -> tuple[Method, dict[str, Any]]:
    """Build the method that a weights file describes, with exactly its weights, in eval mode.

    Args:
        source: a run's folder, a .safetensors file, or the word `synth`.

    Returns:
        The method on the CPU and the file's metadata.

    Raises:
        InputError: missing, damaged, foreign or mismatched weights; never an untrained network.
    """
    tensors, metadata = read_weights(source)
    return build_from(tensors, metadata, f"'{find_weights(source)}'"), metadata


def build_from(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], source: str) -> Method:
    """The method that `metadata` describes with the weights `tensors`, on the CPU, in eval mode.

    Args:
        source: names them in messages.

    Raises:
        InputError: the tensors are of another network.
    """
    # Weights from before networks had a mean and a deviation of their own took ImageNet's.
    network = {"input_mean": MEAN, "input_std": STD, **metadata["model"]}
    model = from_plain(ModelOptions, network, f"the network in {source}")
    own = {"method": metadata["method"], "network": model.arch}
    for what, name in own.items():
        if ".py:" in name:
            log.warning(
                "%s was trained with the %s in %s; that file is run now.", source, what, name
            )
    method = build_method(
        metadata["method"],
        dataclasses.replace(model, pretrained="none"),
        from_plain(Sizes, metadata["sizes"], f"the sizes in {source}"),
        metadata["method_options"],
    )
    load_strictly(method, tensors, source)
    return method.eval()


def load_strictly(method: Method, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into `method`; every name and shape has to fit.

    Raises:
        InputError: names the tensors that are missing, unknown or of another shape.
    """
    own = method.state_dict()
    problems = misfits({name: tensor.shape for name, tensor in own.items()}, tensors)
    if problems:
        raise InputError(
            f"The weights in {source} are of another network than '{method.name}' as configured: "
            f"tensors {problems}. Use the method, architecture and options they were trained with."
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
