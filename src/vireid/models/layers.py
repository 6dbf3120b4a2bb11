"""Layers on top of the backbone: non-local block, pooling, neck."""

from __future__ import annotations

from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from vireid.models.precision import full

Layer = TypeVar("Layer", bound=nn.Module)


def untrained(layer: Layer, parameter: str) -> Layer:
    """`layer` with one of its parameters kept from training; it stays in checkpoints."""
    layer.get_parameter(parameter).requires_grad_(False)
    return layer


class NonLocal(nn.Module):
    """Non-local block without softmax: y = W(f·g(x)) + x with f = θ(x)φ(x)ᵀ / N over N places.

    (θφᵀ)g is computed as θ(φᵀg), the same product, which needs no (N, N) matrix.

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
        places = x.shape[2] * x.shape[3]
        theta, phi, g = self.theta_phi_g(x).flatten(2).chunk(3, dim=1)  # (B, channels, N)
        pair = phi @ g.transpose(1, 2) / places
        y = (pair.transpose(1, 2) @ theta).unflatten(2, x.shape[2:])
        return self.bn(self.w(y)) + x


class GeneralisedMean(nn.Module):
    """Generalised mean over places, (mean(x³) + 1e-12)^(1/3): (B, D, h, w) → (B, D) float32.

    Source: the published AGW and MCLNet code; the exponent 3 is fixed.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = full(x)
        return ((x * x * x).mean((2, 3)) + 1e-12).pow(1 / 3)


class AveragePool(nn.Module):
    """Mean over places: (B, D, h, w) → (B, D) float32."""

    def forward(self, x: Tensor) -> Tensor:
        return full(x).mean((2, 3))


def make_neck(dim: int) -> nn.BatchNorm1d:
    """A batch norm whose scale starts as N(1, 0.01) and whose shift is not trained."""
    neck = untrained(nn.BatchNorm1d(dim), "bias")
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
