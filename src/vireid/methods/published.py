"""Checkpoints of the published MCLNet and AGW code, read into our names and written back.

The published network holds three whole ResNets of which it uses one and two stems: of
`visible_module.visible` and `thermal_module.thermal` only conv1 and bn1 are alive, of
`base_resnet.base` only layer1 to layer4. Reading drops the dead copies; writing fills their
places with live tensors, so that the published code loads the file strictly.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vireid.files import atomic_write
from vireid.methods.base import Method, Sizes
from vireid.methods.options import MCLOptions
from vireid.methods.registry import method_class
from vireid.models.foreign import load_foreign
from vireid.models.options import ModelOptions
from vireid.types import InputError

_STREAMS = {"visible_module.visible": "stem_visible", "thermal_module.thermal": "stem_infrared"}
_BODY = "base_resnet.base"
_STEM = r"(conv1|bn1)\."
_STAGE = r"layer[1-4]\."
_NONLOCAL = {"W.0": "w", "W.1": "bn"}
_FUSED = ("theta", "phi", "g.0")  # one convolution of ours, in this order


class Published(NamedTuple):
    """What a published checkpoint holds.

    Attributes:
        method: "mcl" (with non-local blocks; the AGW code writes the same tensors) or "base".
        state: tensors named as in `Method.state_dict()`, all of its `model.` part.
        num_pids: training identities.
        model_options: of its network, with pretrained "none".
        epoch: of the file; -1 where it has none.
    """

    method: str
    state: dict[str, Tensor]
    num_pids: int
    model_options: ModelOptions
    epoch: int


def import_published(path: str | Path, method: str | None = None) -> Method:
    """A method of ours with the network of a published MCLNet or AGW checkpoint.

    Args:
        path: the published file.
        method: "mcl" or "agw" for a network with non-local blocks (both codes write the same
            tensors; "mcl" if not said), "base" for one without.

    What the published file does not hold (discriminator, centers) is left out: the method has
    confusion and center losses switched off.

    Raises:
        InputError: the file is not such a checkpoint, or does not fit the method.
    """
    published = read_published(path)
    name = method or published.method
    if (published.method == "base") != (name == "base"):
        blocks = "no non-local blocks" if published.method == "base" else "non-local blocks"
        raise InputError(
            f"The network in '{path}' has {blocks}; that is not the method {name}. "
            f"Import it as {'base' if published.method == 'base' else 'mcl or agw'}."
        )
    options = None
    if name == "mcl":
        options = MCLOptions(
            confusion=False, identity_centers=False, camera_centers=False, triplet="published"
        )
    imported = method_class(name)(
        published.model_options, Sizes(num_pids=published.num_pids), options
    )
    try:
        imported.load_state_dict(published.state, strict=True)
    except RuntimeError as error:
        problem = str(error).strip().split("\n")[1].strip()
        raise InputError(
            f"The tensors in '{path}' are not those of the published ResNet-50 networks: {problem}"
        ) from error
    return imported


def read_published(path: str | Path) -> Published:
    """Read a checkpoint of the published MCLNet or AGW code; no code in it is run.

    Raises:
        InputError: the file cannot be read, is refused, or is not such a checkpoint.
    """
    content = load_foreign(path)
    net = content.get("net", content) if isinstance(content, dict) else None
    is_state = isinstance(net, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in net.items()
    )
    if not isinstance(net, dict) or not is_state or "classifier.weight" not in net:
        raise InputError(
            f"The file '{path}' is not a checkpoint of the published MCLNet or AGW code: a "
            "dictionary with an entry 'net' of named tensors, 'classifier.weight' among them, was "
            "expected."
        )
    net = {key.removeprefix("module."): value for key, value in net.items()}
    strange = [key for key in net if not _is_alive(key) and not _is_dead(key)]
    if strange:
        raise InputError(
            f"The file '{path}' has tensors that the published MCLNet and AGW networks don't "
            f"have, such as '{strange[0]}' ({len(strange)} in all). It belongs to another network."
        )
    width = net["NL_2.0.theta.weight"].shape[0] if "NL_2.0.theta.weight" in net else None
    options = ModelOptions(
        arch="resnet50",
        pretrained="none",
        nonlocal_channels=width,
        pooling="gem" if width else "average",
    )
    epoch = content.get("epoch") if "net" in content else None
    return Published(
        method="mcl" if width else "base",
        state=_to_ours(net, path),
        num_pids=net["classifier.weight"].shape[0],
        model_options=options,
        epoch=-1 if epoch is None else int(epoch),
    )


def _is_alive(key: str) -> bool:
    if re.match(rf"{re.escape(_BODY)}\.{_STAGE}", key):
        return True
    if any(re.match(rf"{re.escape(stream)}\.{_STEM}", key) for stream in _STREAMS):
        return True
    return re.match(r"(bottleneck|classifier|NL_[23]\.\d+)\.", key) is not None


def _is_dead(key: str) -> bool:
    whole = "|".join(re.escape(name) for name in (*_STREAMS, _BODY))
    return re.match(rf"({whole})\.(conv1|bn1|layer[1-4]|fc)\.", key) is not None


def _to_ours(net: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    for key, value in net.items():
        if not _is_alive(key) or key.startswith("NL_"):
            continue
        name = key.removeprefix(f"{_BODY}.")
        for theirs, stem in _STREAMS.items():
            name = name.replace(theirs, stem)
        ours["model." + re.sub(r"^bottleneck\.", "neck.", name)] = value
    for block in sorted({key[: key.index(".", 5)] for key in net if key.startswith("NL_")}):
        stage, position = block.removeprefix("NL_").split(".")
        target = f"model.nonlocal{stage}.{position}."
        for kind in ("weight", "bias"):
            parts = [net.get(f"{block}.{part}.{kind}") for part in _FUSED]
            if any(part is None for part in parts):
                raise InputError(f"The file '{path}' lacks part of the non-local block '{block}'.")
            ours[f"{target}theta_phi_g.{kind}"] = torch.cat(parts)  # type: ignore[arg-type]
        for theirs, name in _NONLOCAL.items():
            prefix = f"{block}.{theirs}."
            ours |= {
                f"{target}{name}.{key.removeprefix(prefix)}": value
                for key, value in net.items()
                if key.startswith(prefix)
            }
    return ours


def export_published(method: Method, path: str | Path, *, epoch: int = 0) -> None:
    """Write the network of a method of ours as the published code's checkpoint.

    Args:
        method: `base` with average pooling, or `agw` or `mcl`, on resnet50.
        path: the file to write; whole or not at all.
        epoch: to store beside the tensors.

    Raises:
        InputError: the published code has no such network, or the file cannot be written.
    """
    options = method.model_options
    expected = "gem" if options.nonlocal_channels else "average"
    if options.arch != "resnet50" or options.pooling != expected or method.name == "ddag":
        raise InputError(
            "The published code has two networks: resnet50 with average pooling (base), and "
            "resnet50 with non-local blocks and generalised-mean pooling (agw, mcl). This one is "
            f"{method.name} on {options.arch} with {options.pooling} pooling and "
            f"{'' if options.nonlocal_channels else 'no '}non-local blocks; it cannot be written "
            "as a published checkpoint."
        )
    state = {
        key.removeprefix("model."): value.detach().cpu()
        for key, value in method.state_dict().items()
        if key.startswith("model.")
    }
    with atomic_write(path) as file:
        torch.save({"net": _to_theirs(state), "epoch": epoch}, file)


def _to_theirs(state: dict[str, Tensor]) -> dict[str, Tensor]:
    body = {key: value for key, value in state.items() if re.match(_STAGE, key)}
    theirs: dict[str, Tensor] = {}
    for whole, stem in (*_STREAMS.items(), (_BODY, "stem_visible")):
        stems = {k.removeprefix(f"{stem}."): v for k, v in state.items() if k.startswith(stem)}
        theirs |= {f"{whole}.{key}": value for key, value in (stems | body).items()}
    for key, value in state.items():
        if key.startswith(("neck.", "classifier.")):
            theirs[key.replace("neck.", "bottleneck.")] = value
        elif block := re.match(r"nonlocal(\d)\.(\d+)\.(\w+)\.(\w+)", key):
            stage, position, part, kind = block.groups()
            prefix = f"NL_{stage}.{position}."
            if part == "theta_phi_g":
                split = value.chunk(len(_FUSED))
                theirs |= {f"{prefix}{p}.{kind}": v.clone() for p, v in zip(_FUSED, split)}
            else:
                layer = next(name for name, ours in _NONLOCAL.items() if ours == part)
                theirs[f"{prefix}{layer}.{kind}"] = value
    return theirs
