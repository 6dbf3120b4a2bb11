"""Layers on top of the backbone: non-local block, pooling, neck."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vireid.losses.full_precision import full

Layer = TypeVar("Layer", bound=nn.Module)


def untrained(layer: Layer, parameter: str) -> Layer:
    """`layer` with one of its parameters kept from training; it stays in checkpoints."""
    layer.get_parameter(parameter).requires_grad_(False)
    return layer


class NonLocal(nn.Module):
    """Non-local block without softmax: y = W(f·g(x)) + x with f = θ(x)φ(x)ᵀ / N over N positions.

    (θφᵀ)g is computed as θ(φᵀg), the same product, which needs no (N, N) matrix. With one channel
    W's output is a product of a number a channel and a number a position, and so is its batch norm:
    neither map is made (see `_one_channel`).

    Args:
        dim: channels of the map.
        channels: width of θ, φ and g. The published code has 1 (an accident of `r // r`).

    W is a 1x1 convolution and a batch norm that starts at 0, so that the block starts as the
    identity; the convolution's bias is not trained, the batch norm cancels it.

    Source: Ye et al., AGW (2021), after Wang et al., "Non-local Neural Networks" (2018).
    """

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.theta_phi_g = nn.Conv2d(dim, 3 * channels, 1)  # one convolution reads x once
        self.w = untrained(nn.Conv2d(channels, dim, 1), "bias")
        self.bn = nn.BatchNorm2d(dim)
        nn.init.zeros_(self.w.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.bn.weight)
        nn.init.zeros_(self.bn.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, h, w) → the same shape."""
        # A batch norm over several ranks replaces this one and needs W's whole output.
        if self.channels == 1 and type(self.bn) is nn.BatchNorm2d:
            return self._one_channel(x)
        return self._any_width(x)

    def _any_width(self, x: Tensor) -> Tensor:
        positions = x.shape[2] * x.shape[3]
        theta, phi, g = self.theta_phi_g(x).flatten(2).chunk(3, dim=1)  # (B, channels, N)
        pair = phi @ g.transpose(1, 2) / positions
        y = (pair.transpose(1, 2) @ theta).unflatten(2, x.shape[2:])
        return self.bn(self.w(y)) + x

    def _one_channel(self, x: Tensor) -> Tensor:
        """Mean and variance of w_c·y + b_c over y are w_c·mean(y) + b_c and w_c²·var(y), so
        everything beyond one reading and one writing of x happens on vectors."""
        theta, phi, g = _three_sums(x, self.theta_phi_g)  # (B, 1, h, w)
        y = theta * (phi * g).mean((2, 3), keepdim=True)
        w, b = full(self.w.weight).flatten(), full(self.w.bias)  # type: ignore[arg-type]
        if self.training:
            middle = y.mean()
            variance = w * w * (y - middle).square().mean()
            offset = torch.zeros_like(b)  # W's mean falls out of its batch norm
            keep_statistics(self.bn, w * middle + b, variance, y.numel())
        else:
            middle, variance = y.new_zeros(()), self.bn.running_var  # type: ignore[assignment]
            offset = b - self.bn.running_mean  # type: ignore[operator]
        gain = self.bn.weight * torch.rsqrt(variance + self.bn.eps)  # type: ignore[operator]
        scale, shift = gain * w, self.bn.bias + gain * offset
        scale, shift = (v.to(x.dtype).view(-1, 1, 1) for v in (scale, shift))
        return torch.addcmul(x + shift, scale, (y - middle).to(x.dtype))


@torch.no_grad()
def keep_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update running statistics as `BatchNorm2d` does after a batch of `count` values a channel.

    Args:
        mean, variance: (C,) of the batch, the variance divided by `count`.
    """
    unbiased = variance * (count / max(count - 1, 1))
    norm.running_mean.lerp_(mean, norm.momentum)  # type: ignore[union-attr, arg-type]
    norm.running_var.lerp_(unbiased, norm.momentum)  # type: ignore[union-attr, arg-type]
    norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]


def _three_sums(x: Tensor, convolution: nn.Conv2d) -> tuple[Tensor, Tensor, Tensor]:
    """A 1x1 convolution to three channels, apart: (B, dim, h, w) → three (B, 1, h, w).

    Three columns are far too few for a matrix unit. Compiled code reads x once and adds up as it
    goes; eagerly, where each product would be a map of its own, the convolution is faster.
    """
    if not torch.compiler.is_compiling():
        first, second, third = full(convolution(x)).chunk(3, dim=1)
        return first, second, third
    weight, bias = full(convolution.weight), full(convolution.bias)  # type: ignore[arg-type]
    first, second, third = (
        (full(x) * weight[row]).sum(1, keepdim=True) + bias[row] for row in range(3)
    )
    return first, second, third


class GeneralisedMean(nn.Module):
    """Generalised mean over positions, (mean(x³) + 1e-12)^(1/3): (B, D, h, w) → (B, D) float32.

    Args:
        signed: the map has values below 0, which count as 0.

    Source: the published AGW and MCLNet code; the exponent 3 is fixed. Radenović et al. (2018),
    who proposed it, cut negative values off likewise.
    """

    def __init__(self, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed

    def forward(self, x: Tensor) -> Tensor:
        x = full(x)
        if self.signed:
            x = x.clamp(min=0)
        return ((x * x * x).mean((2, 3)) + 1e-12).pow(1 / 3)


class AveragePool(nn.Module):
    """Mean over positions: (B, D, h, w) → (B, D) float32."""

    def forward(self, x: Tensor) -> Tensor:
        return full(x).mean((2, 3))


def make_neck(dim: int, shift_trained: bool = False) -> nn.BatchNorm1d:
    """A batch norm whose scale starts as N(1, 0.01) and whose shift is not trained unless asked."""
    neck = nn.BatchNorm1d(dim)
    if not shift_trained:
        untrained(neck, "bias")
    nn.init.normal_(neck.weight, 1.0, 0.01)
    return neck


def make_classifier(dim: int, num_pids: int) -> nn.Linear:
    """A linear layer without bias, weights N(0, 0.001)."""
    classifier = nn.Linear(dim, num_pids, bias=False)
    nn.init.normal_(classifier.weight, 0.0, 0.001)
    return classifier


def unit(features: Tensor) -> Tensor:
    """Each row of `features` (B, D) at length 1, in float32."""
    return F.normalize(full(features), dim=1)
