"""The non-local block with one channel, and pooling, as passes of our own kernels."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vireid.models import layer_kernels as kernels
from vireid.models.fused import FEW, PARTS, TILE, ours
from vireid.models.layers import AveragePool, GeneralisedMean, NonLocal

_NUMBERS = 4096  # of a tile of whole rows
_LINE = 128  # numbers of a program that has nothing to add up, or little
_POSITIONS = 1024  # of an image that a program takes at once


class _WholeRows:
    """A map (B, C, H, W) as rows and columns, cut between rows only."""

    def __init__(self, x: Tensor) -> None:
        self.images, self.channels = x.shape[:2]
        self.positions = x.shape[2] * x.shape[3]
        self.rows = self.images * self.positions
        columns = triton.next_power_of_2(self.channels)
        height = max(1, _NUMBERS // columns)
        self.tile = {"ROWS": height, "COLUMNS": columns, "num_warps": 8}
        self.each = triton.cdiv(triton.cdiv(self.rows, height), PARTS) * height
        self.parts = (triton.cdiv(self.rows, self.each),)
        self.few = triton.cdiv(self.channels, FEW["COLUMNS"])


class OneChannel(torch.autograd.Function):
    """The non-local block, twice: for the next block's convolution and for its shortcut, whose
    gradients then are added where they are read."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        w: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        block: NonLocal,
    ) -> tuple[Tensor, Tensor]:
        x = x.contiguous(memory_format=torch.channels_last)
        cut, norm = _WholeRows(x), block.bn
        projected = weight.new_empty(3, cut.rows, dtype=torch.float32)
        kernels.project[cut.parts](
            x, weight, bias, projected, cut.rows, cut.channels, cut.each, **cut.tile
        )
        pairs, middle = projected.new_empty(3, cut.images), projected.new_empty(1)
        kernels.pair[(cut.images,)](projected, pairs, cut.rows, cut.positions, POSITIONS=_POSITIONS)
        kept = projected.new_empty(2, cut.channels)
        kernels.scale[(triton.cdiv(cut.channels, _LINE),)](
            pairs, w, block.w.bias, norm_weight, norm.running_mean, norm.running_var,
            norm.num_batches_tracked, middle, kept, cut.images, cut.positions, cut.channels,
            norm.momentum, norm.eps, IMAGES=_LINE, COLUMNS=_LINE,
        )  # fmt: skip
        out = torch.empty_like(x)
        kernels.add[cut.parts](
            x, projected, pairs, middle, kept, norm_bias, out,
            cut.rows, cut.channels, cut.each, cut.positions, **cut.tile,
        )  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.eps = norm.eps
        ctx.save_for_backward(x, weight, bias, w, norm_weight, projected, pairs, middle, kept)
        return out, out.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dy_more: Tensor | None) -> Any:  # type: ignore[override]
        x, weight, bias, w, norm_weight, projected, pairs, middle, kept = ctx.saved_tensors
        found = [
            gradient.contiguous(memory_format=torch.channels_last)
            for gradient in (dy, dy_more)
            if gradient is not None
        ]
        more, cut = len(found) > 1, _WholeRows(x)
        dt = projected.new_empty(cut.rows)
        sums = projected.new_empty(2, cut.parts[0], cut.channels)
        kernels.scale_gradient_sums[cut.parts](
            found[0], found[-1], projected, pairs, middle, kept, dt, sums,
            cut.rows, cut.channels, cut.each, cut.positions, MORE=more, **cut.tile,
        )  # fmt: skip
        dw, dnorm, dnorm_bias = (
            torch.empty_like(w),
            torch.empty_like(norm_weight),
            torch.empty_like(norm_weight),
        )
        shared = projected.new_empty(2, cut.few)
        kernels.scale_gradient[(cut.few,)](
            sums, w, norm_weight, kept, dw, dnorm, dnorm_bias, shared,
            cut.parts[0], cut.channels, ctx.eps, **FEW,
        )  # fmt: skip
        gradients, totals = torch.empty_like(projected), torch.empty_like(pairs)
        kernels.projected_gradient[(cut.images,)](
            shared, dt, projected, pairs, middle, gradients, totals,
            cut.few, cut.rows, cut.positions, PROGRAMS=_LINE, POSITIONS=_POSITIONS,
        )  # fmt: skip
        dx = torch.empty_like(x)
        sums = projected.new_empty(3, cut.parts[0], cut.channels)
        kernels.project_gradient[cut.parts](
            found[0], found[-1], x, gradients, weight, dx, sums,
            cut.rows, cut.channels, cut.each, MORE=more, **cut.tile,
        )  # fmt: skip
        dweight, dbias = torch.empty_like(weight), torch.empty_like(bias)
        kernels.add_project_gradient[(cut.few, 3)](
            sums, totals, dweight, dbias, cut.parts[0], cut.channels, cut.images,
            IMAGES=_LINE, **FEW,
        )  # fmt: skip
        return dx, dweight, dbias, dw, dnorm, dnorm_bias, None


class Pool(torch.autograd.Function):
    """(Generalised) mean over positions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cubed: bool, signed: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        y = x.new_empty(x.shape[:2], dtype=torch.float32)
        ctx.kind = {"CUBED": cubed, "SIGNED": signed, **TILE}
        kernels.pool[_images(x)](x, y, x[0, 0].numel(), x.shape[1], **ctx.kind)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Any:  # type: ignore[override]
        x, y = ctx.saved_tensors
        dx = torch.empty_like(x)
        kernels.pool_gradient[_images(x)](
            dy.contiguous(), y, x, dx, x[0, 0].numel(), x.shape[1], **ctx.kind
        )
        return dx, None, None


def _images(x: Tensor) -> tuple[int, int]:
    """Programs for each image and block of columns."""
    return x.shape[0], triton.cdiv(x.shape[1], TILE["COLUMNS"])


class FusedNonLocal(NonLocal):
    """A non-local block with one channel: in training, nine passes of which four see a map.

    The result carries itself once more, as `again` (see `norm_add_relu`)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not ours(self, x):
            return super().forward(x)
        convolution, norm = self.theta_phi_g, self.bn
        y, again = OneChannel.apply(
            x, convolution.weight, convolution.bias, self.w.weight, norm.weight, norm.bias, self
        )
        y.again = again
        return y


class FusedGeneralisedMean(GeneralisedMean):
    """The generalised mean: a pass each way."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or not ours(self, x):
            return super().forward(x)
        return Pool.apply(x, True, self.signed)


class FusedAveragePool(AveragePool):
    """The mean, likewise."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or not ours(self, x):
            return super().forward(x)
        return Pool.apply(x, False, False)


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    NonLocal: FusedNonLocal,
    GeneralisedMean: FusedGeneralisedMean,
    AveragePool: FusedAveragePool,
}
