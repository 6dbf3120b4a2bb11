"""Residual blocks whose batch norms, sums and ReLUs are passes of our own kernels.

A compiler finds such passes too, but takes a minute; these are there in seconds, for every network
of residual blocks, number of identities and loss alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import triton
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from vireid.models import norm_kernels as kernels

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # on a CPU, for tests
_FEW = 16  # columns of a program that adds parts up
# What a program works on at once, and how many programs a sum over rows is spread over: four for
# each multiprocessor of an H100. benchmarks/kernels.py compares others.
TILE = {"ROWS": 32, "COLUMNS": 64, "num_warps": 4}
PARTS = 528


class _Matrix:
    """A map (B, C, H, W) as rows and columns, and how sums over its rows are cut."""

    def __init__(self, x: Tensor) -> None:
        self.channels = x.shape[1]
        self.rows = x.numel() // self.channels
        self.blocks = triton.cdiv(self.channels, TILE["COLUMNS"])
        tiles = triton.cdiv(self.rows, TILE["ROWS"])
        self.each = triton.cdiv(tiles, max(1, PARTS // self.blocks)) * TILE["ROWS"]
        self.parts = triton.cdiv(self.rows, self.each)
        self.tiles = (tiles, self.blocks)

    def sums(self, kinds: int, like: Tensor) -> Tensor:
        return like.new_empty(self.parts, kinds, self.channels, dtype=torch.float32)

    @property
    def few(self) -> tuple[int]:
        return (triton.cdiv(self.channels, _FEW),)


def _statistics(x: Tensor, norm: nn.BatchNorm2d, matrix: _Matrix) -> Tensor:
    """(4, C): mean, 1 / deviation, scale and shift: of this batch, which moves the running ones, or
    in evaluation of those."""
    if not norm.training:
        kept = x.new_empty(4, matrix.channels, dtype=torch.float32)
        kernels.running[matrix.few](
            norm.weight, norm.bias, norm.running_mean, norm.running_var, kept, matrix.channels,
            norm.eps, COLUMNS=_FEW,
        )  # fmt: skip
        return kept
    sums = matrix.sums(2, x)
    kernels.moments[(matrix.parts, matrix.blocks)](
        x, sums, matrix.rows, matrix.channels, matrix.each, **TILE
    )
    kept = sums.new_empty(4, matrix.channels)
    kernels.statistics[matrix.few](
        sums, x, norm.weight, norm.bias, norm.running_mean, norm.running_var,
        norm.num_batches_tracked, kept, matrix.parts, matrix.channels, float(matrix.rows),
        norm.momentum, norm.eps, PARTS=64, COLUMNS=_FEW,
    )  # fmt: skip
    return kept


def _factors(
    sums: Tensor, weight: Tensor, kept: Tensor, matrix: _Matrix, which: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """(3, C) factors of the gradient, and the gradients of weight and bias."""
    factors = sums.new_empty(3, matrix.channels)
    dweight, dbias = torch.empty_like(weight), torch.empty_like(weight)
    kernels.gradient_factors[matrix.few](
        sums, weight, kept, factors, dweight, dbias, matrix.parts, matrix.channels,
        float(matrix.rows), which, KINDS=sums.shape[1], PARTS=64, COLUMNS=_FEW,
    )  # fmt: skip
    return factors, dweight, dbias


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


class _NormReLU(torch.autograd.Function):
    """ReLU(norm(x))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        x = _dense(x)
        matrix = _Matrix(x)
        kept = _statistics(x, norm, matrix)
        y = torch.empty_like(x)
        kernels.normalise[matrix.tiles](
            x, kept, x, kept, y, matrix.rows, matrix.channels,
            OTHER=False, NORM=False, RELU=True, **TILE,
        )  # fmt: skip
        ctx.save_for_backward(x, weight, kept)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:  # type: ignore[override]
        x, weight, kept = ctx.saved_tensors
        dy, matrix = _dense(dy), _Matrix(x)
        sums = matrix.sums(2, x)
        kernels.gradient_sums[(matrix.parts, matrix.blocks)](
            dy, dy, x, x, kept, x, kept, x, sums, matrix.rows, matrix.channels, matrix.each,
            MORE=False, FROM_Y=False, RELU=True, NORM=False, **TILE,
        )  # fmt: skip
        factors, dweight, dbias = _factors(sums, weight, kept, matrix)
        dx = torch.empty_like(x)
        kernels.gradient[matrix.tiles](
            dy, x, kept, factors, dx, x, factors, dx, matrix.rows, matrix.channels,
            RELU=True, NORM=False, **TILE,
        )  # fmt: skip
        return dx, dweight, dbias, None


class _NormAddReLU(torch.autograd.Function):
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
        matrix = _Matrix(x)
        kept = _statistics(x, norm, matrix)
        other_kept = kept if other_norm is None else _statistics(other, other_norm, matrix)
        y = torch.empty_like(x)
        kernels.normalise[matrix.tiles](
            x, kept, other, other_kept, y, matrix.rows, matrix.channels,
            OTHER=True, NORM=other_norm is not None, RELU=True, **TILE,
        )  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.has_norm = other_norm is not None
        more = (other, other_weight, other_kept) if ctx.has_norm else ()
        ctx.save_for_backward(x, weight, kept, y, *more)
        return y, y.detach()

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dy_more: Tensor | None) -> Any:  # type: ignore[override]
        x, weight, kept, y, *more = ctx.saved_tensors
        other, other_weight, other_kept = more or (x, weight, kept)
        found = [_dense(gradient) for gradient in (dy, dy_more) if gradient is not None]
        matrix = _Matrix(x)
        g = torch.empty_like(x)
        sums = matrix.sums(3 if ctx.has_norm else 2, x)
        kernels.gradient_sums[(matrix.parts, matrix.blocks)](
            found[0], found[-1], y, x, kept, other, other_kept, g, sums,
            matrix.rows, matrix.channels, matrix.each,
            MORE=len(found) > 1, FROM_Y=True, RELU=True, NORM=ctx.has_norm, **TILE,
        )  # fmt: skip
        factors, dweight, dbias = _factors(sums, weight, kept, matrix)
        dx, dother, other_factors = torch.empty_like(x), g, factors
        of_other: list[Tensor | None] = [None, None]
        if ctx.has_norm:
            dother = torch.empty_like(x)
            other_factors, *of_other = _factors(sums, other_weight, other_kept, matrix, 2)
        kernels.gradient[matrix.tiles](
            g, x, kept, factors, dx, other, other_factors, dother, matrix.rows, matrix.channels,
            RELU=False, NORM=ctx.has_norm, **TILE,
        )  # fmt: skip
        return dx, dweight, dbias, dother, *of_other, None, None


class _NormReLUPool(torch.autograd.Function):
    """max_pool(ReLU(norm(x))) over 3 x 3 places, every second one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        x = _dense(x)
        kept = _statistics(x, norm, _Matrix(x))
        count, channels, high, wide = x.shape
        size = ((high + 1) // 2, (wide + 1) // 2)
        y = x.new_empty(count, channels, *size).contiguous(memory_format=torch.channels_last)
        winner = torch.empty_like(y, dtype=torch.uint8)
        matrix = _Matrix(y)
        kernels.pool[matrix.tiles](
            x, kept, y, winner, matrix.rows, channels, high, wide, *size, **TILE
        )
        ctx.save_for_backward(x, weight, kept, winner)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:  # type: ignore[override]
        x, weight, kept, winner = ctx.saved_tensors
        dy, matrix = _dense(dy), _Matrix(x)
        sides = (*x.shape[2:], *dy.shape[2:])
        sums = matrix.sums(2, x)
        kernels.pool_gradient_sums[(matrix.parts, matrix.blocks)](
            dy, winner, x, kept, sums, matrix.rows, matrix.channels, matrix.each, *sides, **TILE
        )
        factors, dweight, dbias = _factors(sums, weight, kept, matrix)
        dx = torch.empty_like(x)
        kernels.pool_gradient[matrix.tiles](
            dy, winner, x, factors, dx, matrix.rows, matrix.channels, *sides, **TILE
        )
        return dx, dweight, dbias, None


def norm_relu_pool(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """The largest of 3 x 3 places of ReLU(norm(x)), every second one, padded by one."""
    return _NormReLUPool.apply(x, norm.weight, norm.bias, norm)


def norm_relu(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """ReLU(norm(x)) of a map (B, C, H, W)."""
    return _NormReLU.apply(x, norm.weight, norm.bias, norm)


def norm_add_relu(
    norm: nn.BatchNorm2d, x: Tensor, other: Tensor, other_norm: nn.BatchNorm2d | None = None
) -> Tensor:
    """ReLU(norm(x) + other) of maps (B, C, H, W); with `other_norm`, of its output.

    The result carries itself once more, as `again`: a block that takes its shortcut from there
    spares a pass that would add two gradients up."""
    more = (None, None) if other_norm is None else (other_norm.weight, other_norm.bias)
    y, again = _NormAddReLU.apply(
        x, norm.weight, norm.bias, other.to(x.dtype), *more, norm, other_norm
    )
    y.again = again
    return y


def ours(module: nn.Module, x: Tensor) -> bool:
    """Whether our kernels run a fused module on a map: in training where `fuse` was told so, and in
    evaluation without gradients, whose formulas are others."""
    if not (x.is_cuda or INTERPRETED):
        return False
    return module.fused_training if module.training else not torch.is_grad_enabled()  # type: ignore[return-value]


class _Cast(torch.autograd.Function):
    """Weights in the number format of convolutions, in one launch, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.dtype = weights[0].dtype
        cast = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        torch._foreach_copy_(cast, weights)
        return tuple(cast)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # type: ignore[override]
        whole = [torch.empty_like(gradient, dtype=ctx.dtype) for gradient in gradients]
        torch._foreach_copy_(whole, gradients)
        return None, *whole


def _convolutions(block: nn.Module, x: Tensor) -> list[Callable[[Tensor], Tensor]]:
    """A block's convolutions in the order of their names, that of the shortcut last; under autocast
    with all of their weights cast at once."""
    layers = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
    if not torch.is_autocast_enabled(x.device.type) or layers[0].weight.dtype != torch.float32:
        return list(layers)
    cast = _Cast.apply(torch.get_autocast_dtype(x.device.type), *(c.weight for c in layers))
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


class FusedStem(nn.Sequential):
    """Convolution, norm, ReLU and max pooling."""

    def forward(self, x: Tensor) -> Tensor:
        if not ours(self, x):
            return super().forward(x)
        convolution, norm = self[0], self[1]
        return norm_relu_pool(norm, convolution(x))  # type: ignore[arg-type]


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    Bottleneck: FusedBottleneck,
    BasicBlock: FusedBasicBlock,
    nn.Sequential: FusedStem,
}
