"""Checkpoints of the published codes, read into our names and written back.

All of them are ResNet-50. Their networks hold whole ResNets of which they use a stem or some
stages: of `visible_module.visible` and `thermal_module.thermal` only conv1 and bn1 are alive, of
`base_resnet.base` only the stages; RLE has a third stem that it never uses, RLE and DEEN on RegDB a
layer4, DNS two stages twice, and DDAG's has two more classifiers and a layer `wpa.W`. Reading drops
what is dead; writing fills its place, with live tensors where they fit, so that the published code
loads the file strictly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vireid.data.augment import MEAN, STD
from vireid.files import atomic_write
from vireid.methods.base import Method, Sizes
from vireid.methods.ddag import DDAG
from vireid.methods.deen import DEENNetwork
from vireid.methods.dns import DNSNetwork
from vireid.methods.options import OPTIONS, DDAGOptions, MCLOptions
from vireid.methods.registry import method_class
from vireid.models.backbone import create
from vireid.models.foreign import kind_of, load_foreign, misfits, named_tensors
from vireid.models.options import ModelOptions
from vireid.types import InputError

_DIMS = {4: 2048, 3: 1024}  # of ResNet-50's map after its last stage
_HEADS = 4  # of DDAG's graph attention, whatever its flags
_FUSED = ("theta", "phi", "g.0")  # of a non-local block; one convolution of ours, in this order
CODES = "MCLNet, AGW, DDAG, CAJ, DNS, DEEN or RLE"

# Whole ResNets, of which most is dead.
_VISIBLE, _INFRARED = "visible_module.visible.", "thermal_module.thermal."
_SHARED, _MIDDLE = "base_resnet.base.", "middle_module.middle."
# Beginnings of names: ours → the published codes'.
_BODY = {
    r"model\.stem_visible\.": _VISIBLE,
    r"model\.stem_infrared\.": _INFRARED,
    r"model\.(layer\d)\.": rf"{_SHARED}\1.",
}
_HEAD = {r"model\.neck\.": "bottleneck.", r"model\.classifier\.": "classifier."}
_DEAD = r"(visible_module\.visible|thermal_module\.thermal)\.(layer\d|fc)\."
_DEAD += r"|base_resnet\.base\.(conv1|bn1|fc)\."


class _Form(NamedTuple):
    """One of the networks that published checkpoints hold.

    Attributes:
        network: what tells it apart.
        mark: how a name begins that only its checkpoints hold.
        methods: those of ours that have it; the first one is meant where none is named.
        names: beginnings of names, ours → theirs.
        dead: what the published network never uses.
        stages: how many the network may have.
    """

    network: str
    mark: str
    methods: tuple[str, ...]
    names: dict[str, str]
    dead: str = _DEAD
    stages: tuple[int, ...] = (4,)

    @property
    def classifier(self) -> str:
        return self.names[r"model\.classifier\."] + "weight"


_FORMS = (
    _Form(
        "part attention",
        "wpa.",
        ("ddag",),
        {
            **_BODY,
            **_HEAD,
            r"part\.gate": "wpa.gate",
            r"part\.query\.": "wpa.fc1.0.",
            r"part\.key\.": "wpa.fc2.",
            r"part\.value\.": "wpa.fc3.",
            r"part\.bn\.": "wpa.bottleneck.",
            r"graph\.": "",  # see `_place`
        },
        rf"{_DEAD}|classifier[12]\.weight$|wpa\.W\.",
    ),
    _Form(
        "non-local blocks",
        "NL_",
        ("mcl", "agw", "caj"),
        {
            **_BODY,
            **_HEAD,
            r"model\.nonlocal(\d)\.(\d+)\.w\.": r"NL_\1.\2.W.0.",
            r"model\.nonlocal(\d)\.(\d+)\.bn\.": r"NL_\1.\2.W.1.",
        },
    ),
    _Form(
        "heterogeneous shifts",
        "base.HSS",
        ("dns",),
        {
            r"model\.stem_visible\.": "visible.visible.",
            r"model\.stem_infrared\.": "thermal.thermal.",
            r"model\.(layer\d)_visible\.": r"visible.visible.\1.",
            r"model\.(layer\d)_infrared\.": r"thermal.thermal.\1.",
            r"model\.(layer\d)\.": r"base.base.\1.",
            **_HEAD,
            r"model\.shifts\.": "base.HSS",
            r"model\.projection\.": "CSS.",
            r"modality\.(\w+)_average": r"DD.\1_classifier_.weight",
            r"modality\.": "DD.",
        },
        r"base\.base\.layer[12]\.",
    ),
    _Form(
        "diverse embedding expansion",
        "DEE.",
        ("deen",),
        {
            **_BODY,
            **_HEAD,
            r"model\.aggregations\.": "MFA",
            r"model\.expansion\.": "DEE.",
        },
        stages=(3, 4),
    ),
    _Form(
        "stripes",
        "bottleneckg.",
        ("rle",),
        {
            **_BODY,
            r"model\.neck\.": "bottleneckg.",
            r"model\.classifier\.": "classifierg.",
            **{rf"model\.stripe_necks\.{i}\.": f"bottleneck{i + 1}." for i in range(3)},
            **{rf"model\.stripe_classifiers\.{i}\.": f"classifier{i + 1}." for i in range(3)},
        },
        rf"{_DEAD}|middle_module\.",
        stages=(3, 4),
    ),
    _Form("no non-local blocks", "", ("base",), {**_BODY, **_HEAD}),
)
_FACTS = "vireid"  # the entry of a checkpoint that holds facts
IMPORTED = tuple(name for form in _FORMS for name in form.methods)  # methods of ours


class Published(NamedTuple):
    """What a published checkpoint holds.

    Attributes:
        path: of the file.
        form: the published network.
        net: its live tensors, under the published names.
        num_pids: training identities.
        model_options: of its network, with pretrained "none".
        ddag_options: what its tensors say about DDAG's modules; None for the others.
        epoch: of the file; -1 where it has none, or something that is no number.
        facts: JSON text on the training, where `export_published` wrote the file; "" elsewhere.
    """

    path: str
    form: _Form
    net: dict[str, Tensor]
    num_pids: int
    model_options: ModelOptions
    ddag_options: DDAGOptions | None
    epoch: int
    facts: str

    @property
    def network(self) -> str:
        """What tells the network apart, in words."""
        return self.form.network

    def build(self, method: str | None = None) -> Method:
        """A method of ours with this network; see `import_published`."""
        names = self.form.methods
        name = method or names[0]
        if name not in names:
            raise InputError(
                f"The network in '{self.path}' has {self.form.network}; that is not the method "
                f"{name}. Import it as {' or '.join(names)}."
            )
        options: Any = self.ddag_options
        if name == "mcl":
            options = MCLOptions(
                confusion=False, identity_centers=False, camera_centers=False, triplet="published"
            )
        built = method_class(name)(self.model_options, Sizes(num_pids=self.num_pids), options)
        places = _places(built, self.form)
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
    """A method of ours with the network of a published checkpoint.

    Args:
        path: the published file.
        method: "mcl", "agw" or "caj" for a network with non-local blocks (the three codes write
            the same tensors; "mcl" if not said). The other networks say what they are.

    What the published file does not hold (discriminator, centers, the weight of DDAG's graph
    loss) is left out: `mcl` has confusion and center losses switched off.

    Raises:
        InputError: the file is not such a checkpoint, or does not fit the method.
    """
    return read_published(path).build(method)


def read_published(path: str | Path) -> Published:
    """Read a checkpoint of the published codes; no code in it is run.

    The named tensors may lie under `net`, `state_dict` or `model`, or at the top, and their names
    may begin with "module.".

    Raises:
        InputError: the file cannot be read, is refused, or is not such a checkpoint.
    """
    return parse_published(load_foreign(path), path)


def parse_published(content: Any, path: str | Path) -> Published:
    """As `read_published`, from what `load_foreign` read."""
    kind, net = kind_of(content), named_tensors(content)
    if kind == "ours":
        raise InputError(f"The file '{path}' holds weights of vireid already. Use it as it is.")
    if kind == "run":
        raise InputError(
            f"The file '{path}' is a checkpoint of a run of vireid. In its run's folder, "
            "RUN/checkpoints, `vireid import-weights` makes weights of it."
        )
    form = next(f for f in _FORMS if not f.mark or any(key.startswith(f.mark) for key in net))
    if form.classifier not in net:
        raise InputError(
            f"The file '{path}' is not a checkpoint of the published {CODES} code: a dictionary "
            f"with an entry 'net' of named tensors, '{form.classifier}' among them, was expected."
        )
    found: dict[str, Any] = {}
    last, ddag = 4, None
    if net[form.classifier].shape[1:] == (_DIMS[3],) and 3 in form.stages:
        last = 3
    dead = re.compile(form.dead + (r"|base_resnet\.base\.layer4\." if last == 3 else ""))
    net = {key: value for key, value in net.items() if not dead.match(key)}
    if "ddag" in form.methods:
        heads = sum(re.fullmatch(r"attention_\d+\.W", key) is not None for key in net)
        ddag = DDAGOptions(
            parts=_free(net, "wpa.gate", (None,), path),
            heads=max(1, heads),
            head_dim=_free(net, "attention_0.W", (_DIMS[4], None), path),
        )
    elif "agw" in form.methods:
        found["nonlocal_channels"] = _free(net, "NL_2.0.theta.weight", (None, 512, 1, 1), path)
    return Published(
        path=str(path),
        form=form,
        net=net,
        num_pids=_free(net, form.classifier, (None, _DIMS[last]), path, at_least=2),
        model_options=ModelOptions(
            **{
                "arch": "resnet50",
                "pretrained": "none",
                "last_stage": last,
                **OPTIONS[form.methods[0]].network,
                **found,
            }
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


def _places(method: Method, form: _Form) -> dict[str, _Place]:
    """The place of each tensor that the published network has, too, by its name in
    `method.state_dict()`."""
    places = {}
    for name, tensor in method.state_dict().items():
        place = _place(name, tuple(tensor.shape), form)
        if place is not None:
            places[name] = place
    return places


def _place(name: str, shape: tuple[int, ...], form: _Form) -> _Place | None:
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
    for ours, theirs in form.names.items():
        renamed, count = re.subn(f"^{ours}", theirs, name)
        if count:
            return _Place([renamed], shape)
    return None


def form_of(method: Method) -> _Form:
    """The published network that a method's is, if its options are those published."""
    name = "agw" if method.model_options.nonlocal_channels else "base"
    if isinstance(method, DDAG):
        name = "ddag"
    elif isinstance(method.model, DNSNetwork):
        name = "dns"
    elif isinstance(method.model, DEENNetwork):
        name = "deen"
    elif method.model_options.stripes:
        name = "rle"
    return next(form for form in _FORMS if name in form.methods)


def read_back_as(method: Method) -> str:
    """The method that `import_published` can make of an exported one: itself, or the one that it
    extends, or whichever has that network."""
    names = form_of(method).methods
    lineage = (getattr(cls, "name", None) for cls in type(method).__mro__)
    return next((name for name in lineage if name in names), names[0])


def export_published(
    method: Method,
    path: str | Path,
    *,
    epoch: int = 0,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write the network of a method of ours as the published code's checkpoint.

    Args:
        method: with the network of one of the published codes, on resnet50.
        path: the file to write; whole or not at all.
        epoch: to store beside the tensors.
        facts: what is known of the training, to store too; the published codes don't look at it.

    Raises:
        InputError: the published code has no such network, or the file cannot be written.
    """
    net = published_net(method)
    more = {_FACTS: json.dumps(facts)} if facts else {}
    with atomic_write(path) as file:
        torch.save({"net": net, "epoch": epoch, **more}, file)


def published_net(method: Method) -> dict[str, Tensor]:
    """The tensors of a method's network as its published code names and keeps them.

    Raises:
        InputError: the published code has no such network.
    """
    form = form_of(method)
    if differences := _differences(method, form):
        code = method.name if method.name in form.methods else form.methods[0]
        raise InputError(
            f"The network of this {method.name} is not the one that the published code of "
            f"{code} has: {'; '.join(differences)}. It cannot be written as a published "
            "checkpoint."
        )
    state = method.state_dict()
    net: dict[str, Tensor] = {}
    for name, (names, shape) in _places(method, form).items():
        parts = state[name].detach().cpu().reshape(len(names), *shape)
        net |= dict(zip(names, parts, strict=True))
    return net | _dead_tensors(net, form)


def _differences(method: Method, form: _Form) -> list[str]:
    """How a method's network differs from a published one, in words."""
    given = method.model_options
    published = ModelOptions(pretrained="none", **OPTIONS[form.methods[0]].network)
    pairs = [
        (name, getattr(given, name), getattr(published, name))
        for name in ("arch", "last_stride", "pooling", "private_stages", "stripes")
    ]
    usual = {"input_mean": MEAN, "input_std": STD}
    pairs += [(name, getattr(given, name), numbers) for name, numbers in usual.items()]
    pairs.append(("nonlocal_channels", given.nonlocal_channels, "those of agw or none"))
    if bool(given.nonlocal_channels) == bool(published.nonlocal_channels):
        pairs.pop()
    if given.last_stage not in form.stages:
        pairs.append(("last_stage", given.last_stage, 4))
    if isinstance(method, DDAG):
        attentions = {"part": method.part, "graph": method.graph}
        pairs += [(name, module is not None, True) for name, module in attentions.items()]
        pairs.append(("heads", method.options.heads, _HEADS))
    found = [f"`{name}` is {own}, not {theirs}" for name, own, theirs in pairs if own != theirs]
    places = _places(method, form)
    more = [name for name in method.model.state_dict() if f"model.{name}" not in places]
    return found or [f"the tensor '{name}' has no place there" for name in more[:1]]


def _dead_tensors(net: dict[str, Tensor], form: _Form) -> dict[str, Tensor]:
    """What fills the places of dead tensors: live ones, which take no space in the file."""

    def copied(live: str, *dead: str) -> dict[str, Tensor]:
        return {
            other + key.removeprefix(live): value
            for key, value in net.items()
            if key.startswith(live)
            for other in dead
        }

    if "dns" in form.methods:
        return copied("visible.visible.layer", "base.base.layer")
    wholes = [_VISIBLE, _INFRARED, _SHARED] + [_MIDDLE] * ("rle" in form.methods)
    filling = copied(_VISIBLE, *wholes) | copied(f"{_SHARED}layer", *(f"{w}layer" for w in wholes))
    if f"{_SHARED}layer4.0.conv1.weight" not in net:
        with torch.device("meta"):
            lacking = create("resnet50").get_submodule("layer4").state_dict()
        filling |= {
            f"{whole}layer4.{key}": torch.zeros((), dtype=value.dtype).expand(value.shape)
            for key, value in lacking.items()
            for whole in wholes
        }
    if "ddag" in form.methods:
        filling |= copied("wpa.fc1.0.", "wpa.W.0.") | copied("wpa.bottleneck.", "wpa.W.1.")
        filling |= dict.fromkeys(("classifier1.weight", "classifier2.weight"), net[form.classifier])
    return {key: value for key, value in filling.items() if key not in net}
