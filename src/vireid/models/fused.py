"""Residual blocks whose batch norms, sums and ReLUs are passes of our own kernels.

A compiler finds such passes too, but takes a minute; these are there in seconds, for every network
of residual blocks, number of identities and loss alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import triton
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vireid.models import norm_kernels as kernels

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # on a CPU, for tests
_TYPES = (torch.float32, torch.bfloat16, torch.float16)  # of maps; float64 would lose digits
_NUMBERS = 4096  # that a program casts
# What a program of a pass works on at once. benchmarks/kernels.py compares others.
TILE = {"ROWS": 32, "COLUMNS": 64, "num_warps": 4}
# The same of a sum over rows, with how many tiles of 2-byte numbers are on their way (2 of others,
# which take twice the shared memory; smaller GPUs have 99 KiB); and how many programs a sum is
# spread over: four for each multiprocessor of an H100.
SUMS = {"ROWS": 32, "COLUMNS": 64, "STAGES": 4, "num_warps": 4}
PARTS = 528
# The same of a program that adds parts up.
FEW = {"PARTS": 128, "COLUMNS": 16, "num_warps": 4}


class _Matrix:
    """A map (B, C, H, W) as rows and columns, and how passes and sums over its rows are cut."""

    def __init__(self, x: Tensor) -> None:
        self.channels = x.shape[1]
        self.rows = x.numel() // self.channels
        columns = triton.cdiv(self.channels, TILE["COLUMNS"])
        self.tiles = (triton.cdiv(self.rows, TILE["ROWS"]) * columns,)
        columns = triton.cdiv(self.channels, SUMS["COLUMNS"])
        self.parts = min(max(1, PARTS // columns), triton.cdiv(self.rows, SUMS["ROWS"]))
        self.programs = (self.parts * columns,)
        self.few = (triton.cdiv(self.channels, FEW["COLUMNS"]),)
        self.sum_tile = SUMS if x.element_size() == 2 else SUMS | {"STAGES": 2}

    def sums(self, kinds: int, like: Tensor) -> Tensor:
        return like.new_empty(kinds, self.parts, self.channels, dtype=torch.float32)


def _statistics(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """(4, C): mean, 1 / deviation, scale and shift: of this batch, which moves the running ones, or
    in evaluation of those."""
    matrix = _Matrix(x)
    kept = x.new_empty(4, matrix.channels, dtype=torch.float32)
    if not norm.training:
        kernels.running[matrix.few](
            norm.weight, norm.bias, norm.running_mean, norm.running_var, kept, matrix.channels,
            norm.eps, COLUMNS=FEW["COLUMNS"],
        )  # fmt: skip
        return kept
    sums = matrix.sums(2, x)
    kernels.moments[matrix.programs](
        x, sums, matrix.rows, matrix.parts, matrix.channels, **matrix.sum_tile
    )
    kernels.statistics[matrix.few](
        sums, x, norm.weight, norm.bias, norm.running_mean, norm.running_var,
        norm.num_batches_tracked, kept, matrix.parts, matrix.channels, float(matrix.rows),
        norm.momentum, norm.eps, **FEW,
    )  # fmt: skip
    return kept


class _NormGradient(NamedTuple):
    """A norm in a gradient: its input, weight and what was kept, and what is found of it."""

    x: Tensor
    weight: Tensor
    kept: Tensor
    factors: Tensor
    dweight: Tensor
    dbias: Tensor

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, kept: Tensor) -> _NormGradient:
        factors = kept.new_empty(3, kept.shape[1])
        return cls(x, weight, kept, factors, torch.empty_like(weight), torch.empty_like(weight))


def _gradient_sums(
    gradients: Sequence[Tensor],
    norm: _NormGradient,
    other: _NormGradient | None = None,
    *,
    y: Tensor | None = None,
    passed: Tensor | None = None,
    count: int | None = None,
) -> None:
    """Find the factors of the gradients of one norm or two (see `norm_kernels.gradient_sums`).

    Args:
        gradients: of the output, one or two to add up.
        y: the output, if the norm's isn't enough to tell where the ReLU let pass.
        passed: takes what did.
        count: of numbers a channel that the norm was taken over, if not those of `norm.x`.
    """
    x, matrix = norm.x, _Matrix(norm.x)
    more, sums = other or norm, matrix.sums(2 if other is None else 3, x)
    kernels.gradient_sums[matrix.programs](
        gradients[0], gradients[-1], x if y is None else y, x, norm.kept, more.x, more.kept,
        x if passed is None else passed, sums, matrix.rows, matrix.parts, matrix.channels,
        MORE=len(gradients) > 1, FROM_Y=y is not None, NORM=other is not None,
        **matrix.sum_tile,
    )  # fmt: skip
    for which, of in enumerate((norm,) if other is None else (norm, other), 1):
        kernels.gradient_factors[matrix.few](
            sums, of.weight, of.kept, of.factors, of.dweight, of.dbias,
            matrix.parts, matrix.channels, float(count or matrix.rows), which, **FEW,
        )  # fmt: skip


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class NormReLU(torch.autograd.Function):
    """ReLU(norm(x))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        x = _dense(x)
        matrix, kept = _Matrix(x), _statistics(x, norm)
        y = torch.empty_like(x)
        kernels.normalise[matrix.tiles](
            x, kept, x, kept, y, matrix.rows, matrix.channels,
            OTHER=False, NORM=False, **TILE,
        )  # fmt: skip
        ctx.save_for_backward(x, weight, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Any:  # type: ignore[override]
        norm, dy = _NormGradient.of(*ctx.saved_tensors), _dense(dy)
        x, matrix = norm.x, _Matrix(norm.x)
        _gradient_sums([dy], norm)
        dx = torch.empty_like(x)
        kernels.gradient[matrix.tiles](
            dy, x, norm.kept, norm.factors, dx, x, norm.factors, dx, matrix.rows, matrix.channels,
            RELU=True, NORM=False, **TILE,
        )  # fmt: skip
        return dx, norm.dweight, norm.dbias, None


class NormAddReLU(torch.autograd.Function):
    """ReLU(norm(x) + other), twice: for the next block's convolution and for its shortcut, whose
    gradients then are added where they are read. `other` may have a norm of its own."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        other: Tensor,
        other_weight: Tensor | None,
        other_bias: Tensor | None,
        norm: nn.BatchNorm2d,
        other_norm: nn.BatchNorm2d | None,
    ) -> tuple[Tensor, Tensor]:
        x, other = _dense(x), _dense(other)
        matrix, kept = _Matrix(x), _statistics(x, norm)
        other_kept = kept if other_norm is None else _statistics(other, other_norm)
        y = torch.empty_like(x)
        kernels.normalise[matrix.tiles](
            x, kept, other, other_kept, y, matrix.rows, matrix.channels,
            OTHER=True, NORM=other_norm is not None, **TILE,
        )  # fmt: skip
        ctx.set_materialize_grads(False)
        more = () if other_norm is None else (other, other_weight, other_kept)
        ctx.save_for_backward(y, x, weight, kept, *more)
        return y, y.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dy_more: Tensor | None) -> Any:  # type: ignore[override]
        y, *saved = ctx.saved_tensors
        norm = _NormGradient.of(*saved[:3])
        other = _NormGradient.of(*saved[3:]) if saved[3:] else None
        found = [_dense(gradient) for gradient in (dy, dy_more) if gradient is not None]
        x, matrix, g = norm.x, _Matrix(norm.x), torch.empty_like(norm.x)
        _gradient_sums(found, norm, other, y=y, passed=g)
        dx = torch.empty_like(x)
        more, dother = (norm, g) if other is None else (other, torch.empty_like(x))
        kernels.gradient[matrix.tiles](
            g, x, norm.kept, norm.factors, dx, more.x, more.factors, dother,
            matrix.rows, matrix.channels, RELU=False, NORM=other is not None, **TILE,
        )  # fmt: skip
        of_other = (None, None) if other is None else (other.dweight, other.dbias)
        return dx, norm.dweight, norm.dbias, dother, *of_other, None, None


class NormReLUPool(torch.autograd.Function):
    """max_pool(ReLU(norm(x))) over 3 x 3 places, every second one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        x = _dense(x)
        kept = _statistics(x, norm)
        count, channels, high, wide = x.shape
        size = (count, channels, (high + 1) // 2, (wide + 1) // 2)

        def made(dtype: torch.dtype) -> Tensor:
            return torch.empty(
                size, dtype=dtype, device=x.device, memory_format=torch.channels_last
            )

        y, winner, won_by = made(x.dtype), made(torch.uint8), made(x.dtype)
        matrix = _Matrix(y)
        kernels.pool[matrix.tiles](
            x, kept, y, winner, won_by, matrix.rows, channels, high, wide, *size[2:], **TILE
        )
        ctx.save_for_backward(x, weight, kept, winner, won_by)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Any:  # type: ignore[override]
        x, weight, kept, winner, won_by = ctx.saved_tensors
        dy, matrix = _dense(dy), _Matrix(x)
        # Each number of dy goes to one place, or to none.
        norm = _NormGradient.of(won_by, weight, kept)
        _gradient_sums([dy], norm, count=matrix.rows)
        dx = torch.empty_like(x)
        kernels.pool_gradient[matrix.tiles](
            dy, winner, x, norm.factors, dx, matrix.rows, matrix.channels,
            *x.shape[2:], *dy.shape[2:], **TILE,
        )  # fmt: skip
        return dx, norm.dweight, norm.dbias, None


def norm_relu_pool(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """The largest of 3 x 3 places of ReLU(norm(x)), every second one, padded by one."""
    return NormReLUPool.apply(x, norm.weight, norm.bias, norm)


def norm_relu(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """ReLU(norm(x)) of a map (B, C, H, W)."""
    return NormReLU.apply(x, norm.weight, norm.bias, norm)


def norm_add_relu(
    norm: nn.BatchNorm2d, x: Tensor, other: Tensor, other_norm: nn.BatchNorm2d | None = None
) -> Tensor:
    """ReLU(norm(x) + other) of maps (B, C, H, W); with `other_norm`, of its output.

    The result carries itself once more, as `again`: a block that takes its shortcut from there
    spares a pass that would add two gradients up."""
    more = (None, None) if other_norm is None else (other_norm.weight, other_norm.bias)
    y, again = NormAddReLU.apply(
        x, norm.weight, norm.bias, other.to(x.dtype), *more, norm, other_norm
    )
    y.again = again
    return y


def ours(module: nn.Module, x: Tensor) -> bool:
    """Whether our kernels run a fused module on a map: in training where `fuse` was told so, and in
    evaluation without gradients, whose formulas are others."""
    wanted = module.fused_training if module.training else not torch.is_grad_enabled()
    return bool(
        wanted
        and (x.is_cuda or INTERPRETED)
        and x.dtype in _TYPES
        # A norm whose statistics someone froze has another gradient.
        and all(norm.training == module.training for norm in _norms(module))
    )


def _norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


class Cast(torch.autograd.Function):
    """Weights in the number format of convolutions, in one launch, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.dtype = weights[0].dtype
        return _cast(weights, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # type: ignore[override]
        return None, *_cast(gradients, ctx.dtype)


def _cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Copies of up to four tensors. PyTorch's copy of many tensors takes 65,536 numbers a program,
    so it is slow where there are few programs."""
    given = [
        tensor
        if tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
        else tensor.contiguous()
        for tensor in tensors
    ]
    found = [torch.empty_like(tensor, dtype=dtype) for tensor in given]  # lie as those do
    none = 4 - len(tensors)
    counts = [tensor.numel() for tensor in tensors]
    kernels.cast[(triton.cdiv(max(counts), _NUMBERS), len(tensors))](
        *given, *given[:1] * none, *found, *found[:1] * none, *counts, *[0] * none,
        NUMBERS=_NUMBERS,
    )  # fmt: skip
    return tuple(found)


def _convolutions(block: nn.Module, x: Tensor) -> list[Callable[[Tensor], Tensor]]:
    """A block's convolutions in the order of their names, that of the shortcut last; under autocast
    with all of their weights cast at once."""
    layers = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    if not torch.is_autocast_enabled(x.device.type) or layers[0].weight.dtype != torch.float32:
        return list(layers)
    cast = Cast.apply(torch.get_autocast_dtype(x.device.type), *(c.weight for c in layers))
    return [partial(_convolve, layer, weight) for layer, weight in zip(layers, cast)]


def _convolve(layer: nn.Conv2d, weight: Tensor, x: Tensor) -> Tensor:
    return layer._conv_forward(x, weight, layer.bias)


class FusedBottleneck(Bottleneck):
    """A bottleneck block: three convolutions and the passes between them."""

    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d
    bn3: nn.BatchNorm2d

    def forward(self, x: Tensor) -> Tensor:
        if not ours(self, x):
            return super().forward(x)
        first, second, third, *more = _convolutions(self, x)
        y = norm_relu(self.bn1, first(x))
        y = norm_relu(self.bn2, second(y))
        return _last(self, self.bn3, third(y), x, more)


class FusedBasicBlock(BasicBlock):
    """A basic block, likewise."""

    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d

    def forward(self, x: Tensor) -> Tensor:
        if not ours(self, x):
            return super().forward(x)
        first, second, *more = _convolutions(self, x)
        y = norm_relu(self.bn1, first(x))
        return _last(self, self.bn2, second(y), x, more)


def _last(
    block: nn.Module, norm: nn.BatchNorm2d, y: Tensor, x: Tensor, more: Sequence[Any]
) -> Tensor:
    """The block's sum; `more` is the shortcut's convolution, if it has one."""
    shortcut = getattr(x, "again", x)
    if block.downsample is None:
        return norm_add_relu(norm, y, shortcut)
    *before, last = block.downsample  # type: ignore[misc]
    for module in before:
        shortcut = more[0](shortcut) if isinstance(module, nn.Conv2d) else module(shortcut)
    return norm_add_relu(norm, y, shortcut, last)


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    Bottleneck: FusedBottleneck,
    BasicBlock: FusedBasicBlock,
}
