"""Where the first weights of a network come from: a timm tag, a file, the hub, our own, or
nowhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
from torch import Tensor, nn

from vireid.config import from_plain
from vireid.console import did_you_mean, quoted, say
from vireid.data.augment import MEAN, STD
from vireid.models.backbone import Statistics, create, resolve_arch, statistics_of, three
from vireid.models.foreign import kind_of, load_foreign, misfits, named_tensors
from vireid.models.hub import check_file, fetch, fetch_weights, on_hub
from vireid.models.options import STARTS, ModelOptions
from vireid.models.shipped import OF_A_START, network_of, shipped_for, shipped_weights
from vireid.own_code import is_code
from vireid.types import InputError

IMAGENET_TAG = "tv_in1k"
_HEADS = ("fc.", "head.", "classifier.")
_BODY = re.compile(r"(?:stem_visible|stem_infrared|layer(\d)(?:_visible|_infrared)?)\.")
_STREAM = re.compile(r"(layer\d)_(?:visible|infrared)\.")


class Source(NamedTuple):
    """Tensors to start from.

    Attributes:
        name: what the user knows it by, for messages.
        state: names → tensors.
        of_ours: names are those of a method of ours, not of a timm network.
        network: of ours, what the file says of it, as plain values.
    """

    name: str
    state: dict[str, Tensor]
    of_ours: bool
    network: Mapping[str, Any] = {}


def find(pretrained: str, arch: str) -> Source | None:
    """The weights that the option `pretrained` stands for; None for "none".

    Raises:
        InputError: they can't be had; the message tells what to fetch or to write.
    """
    found = locate(pretrained, arch)
    if found is None:
        return None
    tag, path = found
    return _from_file(path) if tag is None else Source(tag, load_foreign(path), False)


def locate(pretrained: str, arch: str) -> tuple[str | None, Path] | None:
    """The file that the option `pretrained` stands for, with timm's name for it where it is one
    of timm's, which are downloaded once; None for "none".

    Raises:
        InputError: as `find`.
    """
    if pretrained == "none":
        return None
    if pretrained == "synth":
        return None, shipped_for(arch)
    if (path := weights_file(pretrained)) is not None:
        return None, path
    check_file(pretrained)
    name = name_in_timm(pretrained, arch)
    instead = "name the file as `pretrained`, or start from nothing: `pretrained` none"
    return name, fetch(f"timm/{name}", "model.safetensors", changes=False, instead=instead)


def weights_file(pretrained: str, arch: str | None = None) -> Path | None:
    """The file that the option `pretrained` names: shipped, on the hub or on this disk; None where
    it is another word, or there is no such file.

    Args:
        arch: of the shipped one.

    Raises:
        InputError: the hub's can't be had.
    """
    if pretrained == "synth":
        return shipped_weights(arch)
    if pretrained in STARTS:
        return None
    if on_hub(pretrained):
        return fetch_weights(pretrained)
    return Path(pretrained) if Path(pretrained).is_file() else None


def imagenet_tag(arch: str) -> str:
    """timm's tag of the ImageNet weights of a network: torchvision's first ones where there are
    any, else timm's default if it was trained on ImageNet."""
    if not timm.is_model(arch) or f"{arch}.{IMAGENET_TAG}" in timm.list_pretrained(f"{arch}.*"):
        return IMAGENET_TAG
    configured = timm.get_pretrained_cfg(arch)
    tag = (configured.tag if configured else None) or ""
    return tag if re.search(r"in\d+k", tag) else IMAGENET_TAG


def input_statistics(options: ModelOptions) -> tuple[Statistics, Statistics]:
    """Mean and deviation of the input's channels, of values from 0 to 1, that a network with the
    weights of `options` takes.

    They are what the options say, what a file of ours says of the network that it holds, what
    timm's configuration of the weights says, or of the network's default weights.
    """
    if options.input_mean is not None and options.input_std is not None:
        return options.input_mean, options.input_std
    arch, start = resolve_arch(options.arch), options.pretrained
    path = weights_file(start, arch)
    if path is not None and (network := network_of(path)):
        given = {name: network.get(name) for name in ("input_mean", "input_std")}
        stated = from_plain(ModelOptions, given, f"the network in '{path}'")
        return stated.input_mean or MEAN, stated.input_std or STD
    if is_code(arch):
        return statistics_of(create(arch))
    named = f"{arch}.{imagenet_tag(arch) if start == 'imagenet' else start}"
    has_tag = named in timm.list_pretrained(f"{arch}.*")
    configured = timm.get_pretrained_cfg(named if has_tag else arch)
    if configured is None:
        return MEAN, STD
    return three(configured.mean), three(configured.std)


def _from_file(path: Path) -> Source:
    content = load_foreign(path)
    kind = kind_of(content)
    if kind == "nothing":
        raise InputError(
            f"The file '{path}' holds no named tensors; the weights of a network were expected."
        )
    if kind in ("published", "run"):
        what = "a run" if kind == "run" else "the published code of a method"
        raise InputError(
            f"The file '{path}' is a checkpoint of {what}, not first weights. Make weights of it "
            f"by `vireid import-weights {quoted(path)}`, and give the file that this writes as "
            "`pretrained`."
        )
    return Source(f"'{path}'", named_tensors(content), kind == "ours", network_of(path))


def name_in_timm(pretrained: str, arch: str) -> str:
    """timm's name of the weights that the option `pretrained`, which names no file, stands for.

    Raises:
        InputError: timm has no such weights for the network.
    """
    tag = imagenet_tag(arch) if pretrained == "imagenet" else pretrained
    full_name = f"{arch}.{tag}"
    available = timm.list_pretrained(f"{arch}.*")
    if full_name not in available:
        tags = ", ".join(name.split(".", 1)[1] for name in available) or "none"
        wish = "imagenet (timm tag tv_in1k)" if tag == IMAGENET_TAG else f"'{tag}'"
        raise InputError(
            f"There are no pretrained weights {wish} for the network {arch}."
            f"{did_you_mean(tag.lower(), ['imagenet', 'synth', 'none'])} timm's tags for it: "
            f"{tags}. Set `pretrained` to one of them, a file, synth or none."
        )
    return full_name


def load_backbone(network: nn.Module, source: Source, arch: str) -> None:
    """Load a timm or torchvision state into the whole timm network; its classifier is ignored.

    Weights of the same network in another code have other names. They are taken where all shapes
    and kinds agree in order.

    Raises:
        InputError: the tensors are those of another network.
    """
    own = network.state_dict()
    state = _without_head(source.state, own)
    if misfits(_shapes(own), state) and (convert := _converter(network)):
        try:
            converted = _without_head(convert(dict(source.state), network), own)
        except Exception:  # written for the files of one code
            converted = state
        state = state if misfits(_shapes(own), converted) else converted
    if misfits(_shapes(own), state) and (matched := _matched_in_order(own, source.state)):
        if not any(tensor.is_meta for tensor in own.values()):  # else it is only a trial
            say(
                f"The weights {source.name} name their tensors otherwise than timm's {arch}; all "
                f"{len(matched)} agree in order, kind and shape, and are taken so."
            )
        state = _without_head(matched, own)
    _check(own, state, source, arch)
    network.load_state_dict(state, strict=True)


def _without_head(given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`given` without a classifier, and with the counts of batches that old files lack."""
    state = {key: v for key, v in given.items() if key in own or not key.startswith(_HEADS)}
    for key, value in own.items():
        if _counts(key):
            state.setdefault(key, value)
    return state


def _converter(network: nn.Module) -> Callable[[dict, nn.Module], dict] | None:
    """timm's function that renames the tensors of other codes for this family of networks."""
    return getattr(sys.modules.get(type(network).__module__), "checkpoint_filter_fn", None)


def _matched_in_order(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """`given` under the names of `own`, where kinds ("weight", "running_mean") and shapes agree
    from the first to the last; a classifier after them is left out. None where they don't."""

    def kinds(state: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
        return [(key.rsplit(".", 1)[-1], tuple(v.shape)) for key, v in state.items()]

    own = {key: value for key, value in own.items() if not _counts(key)}
    given = {key: value for key, value in given.items() if not _counts(key)}
    first, after = list(given.items())[: len(own)], list(given.values())[len(own) :]
    a_head = not after or (len(after) <= 2 and after[0].ndim == 2)
    if not a_head or kinds(own) != kinds(dict(first)):
        return None
    return dict(zip(own, (value for _, value in first)))


def _counts(key: str) -> bool:
    return key.endswith("num_batches_tracked")


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def load_ours(model: nn.Module, source: Source, arch: str) -> None:
    """Load everything but the classifiers from weights of ours into a `TwoStream`.

    Modules after stages and stripes start fresh where the file lacks them, and are left out where
    the model does. A stage that each modality has for itself may come from a shared one. Of a
    network with more stages, the last ones and the necks are left out.

    Raises:
        InputError: the tensors are those of another network.
    """
    own = model.state_dict()
    given = {
        key.removeprefix("model."): value
        for key, value in source.state.items()
        if key.startswith("model.")
    }
    last = max(map(_stage, own))
    longer = max(map(_stage, given)) > last
    state, taken = {}, set()
    for key, fresh in own.items():
        name = key if key in given else _STREAM.sub(r"\1.", key)
        if "classifier" in key or (longer and "neck" in key):
            state[key] = fresh
        elif name in given:
            state[key] = given[name]
            taken.add(name)
        elif _stage(key) < 0 and not key.startswith("neck."):
            state[key] = fresh
    state |= {k: v for k, v in given.items() if 0 <= _stage(k) <= last and k not in taken}
    _check(own, state, source, arch)
    model.load_state_dict(state, strict=True)


def _stage(key: str) -> int:
    """The stage that a tensor of a `TwoStream` belongs to, 0 for a stem, -1 for everything else."""
    match = _BODY.match(key)
    return int(match[1] or 0) if match else -1


def _check(own: dict, state: dict, source: Source, arch: str) -> None:
    problems = misfits(_shapes(own), state)
    if problems:
        theirs = [f"`{n}` to {source.network[n]}" for n in OF_A_START if n in source.network]
        raise InputError(
            f"The pretrained weights {source.name} do not fit the network {arch}: tensors "
            f"{problems}. Set {' and '.join(theirs) or '`arch` to theirs'}, or give other weights."
        )
