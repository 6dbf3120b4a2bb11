"""Which modules of a network run on kernels of our own, and letting them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache

import torch
from timm.layers import AvgPool2dSame
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn

from vireid.console import first_line
from vireid.extras import has_triton
from vireid.models.layers import AveragePool, GeneralisedMean, NonLocal
from vireid.models.shift import HeterogeneousShift


def fits(network: nn.Module) -> bool:
    """Whether a network has residual blocks that our kernels compute, or do already."""
    return any(
        isinstance(module, BasicBlock | Bottleneck)
        and (hasattr(module, "fused_training") or _is_block(module))
        for module in network.modules()
    )


@cache
def why_not(device: torch.device) -> str:
    """Why our kernels don't work on a GPU; "" if they do."""
    if not has_triton():
        return "Triton isn't installed"
    try:
        from vireid.models.fused import norm_relu

        here = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
        with torch.no_grad(), here:
            norm = nn.BatchNorm2d(16).to(device).eval()
            norm_relu(norm, torch.ones(1, 16, 4, 4, device=device))
    except Exception as error:  # no C compiler, no folder for what is compiled, an old GPU, …
        return first_line(error)
    return ""


def fuse(
    network: nn.Module,
    *,
    training: bool = True,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> None:
    """Let those blocks, the stems before them, non-local blocks and pooling run on our kernels.

    Weights and names stay as they are. Needs Triton.

    Args:
        training: in training, too; else only in evaluation, so that an evaluation changes nothing
            about a training with the same network.
        dtype, device: of the maps of a training, whose kernels are then compiled at once.
    """
    fused = _fused()
    for module, kind in list(_to_fuse(network)):
        module.__class__ = fused[kind]
        module.fused_training = False  # type: ignore[assignment]
    for module in network.modules():
        if training and type(module) in fused.values():
            module.fused_training = True  # type: ignore[assignment]
    if dtype is not None and device is not None:
        from vireid.models.precompile import precompile

        precompile(network, dtype, device)


def plain(network: nn.Module) -> None:
    """Undo `fuse`."""
    for module in network.modules():
        if hasattr(module, "fused_training"):
            module.__class__ = type(module).__base__  # type: ignore[assignment]
            del module.fused_training


def _fused() -> dict[type[nn.Module], type[nn.Module]]:
    """Class → the class that runs on our kernels."""
    from vireid.models.fused import FUSED
    from vireid.models.fused_layers import LAYERS
    from vireid.models.fused_shift import SHIFT
    from vireid.models.fused_stem import STEM

    return FUSED | LAYERS | SHIFT | STEM


def _to_fuse(network: nn.Module) -> Iterator[tuple[nn.Module, type[nn.Module]]]:
    for module in network.modules():
        if _is_block(module) or _is_stem(module) or _is_layer(module):
            yield module, type(module)


def _is_block(block: nn.Module) -> bool:
    """Whether it is a residual block of batch norms, with their running means, ReLUs and
    convolutions, and nothing else."""
    if not isinstance(block, BasicBlock | Bottleneck):
        return False
    if type(block) not in (BasicBlock, Bottleneck) or block.drop_path is not None:
        return False
    last = [] if block.downsample is None else [block.downsample[-1]]  # type: ignore[index]
    known = {nn.Identity, nn.ReLU, nn.Conv2d, nn.Sequential, nn.AvgPool2d, AvgPool2dSame}
    return (
        all(_is_norm(module) for module in last)
        and _is_made_of(block, known)
        and isinstance(getattr(block, "aa", None), nn.Identity | None)
    )


def _is_made_of(module: nn.Module, known: set[type[nn.Module]]) -> bool:
    """Whether its parts are of these classes or norms that our kernels compute, and nothing listens
    to them, as our kernels don't call them."""
    return all(
        (_is_norm(part) or type(part) in known) and not _has_hooks(part)
        for part in module.modules()
        if part is not module
    )


def _has_hooks(module: nn.Module) -> bool:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name, None) for name in names)


def _is_norm(module: nn.Module) -> bool:
    return (
        type(module) is nn.BatchNorm2d
        and module.affine
        and module.track_running_stats
        and module.momentum is not None
    )


def _is_stem(module: nn.Module) -> bool:
    """Whether it is the stem of a ResNet: a convolution, norm, ReLU, and a pooling of 3 x 3."""
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    if type(module) is not nn.Sequential or [type(part) for part in module] != kinds:
        return False
    pool = module[3]
    asked = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
    return _is_made_of(module, {nn.Conv2d, nn.ReLU, nn.MaxPool2d}) and asked == (3, 2, 1, 1, False)


def _is_layer(module: nn.Module) -> bool:
    """Whether it is pooling, or a non-local block with one channel or a heterogeneous shift, whose
    norms see one process."""
    if type(module) is NonLocal:
        return module.channels == 1 and _is_made_of(module, {nn.Conv2d})
    if type(module) is HeterogeneousShift:
        return _is_made_of(module, {nn.Sequential, nn.Conv2d, nn.Hardswish})
    return type(module) in (GeneralisedMean, AveragePool)
