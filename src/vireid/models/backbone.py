"""One adapter to timm: a ResNet-like network as a stem and four stages of blocks."""

from __future__ import annotations

import difflib
from typing import NamedTuple

import timm
import torch
from torch import nn

from vireid.types import InputError

_STEM = ("conv1", "bn1", "act1", "maxpool")
_STAGES = ("layer1", "layer2", "layer3", "layer4")
_EXAMPLES = (
    "resnet18, resnet34, resnet50, resnet101, resnet50d, resnext50_32x4d, seresnet50, "
    "wide_resnet50_2"
)


class Backbone(NamedTuple):
    """A network taken apart.

    Attributes:
        stem: image (B, 3, H, W) → (B, C, H/4, W/4).
        stages: four `nn.Sequential` of blocks; the last two leave the map at H/16, W/16.
        dims: channels after each stage.
        arch: timm's name of the network.
    """

    stem: nn.Sequential
    stages: nn.ModuleList
    dims: tuple[int, ...]
    arch: str


def resolve_arch(arch: str) -> str:
    """timm's name of `arch`; case, hyphens and underscores don't matter.

    Raises:
        InputError: timm has no such network.
    """

    def key(name: str) -> str:
        return name.lower().replace("-", "").replace("_", "")

    if "." in arch:
        name, tag = arch.split(".", 1)
        raise InputError(
            f"`arch` is '{arch}'; the name of a network alone was expected. "
            f"Set `arch` to {name} and `pretrained` to {tag}."
        )
    names = {key(name): name for name in timm.list_models()}
    if key(arch) in names:
        return names[key(arch)]
    near = difflib.get_close_matches(key(arch), names, n=1)
    hint = f" Did you mean '{names[near[0]]}'?" if near else ""
    raise InputError(f"timm has no network '{arch}'.{hint} Among those that work: {_EXAMPLES}.")


def create(arch: str) -> nn.Module:
    """The whole timm network without its classifier, freshly initialised.

    Raises:
        InputError: it does not consist of a stem and layer1 to layer4.
    """
    name = resolve_arch(arch)
    network = timm.create_model(name, pretrained=False, num_classes=0)
    lacking = [part for part in _STEM + _STAGES if not hasattr(network, part)]
    if lacking:
        raise InputError(
            f"The network {name} does not split into a stem and four stages (it has no "
            f"{', '.join(lacking)}), which two streams with a shared body need. "
            f"Choose a ResNet, for instance {_EXAMPLES}."
        )
    return network


def split(network: nn.Module, arch: str) -> Backbone:
    """Take a timm ResNet apart and set its last stride to 1, its weights unchanged.

    Raises:
        InputError: its last stage cannot run at stride 1.
    """
    stem = nn.Sequential()
    for part in _STEM:
        stem.add_module(part, getattr(network, part))
    stages = [getattr(network, part) for part in _STAGES]
    _undo_stride(stages[3][0])
    dims = tuple(_stage_dims(stem, stages, arch))
    return Backbone(stem, nn.ModuleList(stages), dims, arch)


def _undo_stride(block: nn.Module) -> None:
    """Set every stride of a downsampling block to 1, as timm would build it without stride."""
    for parent in list(block.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
            elif isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
                if layer.kernel_size in (2, (2, 2)):
                    setattr(parent, name, nn.Identity())  # the shortcut of the "d" variants
                else:
                    layer.stride = 1
    if hasattr(block, "aa"):
        block.aa = nn.Identity()  # blurs only where it also strides
    if hasattr(block, "stride"):
        block.stride = 1  # type: ignore[assignment]


def _stage_dims(stem: nn.Module, stages: list[nn.Module], arch: str) -> list[int]:
    """Channels after each stage, from a small trial run that leaves no trace."""
    dims, sides = [], []
    modes = [(module, module.training) for part in [stem, *stages] for module in part.modules()]
    try:
        with torch.no_grad():
            x = stem.eval()(torch.zeros(1, 3, 64, 64))
            for stage in stages:
                x = stage.eval()(x)
                dims.append(x.shape[1])
                sides.append(tuple(x.shape[2:]))
    except RuntimeError as error:
        raise InputError(
            f"The network {arch} cannot run with last stride 1 ({error}). "
            f"Choose a ResNet, for instance {_EXAMPLES}."
        ) from error
    finally:
        for module, training in modes:
            module.training = training
    if sides[3] != sides[2]:
        raise InputError(
            f"The last stage of the network {arch} still shrinks the map from {sides[2]} to "
            f"{sides[3]}; a last stride of 1 was expected. Choose a ResNet, for instance "
            f"{_EXAMPLES}."
        )
    return dims
