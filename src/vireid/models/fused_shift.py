"""The heterogeneous shift, whose passes over the map are our own kernels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vireid.models import shift_kernels as kernels
from vireid.models.fused import ours
from vireid.models.shift import HeterogeneousShift

TILE = {"NUMBERS": 1024, "STAGES": 3, "num_warps": 1}  # of a program that goes down a map
_LINES = {"CHANNELS": 32, "num_warps": 4}  # of a program that takes all lines of an image
# Rows or columns; a larger map takes the plain way. bfloat16 counts places up to 256.
_MOST = 128


class _Cut:
    """How a map (B, C, H, W) is cut for programs that go down its rows and for those of lines."""

    def __init__(self, x: Tensor) -> None:
        images, channels, high, wide = x.shape
        self.sides = (high, wide, channels)
        # No fewer than these, so that maps of most sizes take the same compiled kernels.
        column, row = max(32, triton.next_power_of_2(high)), max(16, triton.next_power_of_2(wide))
        deep = max(16, TILE["NUMBERS"] // row)
        more = {name: value for name, value in TILE.items() if name != "NUMBERS"}
        self.tile = {"WIDE": row, "CHANNELS": deep, **more}
        self.programs = (images, triton.cdiv(channels, deep))
        self.line_tile = {"HIGH": column, "WIDE": row, **_LINES}
        self.line_programs = (images, triton.cdiv(channels, _LINES["CHANNELS"]))


class Profile(torch.autograd.Function):
    """The profile (B, H + W, C) of a map, and the map once more, for the gates, whose gradient is
    added where the profile's is made."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        cut = _Cut(x)
        p, largest, winners = x.new_empty(3, x.shape[0], x.shape[2] + x.shape[3], x.shape[1])
        mean = torch.empty_like(p, dtype=torch.float32)
        kernels.peaks[cut.programs](x, mean, largest, winners, *cut.sides, **cut.tile)
        kernels.profile[cut.line_programs](mean, largest, p, *cut.sides, **cut.line_tile)
        ctx.save_for_backward(x, largest, winners)
        return p, x.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dp: Tensor, dx_more: Tensor) -> Any:  # type: ignore[override]
        x, largest, winners = ctx.saved_tensors
        cut, dx = _Cut(x), torch.empty_like(x)
        of_all, of_peaks = largest.new_empty(2, *largest.shape, dtype=torch.float32)
        kernels.profile_gradient[cut.line_programs](
            dp.contiguous(), largest, winners, of_all, of_peaks, *cut.sides, **cut.line_tile
        )
        dx_more = dx_more.contiguous(memory_format=torch.channels_last)
        kernels.peaks_gradient[cut.programs](
            x, largest, of_all, of_peaks, dx_more, dx, *cut.sides, **cut.tile
        )
        return dx


class Gate(torch.autograd.Function):
    """x·σ(a)·σ(b)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        a, b = a.contiguous(), b.contiguous()
        cut, y = _Cut(x), torch.empty_like(x)
        kernels.gate[cut.programs](x, a, b, y, *cut.sides, **cut.tile)
        ctx.save_for_backward(x, a, b)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Any:  # type: ignore[override]
        x, a, b = ctx.saved_tensors
        cut = _Cut(x)
        dx, da, db = torch.empty_like(x), torch.empty_like(a), torch.empty_like(b)
        dy = dy.contiguous(memory_format=torch.channels_last)
        kernels.gate_gradient[cut.programs](dy, x, a, b, dx, da, db, *cut.sides, **cut.tile)
        return dx, da, db


class FusedShift(HeterogeneousShift):
    """The shift: two passes over the map each way; what is between them sees lines only."""

    def forward(self, x: Tensor) -> Tensor:
        # A step that is compiled as one graph stays one.
        if torch.compiler.is_compiling() and not self.fused_training:
            return super().forward(x)
        return self._apart(x)

    @torch.compiler.disable
    def _apart(self, x: Tensor) -> Tensor:
        if not ours(self, x) or max(x.shape[2:]) > _MOST:
            return super().forward(x)
        x = x.contiguous(memory_format=torch.channels_last)
        p, again = Profile.apply(x)
        layers: Any = self.channel_attention
        reduce, norm, act = layers
        lines = _product(p, reduce)
        lines = act(
            F.batch_norm(
                lines.flatten(0, 1), norm.running_mean, norm.running_var, norm.weight, norm.bias,
                norm.training, norm.momentum, norm.eps,
            )
        ).view_as(lines)  # fmt: skip
        if norm.training:
            norm.num_batches_tracked.add_(1)
        rows, columns = lines.split(x.shape[2:], dim=1)
        return Gate.apply(again, _product(rows, self.conv_h), _product(columns, self.conv_w))


def _product(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A convolution of 1 x 1 of lines (B, N, C)."""
    return F.linear(x, layer.weight.flatten(1))


SHIFT: dict[type[nn.Module], type[nn.Module]] = {HeterogeneousShift: FusedShift}
