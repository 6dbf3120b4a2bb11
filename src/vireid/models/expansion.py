"""Parts of DEEN: branches that generate embeddings, and the aggregation of two stages."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vireid.models.layers import untrained
from vireid.types import InputError


class DiverseExpansion(nn.Module):
    """Two branches of dilated convolutions beside the map: three times the rows.

        e_k = Q_k ReLU((A_k1 x + A_k2 x + A_k3 x) / 3)

    with 3x3 convolutions A_kj of dilation j to a quarter of the channels, and Q_k back.

    Args:
        dim: channels of the map, a multiple of 4.
        dropout: on all rows.

    Layers are named as in the published code; their weights start as N(0, 2 / fan_in).

    Source: Zhang, Wang, "Diverse Embedding Expansion Network" (CVPR 2023), and its code.
    """

    def __init__(self, dim: int, dropout: float = 0.01) -> None:
        super().__init__()
        if dim % 4:
            raise InputError(
                f"The expansion works on {dim} channels; a multiple of 4 was expected."
            )
        for branch in (1, 2):
            for dilation in (1, 2, 3):
                inner = nn.Conv2d(dim, dim // 4, 3, padding=dilation, dilation=dilation, bias=False)
                setattr(self, f"FC{branch}{dilation}", inner)
            setattr(self, f"FC{branch}", nn.Conv2d(dim // 4, dim, 1))
        for layer in self.children():
            weight = layer.weight
            assert isinstance(weight, Tensor)
            nn.init.normal_(weight, 0.0, math.sqrt(2 / weight[0].numel()))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, h, w) → (3 B, dim, h, w): the rows of x, then those of each branch."""
        parts = [x]
        for branch in (1, 2):
            inner = sum(getattr(self, f"FC{branch}{dilation}")(x) for dilation in (1, 2, 3)) / 3
            parts.append(getattr(self, f"FC{branch}")(inner.relu()))
        return self.dropout(torch.cat(parts))


def _project(inner: int, dim: int) -> nn.Sequential:
    """A 1x1 convolution and a batch norm that starts at 0, so that a block starts as identity."""
    convolution = untrained(nn.Conv2d(inner, dim, 1), "bias")
    norm = nn.BatchNorm2d(dim)
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)
    return nn.Sequential(convolution, norm)


class ChannelAttention(nn.Module):
    """Attention between the channels of a stage's output and of its input (CNL of DEEN).

    Args:
        high, low: channels of output and input.
        stride: how many times larger the input's map is, 1 or 2.
    """

    def __init__(self, high: int, low: int, stride: int) -> None:
        super().__init__()
        self.g = nn.Conv2d(low, low, 1)
        self.theta = nn.Conv2d(high, low, 1)
        self.phi = nn.Conv2d(low, low, 1)
        self.W = _project(low, high)
        self.stride = stride

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """(B, C, h, w) and (B, c, s h, s w) → (B, C, h, w)."""
        # φ and W stride, and nothing between joins places: the others are never needed.
        low = low[:, :, :: self.stride, :: self.stride]
        theta, phi = self.theta(high).flatten(2), self.phi(low).flatten(2)
        energy = theta @ phi.transpose(1, 2) / theta.shape[1]
        y = (energy @ self.g(low).flatten(2)).unflatten(2, low.shape[2:])
        return self.W(y) + high


class PlaceAttention(nn.Module):
    """Attention between the places of a stage's output and of its input (PNL of DEEN).

    Args:
        high, low: channels of output and input; `low` even.
        halves: join a place with that half a map below it into one token, as the published
            code's reshape does; it needs an even number of places.
    """

    def __init__(self, high: int, low: int, halves: bool = True) -> None:
        super().__init__()
        self.halves = halves
        self.g = nn.Conv2d(low, low // 2, 1)
        self.theta = nn.Conv2d(high, low // 2, 1)
        self.phi = nn.Conv2d(low, low // 2, 1)
        self.W = _project(low // 2, high)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """(B, C, h, w) and (B, c, h′, w′) → (B, C, h, w)."""
        theta, phi, g = (
            self._tokens(part) for part in (self.theta(high), self.phi(low), self.g(low))
        )
        # (θᵀφ)gᵀ = θᵀ(φgᵀ): the product of channels is small, that of places is not.
        pair = g @ phi.transpose(1, 2) / phi.shape[2]
        y = (pair @ theta).reshape(high.shape[0], -1, *high.shape[2:])
        return self.W(y) + high

    def _tokens(self, x: Tensor) -> Tensor:
        """(B, n, h, w) → (B, 2 n, places / 2), or (B, n, places) without halves."""
        if not self.halves:
            return x.flatten(2)
        places = x.shape[2] * x.shape[3]
        if places % 2:
            raise InputError(
                f"The aggregation joins halves of a map of {x.shape[2]} x {x.shape[3]} places, "
                "which are odd in number. Choose a `size` with an even number of places, or turn "
                "`halves` off."
            )
        return x.reshape(x.shape[0], 2 * x.shape[1], places // 2)


class FeatureAggregation(nn.Module):
    """Brings a stage's input into its output: attention between channels, then between places.

    Args:
        high, low: channels of output and input.
        stride: how many times larger the input's map is, 1 or 2.
        halves: see `PlaceAttention`.

    Blocks are named as in the published code; each starts as the identity.

    Source: Zhang, Wang, "Diverse Embedding Expansion Network" (CVPR 2023), and its code.
    """

    def __init__(self, high: int, low: int, stride: int, halves: bool = True) -> None:
        super().__init__()
        self.CNL = ChannelAttention(high, low, stride)
        self.PNL = PlaceAttention(high, low, halves)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Output (B, C, h, w) and input (B, c, s h, s w) of a stage → (B, C, h, w)."""
        return self.PNL(self.CNL(high, low), low)
