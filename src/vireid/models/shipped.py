"""The weights in the package, and what a weights file of ours says of its network. Nothing here
imports PyTorch."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from vireid.config import from_plain
from vireid.console import folded
from vireid.files import parse_json
from vireid.models.hub import check_file, is_shipped
from vireid.models.options import STARTS, ModelOptions, start_meant
from vireid.own_code import same_code
from vireid.types import InputError, shown

OF_A_START = ("arch", "last_stage")  # what a run takes over from the network that it starts from


def shipped_weights(arch: str | None = None) -> Path | None:
    """The weights in the package, trained on synthetic people; None if there are none.

    Args:
        arch: those of this network; None takes the first by name.
    """
    folder = Path(str(files("vireid"))) / "shipped"
    shipped = sorted(folder.glob("*.safetensors"))
    return next((p for p in shipped if arch is None or folded(arch) == folded(p.stem)), None)


def shipped_for(arch: str) -> Path:
    """The weights in the package of a network.

    Raises:
        InputError: there are none.
    """
    path = shipped_weights(arch)
    if path is None:
        theirs = shipped_weights()
        other = f"Set `arch` to {theirs.stem}" if theirs else "Choose other weights"
        raise InputError(
            f"The package holds no weights trained on synthetic people for the network {arch}. "
            f"{other}, or set `pretrained` to imagenet, none or a file."
        )
    return path


def network_of(path: Path) -> dict[str, Any]:
    """What a weights file of ours says of its network, as plain values; {} for other files."""
    network = _facts(path).get("model")
    return network if isinstance(network, dict) else {}


def is_shipped_hash(weights_hash: str) -> bool:
    """Whether a hash of weights is that of the weights called `synth`."""
    path = shipped_weights()
    return path is not None and _facts(path).get("weights_hash") == weights_hash


def _facts(path: Path) -> dict[str, Any]:
    """What a weights file of ours says in its header, unchecked; {} for other files."""
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
        facts = parse_json(header.get("vireid", "{}"), f"The header of '{path}'")
    except (SafetensorError, OSError, ValueError, InputError):
        return {}
    return facts if isinstance(facts, dict) else {}


def network_of_start(pretrained: str, wanted: str | None = None) -> dict[str, Any]:
    """Network and number of stages of the weights of ours that `pretrained` names, unless they are
    on the hub; {} for other starts. The network may be code of a user's own.

    Args:
        wanted: which network's of several in the package.

    Raises:
        InputError: the file says something of them that can't be.
    """
    start = start_meant(pretrained)
    if is_shipped(start):
        path = shipped_weights(wanted) or shipped_weights()
    else:
        path = None if start in STARTS else Path(start)
    if path is None or not os.path.isfile(path):  # unlike Path.is_file, of any text
        return {}
    said = network_of(path)
    given = {name: said[name] for name in OF_A_START if name in said}
    network = from_plain(ModelOptions, given, f"The network in '{path}'")
    return {name: getattr(network, name) for name in given} if "arch" in given else {}


def check_start(model: ModelOptions) -> None:
    """Refuse a start that can't be that of a network, as far as that is known without reading its
    tensors.

    Raises:
        InputError: it isn't there, or its network ends before the other one.
    """
    start, arch = model.pretrained, model.arch
    check_file(start)
    if is_shipped(start):
        shipped_for(arch)
    theirs = network_of_start(start, arch)
    same = theirs and (folded(arch) == folded(theirs["arch"]) or same_code(arch, theirs["arch"]))
    last = theirs.get("last_stage", model.last_stage)
    if same and model.last_stage > last:
        raise InputError(
            f"The pretrained weights {shown(start, 300)} are those of {arch} up to stage {last}; "
            f"`last_stage` is {model.last_stage}. Set it to {last} or less, or give other weights."
        )
