"""Networks by their names: timm's, or one that a user's file makes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import timm
from torch import nn

from vireid.console import did_you_mean
from vireid.data.augment import MEAN, STD
from vireid.models.families import arch_examples
from vireid.own_code import answering, import_file, is_code, whole_code_name
from vireid.types import InputError

STAGES = 4
Statistics = tuple[float, float, float]


def resolve_arch(arch: str) -> str:
    """timm's name of `arch`; case, hyphens and underscores don't matter. Of "file.py:name" the
    whole path, so that a run can be used from every folder.

    Raises:
        InputError: timm has no such network.
    """

    if is_code(arch):
        return whole_code_name(arch)
    name, _, tag = arch.rsplit("/", 1)[-1].partition(".")  # of "timm/resnet50.a1_in1k", too
    if name and tag:
        raise InputError(
            f"`arch` is '{arch}'; the name of a network alone was expected. "
            f"Set `arch` to {name} and `pretrained` to {tag}."
        )
    names, key = _timm_names(), _letters(arch)
    if key in names:
        return names[key]
    raise InputError(
        f"timm has no network '{arch}'.{did_you_mean(key, names, written=names)} Among those that "
        f"work: {arch_examples()}."
    )


def _letters(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


@cache
def _timm_names() -> dict[str, str]:
    """timm's networks by their letters and digits; listing them takes timm a while."""
    return {_letters(name): name for name in timm.list_models()}


def create(arch: str) -> nn.Module:
    """The whole network without its classifier, freshly initialised.

    Args:
        arch: a name of timm, or "path/to/my.py:my_network".

    Raises:
        InputError: there is no such network.
    """
    name = resolve_arch(arch)
    if is_code(name):
        return _from_file(*name.rsplit(":", 1))
    module = timm.model_entrypoint(name).__module__
    any_size: dict[str, Any] = {}
    if module.endswith(".swin_transformer"):
        any_size = {"strict_img_size": False}
    elif module.endswith((".vision_transformer", ".deit")):
        any_size = {"dynamic_img_size": True}
    return timm.create_model(name, pretrained=False, num_classes=0, **any_size)


def _from_file(file: str, attribute: str) -> nn.Module:
    """The network that a user's function or class makes."""
    path = Path(file)
    make = getattr(import_file(path, "network"), attribute, None)
    if not callable(make):
        raise InputError(
            f"'{path}' has no function or class '{attribute}' that makes a network. Set `arch` to "
            "path/to/my.py:my_network."
        )
    with answering(f"The network '{attribute}' can't be built", path):
        network = make()
    if not isinstance(network, nn.Module):
        raise InputError(
            f"'{attribute}' in '{path}' returned a value of type {type(network).__name__}; a "
            "network (an nn.Module) was expected: one of timm, or one with the attributes `stem` "
            f"and `stages`, the latter {STAGES} stages. examples/my_backbone.py is a whole one."
        )
    return network


def statistics_of(network: nn.Module) -> tuple[Statistics, Statistics]:
    """Mean and deviation of the input's channels, of values from 0 to 1, that a network was made
    for: those of its timm configuration, or its own attributes `mean` and `std`."""
    configured = getattr(network, "pretrained_cfg", {})
    mean, std = (
        getattr(network, name, None) or configured.get(name) or usual
        for name, usual in (("mean", MEAN), ("std", STD))
    )
    return three(mean), three(std)


def three(numbers: Any) -> Statistics:
    """Numbers of the three channels."""
    red, green, blue = map(float, numbers)
    return red, green, blue
