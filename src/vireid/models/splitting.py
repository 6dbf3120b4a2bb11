"""One adapter to timm: a network as a stem and four stages of blocks.

What belongs to which part is read from the network itself (timm's `feature_info`), and a trial run
proves it: stem and stages, run one after the other, must give what the network gives as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vireid.models.backbone import STAGES
from vireid.models.families import arch_examples, arch_name
from vireid.models.layouts import ChannelsFirst, ChannelsLast, Layout
from vireid.models.strides import TRIAL, Changes, side_of, undo_strides
from vireid.models.tokens import TokenStem
from vireid.own_code import is_code
from vireid.types import InputError

# Where timm's networks stop to be about maps: their pooling and classifiers.
_HEADS = {"global_pool", "head", "classifier", "fc", "pre_logits", "head_drop"}
Chain = list[tuple[str, nn.Module]]  # modules to be run one after the other, by name


class Backbone(NamedTuple):
    """A network taken apart.

    Attributes:
        stem: image (B, 3, H, W) → values of the first stage's kind.
        stages: four `nn.Sequential` of blocks.
        stem_dim: channels after the stem.
        dims: channels after each stage.
        strides: pixels of the image for one place of the map, after the stem and each stage; a
            ResNet has (4, 4, 8, 16, 16).
        layout: takes the map (B, C, h, w) out of what stem and stages return.
        signed: the last map has values below 0.
        arch: timm's name of the network, or that of a user's own.
    """

    stem: nn.Module
    stages: nn.ModuleList
    stem_dim: int
    dims: tuple[int, ...]
    strides: tuple[int, ...]
    layout: Layout
    signed: bool
    arch: str


def split(
    network: nn.Module, arch: str, *, last_stride: int = 1, patch_stride: int | None = None
) -> Backbone:
    """Take a network apart, its weights unchanged.

    Args:
        arch: its name, for messages.
        last_stride: 1 keeps the last stage from shrinking the map once more.
        patch_stride: pixels from one patch of a vision transformer to the next; None for the side
            of a patch.

    Raises:
        InputError: it does not split, its last stage cannot run at stride 1, or a stride was asked
            for that it has not.
    """
    if isinstance(network, VisionTransformer):
        if last_stride != 1:
            raise InputError(
                f"`last_stride` is {last_stride}, but the network {arch} works on tokens, whose "
                "number no stage changes. Leave it out; `patch_stride` sets how many there are."
            )
        return _split_tokens(network, arch, patch_stride)
    if patch_stride is not None:
        raise InputError(
            f"`patch_stride` is {patch_stride}, but the network {arch} has no patches that could "
            "overlap; a vision transformer has. Leave it out."
        )
    shapes = tuple((name, value.shape) for name, value in network.named_parameters())
    key = (arch, last_stride, shapes)
    if key in _CUTS:
        return _cut(network, arch, _CUTS[key])
    own = not hasattr(network, "forward_features")
    stem, stages, layout = _own_parts(network, arch) if own else _parts(network, arch)
    whole: Any = None if own else network.forward_features
    names = {module: name for name, module in network.named_modules()}
    changes = Changes([], [])
    with _on_trial(network):
        values = _trial(stem, stages, arch, whole, opening=True)
        blocks = tuple(tuple(names[block] for block in stage) for stage in stages)
        if last_stride == 1:
            if side_of(values[-1], layout) < side_of(values[-2], layout):
                changes = undo_strides(stages[-1], values[-2], layout)
                values = _trial(stem, stages, arch)
            if side_of(values[-1], layout) != side_of(values[-2], layout):
                raise InputError(
                    f"The last stage of the network {arch} shrinks the map in a way that can't be "
                    f"undone. Set `last_stride` to 2, or choose another: {arch_examples()}."
                )
    made = _backbone(stem, stages, layout, values, TRIAL, arch)
    if not own and not is_code(arch) and not values[-1].is_meta:
        facts = made._replace(stem=nn.Identity(), stages=nn.ModuleList())
        _CUTS[key] = _Cut(tuple(name for name, _ in stem), blocks, changes, facts)
    return made


class _Cut(NamedTuple):
    """How a network of timm was taken apart: names of modules, and what a trial told of it."""

    stem: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    changes: Changes
    facts: Backbone


_CUTS: dict[tuple[str, int, tuple], _Cut] = {}  # by network and last stride; trials take a while


def _cut(network: nn.Module, arch: str, cut: _Cut) -> Backbone:
    """Take another network of the same name apart without a trial."""
    stem = [(name, network.get_submodule(name)) for name in cut.stem]
    stages = [[network.get_submodule(name) for name in names] for names in cut.stages]
    cut.changes.repeat(stages[-1])
    return cut.facts._replace(stem=_in_a_row(stem), stages=_stages(stages))


# Networks of maps -----------------------------------------------------------------------------


def _parts(network: nn.Module, arch: str) -> tuple[Chain, list[list[nn.Module]], Layout]:
    """Stem, stages and layout of a network of timm whose modules run one after the other."""
    levels = [info["module"] for info in getattr(network, "feature_info", [])]
    if len(levels) < STAGES:
        raise _does_not_split(arch, f"it has {len(levels)} levels of maps")
    chain: Chain = []
    for name, child in network.named_children():
        if name in _HEADS:
            break
        chain += _opened(name, child, levels)
    names = [name for name, _ in chain]
    ends = [names.index(level) for level in levels if level in names]
    if len(ends) < STAGES or ends != sorted(ends):
        raise _does_not_split(arch, f"its levels {', '.join(levels)} are no modules in a row")
    ends = ends[-STAGES - 1 :]
    if len(ends) == STAGES:  # the first level is the first stage
        ends = [ends[0] - 1, *ends]
    for name, module in chain[ends[0] + 1 : ends[1]]:
        if name != "maxpool" and any(True for _ in module.parameters()):
            break
        ends[0] += 1  # pooling before the first stage belongs to the stem
    ends[-1] = len(chain) - 1  # what follows the last level belongs to the last stage
    stem = chain[: ends[0] + 1]
    stages = [
        [module for _, module in chain[before + 1 : end + 1] if not isinstance(module, nn.Identity)]
        for before, end in pairwise(ends)
    ]
    last_format = getattr(network, "output_fmt", "NCHW")
    layout: Layout = ChannelsLast() if last_format == "NHWC" else ChannelsFirst()
    return stem, stages, layout


def _opened(name: str, module: nn.Module, levels: Sequence[str]) -> Chain:
    """A module, or what it holds, where the network's levels begin or end within it."""
    if name in levels or not any(level.startswith(f"{name}.") for level in levels):
        return [(name, module)]
    return [
        entry
        for inner, child in module.named_children()
        for entry in _opened(f"{name}.{inner}", child, levels)
    ]


def _own_parts(network: nn.Module, arch: str) -> tuple[Chain, list[list[nn.Module]], Layout]:
    """Stem and stages of a user's own network."""
    stem, stages = (getattr(network, name, None) for name in ("stem", "stages"))
    if not isinstance(stem, nn.Module) or stages is None or len(list(stages)) != STAGES:
        raise InputError(
            f"The network {arch} has no attributes `stem`, a module, and `stages`, a sequence of "
            f"{STAGES} modules. Give it both; examples/my_backbone.py is a whole one."
        )
    return [("stem", stem)], [[stage] for stage in stages], ChannelsFirst()


def _trial(
    stem: Chain,
    stages: list[list[nn.Module]],
    arch: str,
    whole: Callable[[Tensor], Tensor] | None = None,
    *,
    opening: bool = False,
) -> list[Tensor]:
    """What stem and stages return of a small image.

    Args:
        whole: the network's own pass over it, which must give the same.
        opening: replace what a stage is made of by its blocks.
    """
    x = image = torch.linspace(-1, 1, 3 * TRIAL * TRIAL).view(1, 3, TRIAL, TRIAL)
    values = []
    try:
        for _, module in stem:
            x = module(x)
        values.append(x)
        for stage in stages:
            blocks = []
            for module in stage:
                blocks += _blocks(module, x) if opening else [module]
                x = module(x)
            stage[:] = blocks
            values.append(x)
        expected = None if whole is None else whole(image)
    except Exception as error:  # whatever a network of another kind does with such values
        raise _does_not_split(arch, f"its parts can't be run in a row: {error}") from error
    if x.dim() != 4 or (expected is not None and not _same(x, expected)):
        raise _does_not_split(arch, "its parts, run in a row, give something else than it gives")
    return values


def _blocks(module: nn.Module, x: Tensor) -> list[nn.Module]:
    """A stage's blocks, where they are all it is made of; else the stage itself."""
    if type(module) is nn.Sequential:
        return list(module)
    if not type(module).__name__.endswith("Stage"):
        return [module]
    inner: list[nn.Module] = []
    for name, child in module.named_children():
        inner += list(child.children()) if name == "blocks" else [child]
    inner = [child for child in inner if not isinstance(child, nn.Identity)]
    y = x
    try:
        for child in inner:
            y = child(y)
    except Exception:  # it has its own way through its children
        return [module]
    return inner if _same(y, module(x)) else [module]


# Networks of tokens ---------------------------------------------------------------------------


def _split_tokens(network: VisionTransformer, arch: str, stride: int | None) -> Backbone:
    """A vision transformer: its blocks in four stages of equal depth, its last norm in the last."""
    blocks = list(network.blocks)
    if len(blocks) < STAGES:
        raise _does_not_split(arch, f"it has {len(blocks)} blocks")
    side = 4 * int(network.patch_embed.patch_size[0])
    image = torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)
    with _on_trial(network):
        expected = network.forward_features(image)
        stem = TokenStem(network)
        ends = [len(blocks) * (k + 1) // STAGES for k in range(STAGES)]
        stages = [blocks[a:b] for a, b in zip([0, *ends], ends)]
        stages[-1].append(network.norm)
        values = [stem(image)]
        for stage in stages:
            values.append(nn.Sequential(*stage)(values[-1]))
    if not _same(values[-1], expected, atol=1e-4):
        raise _does_not_split(arch, "its parts, run in a row, give something else than it gives")
    if stride is not None:
        stem = TokenStem(network, stride)
        with _on_trial(stem):
            values = [stem(image)] * 5
    made = _backbone([("stem", stem)], stages, stem.layout, values, side, arch)
    pixels = stem.layout.stride[0]
    return made._replace(stem=stem, strides=(pixels,) * (STAGES + 1))


# Both -----------------------------------------------------------------------------------------


def _backbone(
    stem: Chain,
    stages: list[list[nn.Module]],
    layout: Layout,
    values: list[Tensor],
    side: int,
    arch: str,
) -> Backbone:
    maps = [layout.map_of(value, (side, side)) for value in values]
    return Backbone(
        stem=_in_a_row(stem),
        stages=_stages(stages),
        stem_dim=maps[0].shape[1],
        dims=tuple(x.shape[1] for x in maps[1:]),
        strides=tuple(side // x.shape[2] for x in maps),
        layout=layout,
        signed=not maps[-1].is_meta and bool((maps[-1] < 0).any()),
        arch=arch_name(arch),
    )


def _in_a_row(stem: Chain) -> nn.Sequential:
    first = nn.Sequential()
    for name, module in stem:
        first.add_module(name.replace(".", "_"), module)
    return first


def _stages(stages: list[list[nn.Module]]) -> nn.ModuleList:
    return nn.ModuleList(nn.Sequential(*stage) for stage in stages)


def _same(x: Tensor, expected: Tensor, atol: float = 0.0) -> bool:
    """Whether two tensors agree; of tensors without memory, their shapes."""
    if x.shape != expected.shape or x.is_meta:
        return x.shape == expected.shape
    return torch.allclose(x, expected, rtol=0, atol=atol)


@contextmanager
def _on_trial(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients, so that a trial leaves no trace."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _does_not_split(arch: str, why: str) -> InputError:
    return InputError(
        f"The network {arch} does not split into a stem and four stages ({why}), which two streams "
        f"with a shared body need. Choose another: {arch_examples()}."
    )
