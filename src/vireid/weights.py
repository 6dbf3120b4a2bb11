"""Weights files: safetensors in float32, with the facts about the weights in the header."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from safetensors import safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from vireid.config import convert, from_plain, to_plain
from vireid.console import quoted
from vireid.data.augment import MEAN, STD
from vireid.data.protocol import SyntheticSet
from vireid.files import atomic_write, parse_json
from vireid.methods import METHODS, Method, Sizes, build_method, resolve_method
from vireid.methods.options import MethodOptions
from vireid.models.foreign import kind_of, misfits
from vireid.models.hub import is_shipped
from vireid.models.options import ModelOptions
from vireid.models.pretrained import weights_file
from vireid.models.whereabouts import find_weights, reading_weights
from vireid.own_code import code_of, is_code
from vireid.types import InputError, Limits, Side, shown

FORMAT = 2
_READ = (1, FORMAT)  # the first one has no hash of its facts

Number = Annotated[int, Limits(0, 2**63 - 1)]


class Trained(TypedDict, total=False):
    """What is known of a training, by a weights file's facts or a run's config.json; there may be
    more."""

    dataset: str | None
    data_root: str | None
    camera_pattern: str | None
    intensity_range: str | None
    junk: list[str]
    sensor_cameras: bool
    trial: Annotated[int, Limits(1, 1000)]
    part: str
    identities: list[dict[str, Any]]
    synthetic: SyntheticSet | None
    trained_on: dict[str, SyntheticSet]
    seed: Number | None
    size: tuple[Side, Side]


class Facts(Trained):
    """What a weights file's header says of its weights: from the first four the method is built
    again."""

    method: str
    model: dict[str, Any]
    sizes: dict[str, Any]
    method_options: dict[str, Any]
    weights_hash: str
    format: int


class _MoreFacts(Facts, total=False):
    """Of format 2 `facts_hash`: see `facts_hash`."""

    facts_hash: str
    default_embedding: str
    recipe: str | None
    epoch: Number | None
    chosen: str
    commit: str | None
    versions: dict[str, str]


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of `tensors`, as 64 hexadecimal digits.

    The same weights have the same hash on every machine and in every file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def facts_hash(facts: Mapping[str, Any]) -> str:
    """SHA-256 over all facts of a weights file but this one, as 64 hexadecimal digits.

    `weights_hash`, which covers the tensors, is among them. It makes a changed header be noticed;
    the weights themselves, and the vectors that they make, are identified by `weights_hash`."""
    covered = {name: value for name, value in facts.items() if name != "facts_hash"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


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
        metadata: `method_metadata` and more facts: size, dataset, trial, part, identities, epoch,
            chosen, seed, record.
    """
    state = portable(method) if isinstance(method, torch.nn.Module) else dict(method)
    facts = {**to_plain(dict(metadata)), "weights_hash": weights_hash(state), "format": FORMAT}
    facts["facts_hash"] = facts_hash(facts)
    content = safetensors_bytes(state, {"vireid": json.dumps(facts, sort_keys=True)})
    with atomic_write(path) as file:
        file.write(content)
    return facts["weights_hash"]


NO_LICENCE = "not stated"


def licence_of(source: str | Path, stated: str | None = None) -> str:
    """The licence of weights: the one that a user states, the package's for the shipped ones, or
    that nobody has stated one."""
    return stated or ("Apache-2.0" if is_shipped(source) else NO_LICENCE)


def read_weights(source: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a weights file, checked against its hashes.

    Raises:
        InputError: missing, damaged, changed, or not written by vireid.
    """
    path = find_weights(source)
    with reading_weights(path), safe_open(path, framework="pt", device="cpu") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if "vireid" not in header:
        published = kind_of(tensors) == "published"
        raise InputError(
            f"'{path}' was not written by vireid: its header names no method. "
            + (
                f"It is a checkpoint of a published code; `vireid import-weights "
                f"{quoted(path)}` makes weights of it."
                if published
                else "Give a run's folder or its weights.safetensors."
            )
        )
    metadata = _read_facts(header["vireid"], path)
    if weights_hash(tensors) != metadata["weights_hash"]:
        raise InputError(
            f"'{path}' is damaged: the hash of its tensors is not the one in its header. Copy or "
            "train it again."
        )
    return tensors, metadata


def training_facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a weights file that say who was trained on, for a file of another program."""
    names = ("dataset", "data_root", "trial", "part", "synthetic", "identities", "trained_on")
    return {name: metadata[name] for name in names if name in metadata}


def identities_before(pretrained: str) -> list[dict[str, Any]]:
    """What the weights that a network starts from say of the identities they were trained on;
    nothing where they are of another program.

    Args:
        pretrained: see `ModelOptions`.
    """
    path = weights_file(pretrained)
    if path is None or path.suffix != ".safetensors":
        return []
    try:
        return list(read_weights(path)[1].get("identities", ()))
    except InputError:  # of another program
        return []


def _read_facts(text: str, path: Path) -> dict[str, Any]:
    """The facts in a weights file's header, checked against their hash."""
    where = f"'{path}': the header"
    facts = convert(dict[str, Any], parse_json(text, where), where)
    if "preprocessing" in facts:
        raise InputError(
            f"'{path}' holds embeddings, not weights. `vireid index create --embeddings "
            f"{quoted(path)}` makes an index of them."
        )
    if facts.get("format") not in _READ:
        raise InputError(
            f"'{path}' has the format {shown(facts.get('format'))}; this version of vireid reads "
            f"{' and '.join(map(str, _READ))}. Use the version that wrote it."
        )
    if facts["format"] == FORMAT and facts.get("facts_hash") != facts_hash(facts):
        raise InputError(
            f"'{path}' is damaged or was changed: the hash of the facts in its header (method, "
            "data set …) is not the one that it was written with. Copy or train it again."
        )
    convert(_MoreFacts, facts, where)
    return facts  # as they were written: lists stay lists


def load_weights(
    source: str | Path, method: str | None = None, arch: str | None = None
) -> tuple[Method, dict[str, Any]]:
    """Build the method that a weights file describes, with exactly its weights, in eval mode.

    Args:
        source: a run's folder, a .safetensors file, the word `synth`, or "hf://USER/NAME".
        method: "my.py:MyMethod", needed for weights of a method of the user's own.
        arch: "my.py:MyNet", likewise of a backbone of the user's own.

    Returns:
        The method on the CPU and the file's metadata.

    Raises:
        InputError: missing, damaged, foreign or mismatched weights; never an untrained network.
            Weights of a user's own method without `method`, or of another method.
    """
    tensors, metadata = read_weights(source)
    return build_from(tensors, metadata, f"'{find_weights(source)}'", method, arch), metadata


def build_from(
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    source: str,
    method: str | None = None,
    arch: str | None = None,
) -> Method:
    """The method that `metadata` describes with the weights `tensors`, on the CPU, in eval mode.

    Args:
        source: names them in messages.
        method, arch: as in `load_weights`.

    Raises:
        InputError: the tensors are of another network or method.
    """
    name = code_of(metadata["method"], method, what="method", where=source)
    if method is not None and name in METHODS and resolve_method(method) != name:
        raise InputError(
            f"The weights in {source} are of the method '{name}'; {shown(method)} was given. Leave "
            "`method` out."
        )
    # Weights from before networks had a mean and a deviation of their own took ImageNet's.
    network = {"input_mean": MEAN, "input_std": STD, **metadata["model"]}
    model = from_plain(ModelOptions, network, f"the network in {source}")
    model = dataclasses.replace(model, arch=code_of(model.arch, arch, what="arch", where=source))
    parts = (
        name,
        dataclasses.replace(model, pretrained="none"),
        from_plain(Sizes, metadata["sizes"], f"the sizes in {source}"),
        metadata["method_options"],
    )
    # First without memory: the header may describe a network of any size.
    if name in METHODS and not is_code(model.arch):
        with torch.device("meta"):
            _check_fit(build_method(*parts), tensors, source)
    built = build_method(*parts)
    load_strictly(built, tensors, source)
    chosen = metadata.get("default_embedding")
    if chosen not in (None, *built.test_embeddings):
        raise InputError(
            f"The weights in {source} name the embedding {shown(chosen)} to search with; the "
            f"method '{built.name}' has {', '.join(built.test_embeddings)}."
        )
    return built.eval()


def load_strictly(method: Method, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy `tensors` into `method`; every name and shape has to fit.

    Raises:
        InputError: names the tensors that are missing, unknown or of another shape or kind.
    """
    _check_fit(method, tensors, source)
    with torch.no_grad():
        for name, tensor in method.state_dict().items():
            tensor.copy_(tensors[name])


def mismatch(own: Tensor, given: Tensor) -> str:
    """Why the values of `given` can't be copied into `own`, as the end of a sentence; "" if they
    can."""
    if own.shape != given.shape:
        return f"has the shape {tuple(given.shape)} instead of {tuple(own.shape)}"
    if given.layout is not torch.strided or (given.is_meta and not own.is_meta):
        return "has no plain values"
    floats = own.is_floating_point() and given.is_floating_point()
    return "" if floats or own.dtype == given.dtype else f"is of {given.dtype}, not {own.dtype}"


def _check_fit(method: Method, tensors: Mapping[str, Tensor], source: str) -> None:
    """See `load_strictly`."""
    own = method.state_dict()
    problems = misfits({name: tensor.shape for name, tensor in own.items()}, tensors)
    if not problems:
        problems = "; ".join(
            f"{name}, which {wrong}"
            for name in own
            if (wrong := mismatch(own[name], tensors[name]))
        )[:400]
    if problems:
        raise InputError(
            f"The weights in {source} are of another network than '{method.name}' as configured: "
            f"tensors {problems}. Use the method, architecture and options they were trained with."
        )
