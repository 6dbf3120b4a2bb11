"""Checkpoints of the published MCLNet, AGW and DDAG code, read into our names and written back.

The published network holds three whole ResNets of which it uses one and two stems: of
`visible_module.visible` and `thermal_module.thermal` only conv1 and bn1 are alive, of
`base_resnet.base` only layer1 to layer4. DDAG's has two more classifiers and a layer `wpa.W`
that it never uses. Reading drops what is dead; writing fills its place with live tensors, so
that the published code loads the file strictly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vireid.files import atomic_write
from vireid.methods.base import Method, Sizes
from vireid.methods.ddag import DDAG
from vireid.methods.options import DDAGOptions, MCLOptions
from vireid.methods.registry import method_class
from vireid.models.foreign import kind_of, load_foreign, misfits, named_tensors
from vireid.models.options import ModelOptions
from vireid.types import InputError

_DIM = 2048  # of ResNet-50's last map
_HEADS = 4  # of DDAG's graph attention, whatever its flags

# Beginnings of names: ours → the published code's.
_NAMES = {
    r"model\.stem_visible\.": "visible_module.visible.",
    r"model\.stem_infrared\.": "thermal_module.thermal.",
    r"model\.(layer\d)\.": r"base_resnet.base.\1.",
    r"model\.nonlocal(\d)\.(\d+)\.w\.": r"NL_\1.\2.W.0.",
    r"model\.nonlocal(\d)\.(\d+)\.bn\.": r"NL_\1.\2.W.1.",
    r"model\.neck\.": "bottleneck.",
    r"model\.classifier\.": "classifier.",
    r"part\.gate": "wpa.gate",
    r"part\.query\.": "wpa.fc1.0.",
    r"part\.key\.": "wpa.fc2.",
    r"part\.value\.": "wpa.fc3.",
    r"part\.bn\.": "wpa.bottleneck.",
}
_FUSED = ("theta", "phi", "g.0")  # one convolution of ours, in this order
_DEAD = re.compile(
    r"(visible_module\.visible|thermal_module\.thermal)\.(layer\d|fc)\.|"
    r"base_resnet\.base\.(conv1|bn1|fc)\.|classifier[12]\.weight$|wpa\.W\."
)
# Beginnings of live names → of dead ones whose place their tensors can fill.
_FILLING = {
    "visible_module.visible.": ("base_resnet.base.",),
    "base_resnet.base.layer": ("visible_module.visible.layer", "thermal_module.thermal.layer"),
    "wpa.fc1.0.": ("wpa.W.0.",),
    "wpa.bottleneck.": ("wpa.W.1.",),
}
_FACTS = "vireid"  # the entry of a checkpoint that holds facts
_UNUSED_CLASSIFIERS = ("classifier1.weight", "classifier2.weight")  # of DDAG
# What tells the three networks apart → the methods of ours that have it.
_NETWORKS = {
    "part attention": ("ddag",),
    "non-local blocks": ("mcl", "agw"),
    "no non-local blocks": ("base",),
}
IMPORTED = tuple(name for names in _NETWORKS.values() for name in names)  # methods of ours


class Published(NamedTuple):
    """What a published checkpoint holds.

    Attributes:
        path: of the file.
        network: "part attention" (DDAG), "non-local blocks" (MCLNet and AGW write the same
            tensors) or "no non-local blocks" (their baseline).
        net: its live tensors, under the published names.
        num_pids: training identities.
        model_options: of its network, with pretrained "none".
        ddag_options: what its tensors say about DDAG's modules; None for the others.
        epoch: of the file; -1 where it has none, or something that is no number.
        facts: JSON text on the training, where `export_published` wrote the file; "" elsewhere.
    """

    path: str
    network: str
    net: dict[str, Tensor]
    num_pids: int
    model_options: ModelOptions
    ddag_options: DDAGOptions | None
    epoch: int
    facts: str

    def build(self, method: str | None = None) -> Method:
        """A method of ours with this network; see `import_published`."""
        names = _NETWORKS[self.network]
        name = method or names[0]
        if name not in names:
            raise InputError(
                f"The network in '{self.path}' has {self.network}; that is not the method {name}. "
                f"Import it as {' or '.join(names)}."
            )
        options: Any = self.ddag_options
        if name == "mcl":
            options = MCLOptions(
                confusion=False, identity_centers=False, camera_centers=False, triplet="published"
            )
        built = method_class(name)(self.model_options, Sizes(num_pids=self.num_pids), options)
        places = _places(built)
        shapes = {key: place.shape for place in places.values() for key in place.names}
        if problems := misfits(shapes, self.net):
            raise InputError(
                f"The tensors in '{self.path}' are not those of the published ResNet-50 networks: "
                f"{problems}. It belongs to another network, or is incomplete."
            )
        with torch.no_grad():
            for key, tensor in built.state_dict().items():
                if key in places:
                    theirs = [self.net[name] for name in places[key].names]
                    tensor.copy_(torch.stack(theirs).reshape(tensor.shape))
        return built


def import_published(path: str | Path, method: str | None = None) -> Method:
    """A method of ours with the network of a published MCLNet, AGW or DDAG checkpoint.

    Args:
        path: the published file.
        method: "mcl" or "agw" for a network with non-local blocks (both codes write the same
            tensors; "mcl" if not said), "ddag" for one with part attention, "base" for one
            without either.

    What the published file does not hold (discriminator, centers, the weight of DDAG's graph
    loss) is left out: `mcl` has confusion and center losses switched off.

    Raises:
        InputError: the file is not such a checkpoint, or does not fit the method.
    """
    return read_published(path).build(method)


def read_published(path: str | Path) -> Published:
    """Read a checkpoint of the published MCLNet, AGW or DDAG code; no code in it is run.

    The named tensors may lie under `net`, `state_dict` or `model`, or at the top, and their names
    may begin with "module.".

    Raises:
        InputError: the file cannot be read, is refused, or is not such a checkpoint.
    """
    content = load_foreign(path)
    kind, net = kind_of(content), named_tensors(content)
    if kind == "ours":
        raise InputError(f"The file '{path}' holds weights of vireid already. Use it as it is.")
    if kind == "run":
        raise InputError(
            f"The file '{path}' is a checkpoint of a run of vireid. In its run's folder, "
            "RUN/checkpoints, `vireid import-weights` makes weights of it."
        )
    if "classifier.weight" not in net:
        raise InputError(
            f"The file '{path}' is not a checkpoint of the published MCLNet, AGW or DDAG code: a "
            "dictionary with an entry 'net' of named tensors, 'classifier.weight' among them, was "
            "expected."
        )
    net = {key: value for key, value in net.items() if not _DEAD.match(key)}
    width, network, ddag = None, "no non-local blocks", None
    if any(key.startswith("wpa.") for key in net):
        network = "part attention"
        heads = sum(re.fullmatch(r"attention_\d+\.W", key) is not None for key in net)
        ddag = DDAGOptions(
            parts=_free(net, "wpa.gate", (None,), path),
            heads=max(1, heads),
            head_dim=_free(net, "attention_0.W", (_DIM, None), path),
        )
    elif any(key.startswith("NL_") for key in net):
        network = "non-local blocks"
        width = _free(net, "NL_2.0.theta.weight", (None, 512, 1, 1), path)
    return Published(
        path=str(path),
        network=network,
        net=net,
        num_pids=_free(net, "classifier.weight", (None, _DIM), path, at_least=2),
        model_options=ModelOptions(
            arch="resnet50",
            pretrained="none",
            nonlocal_channels=width,
            pooling="gem" if width else "average",
        ),
        ddag_options=ddag,
        epoch=_whole_number(content.get("epoch")),
        facts=content[_FACTS] if isinstance(content.get(_FACTS), str) else "",
    )


def _free(
    net: dict[str, Tensor],
    key: str,
    shape: tuple[int | None, ...],
    path: str | Path,
    at_least: int = 1,
) -> int:
    """The length of a tensor along the one axis whose length the network leaves free."""
    tensor, axis = net.get(key), shape.index(None)
    if tensor is not None and tensor.ndim == len(shape):
        length = tensor.shape[axis]
        fits = tuple(tensor.shape) == (*shape[:axis], length, *shape[axis + 1 :])
        # one value may be repeated any number of times, and the network would hold them all
        stored = tensor.untyped_storage().nbytes() >= tensor.nbytes
        if fits and stored and length >= at_least:
            return length
    found = "is missing" if tensor is None else f"has the shape {tuple(tensor.shape)}"
    wanted = ", ".join("N" if length is None else str(length) for length in shape)
    raise InputError(
        f"The file '{path}' is not a checkpoint of the published ResNet-50 networks: its tensor "
        f"'{key}' {found}; ({wanted}) was expected, N at least {at_least}."
    )


def _whole_number(value: Any) -> int:
    """A number of an epoch as anybody may have stored it; -1 where it is none."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return -1
    return int(number) if 0 <= number < 2**31 else -1


class _Place(NamedTuple):
    """Where the published code keeps a tensor of ours: stacked, these are its values in order.

    Attributes:
        names: of the published tensors.
        shape: of each of them.
    """

    names: list[str]
    shape: tuple[int, ...]


def _places(method: Method) -> dict[str, _Place]:
    """The place of each tensor of a method's network, by its name in `method.state_dict()`."""
    parts = ("model.", "part.", "graph.") if isinstance(method, DDAG) else ("model.",)
    return {
        name: _place(name, tuple(tensor.shape))
        for name, tensor in method.state_dict().items()
        if name.startswith(parts)
    }


def _place(name: str, shape: tuple[int, ...]) -> _Place:
    if fused := re.fullmatch(r"model\.nonlocal(\d)\.(\d+)\.theta_phi_g\.(\w+)", name):
        stage, position, kind = fused.groups()
        names = [f"NL_{stage}.{position}.{part}.{kind}" for part in _FUSED]
        return _Place(names, (shape[0] // len(_FUSED), *shape[1:]))
    if head := re.fullmatch(r"graph\.(hidden|out)\.(weight|a)", name):
        kind = "W" if head[2] == "weight" else "a"
        layers = ["out_att"] if head[1] == "out" else [f"attention_{i}" for i in range(shape[0])]
        return _Place([f"{layer}.{kind}" for layer in layers], shape[1:])
    if re.fullmatch(r"part\.(query|key|value)\.weight", name):
        shape = (*shape, 1)  # a convolution over a map of height 1 there
    for ours, theirs in _NAMES.items():
        renamed, count = re.subn(f"^{ours}", theirs, name)
        if count:
            return _Place([renamed], shape)
    raise AssertionError(f"the published networks have no tensor '{name}'")


def export_published(
    method: Method,
    path: str | Path,
    *,
    epoch: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the network of a method of ours as the published code's checkpoint.

    Args:
        method: `base` with average pooling, `agw` or `mcl`, or `ddag` with both attentions; on
            resnet50.
        path: the file to write; whole or not at all.
        epoch: to store beside the tensors.
        facts: what is known of the training, to store too; the published codes don't look at it.

    Raises:
        InputError: the published code has no such network, or the file cannot be written.
    """
    options, ddag = method.model_options, method if isinstance(method, DDAG) else None
    fits = options.arch == "resnet50"
    fits &= options.pooling == ("gem" if options.nonlocal_channels else "average")
    if ddag is not None:
        fits &= not options.nonlocal_channels and ddag.part is not None
        fits &= ddag.graph is not None and ddag.options.heads == _HEADS
    if not fits:
        raise InputError(
            "The published codes have three networks: resnet50 with average pooling (base), with "
            "non-local blocks and generalised-mean pooling (agw, mcl), and with average pooling, "
            f"part attention and a graph attention of {_HEADS} heads (ddag). This one is "
            f"{method.name} on {options.arch} with {options.pooling} pooling and "
            f"{'' if options.nonlocal_channels else 'no '}non-local blocks"
            f"{'' if ddag is None else _attentions(ddag)}; it cannot be written as a published "
            "checkpoint."
        )
    state = method.state_dict()
    net: dict[str, Tensor] = {}
    for name, (names, shape) in _places(method).items():
        parts = state[name].detach().cpu().reshape(len(names), *shape)
        net |= dict(zip(names, parts, strict=True))
    for live, dead in _FILLING.items():
        net |= {
            other + key.removeprefix(live): value
            for key, value in net.items()
            if key.startswith(live)
            for other in dead
        }
    if ddag is not None:
        net |= dict.fromkeys(_UNUSED_CLASSIFIERS, net["classifier.weight"])
    with atomic_write(path) as file:
        more = {_FACTS: json.dumps(facts)} if facts else {}
        torch.save({"net": net, "epoch": epoch, **more}, file)


def _attentions(method: DDAG) -> str:
    part = "" if method.part is not None else "no "
    graph = f"{method.options.heads} heads" if method.graph is not None else "no graph attention"
    return f", {part}part attention, {graph}"
