"""How the blocks of a backbone pass their values on, and the map (B, C, h, w) in them.

A convolutional network passes maps on, Swin maps with the channels last, and a vision transformer
tokens. Whatever stands between blocks or stages (non-local blocks, gates, part attention, pooling)
works on maps; a layout takes the map out of what a block returned, and puts it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Size = tuple[int, int]


class Layout(Protocol):
    """Between what a block returns and its map."""

    def map_of(self, x: Tensor, size: Size) -> Tensor:
        """The map (B, C, h, w) in `x`, which was made of images of `size` (height, width)."""

    def with_map(self, x: Tensor, feature_map: Tensor) -> Tensor:
        """`x` with another map in it, perhaps of several times as many rows."""


@dataclass(frozen=True)
class ChannelsFirst:
    """Maps as convolutions take them: (B, C, h, w)."""

    def map_of(self, x: Tensor, size: Size) -> Tensor:
        return x

    def with_map(self, x: Tensor, feature_map: Tensor) -> Tensor:
        return feature_map


@dataclass(frozen=True)
class ChannelsLast:
    """Maps of Swin: (B, h, w, C)."""

    def map_of(self, x: Tensor, size: Size) -> Tensor:
        return x.permute(0, 3, 1, 2)

    def with_map(self, x: Tensor, feature_map: Tensor) -> Tensor:
        return feature_map.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Tokens:
    """Tokens of a vision transformer: (B, prefix + h·w, C).

    Attributes:
        prefix: tokens before those of the patches: class, distillation and register tokens.
        has_class: the first of them is the class token.
        patch: side of a patch in pixels, (height, width).
        stride: pixels from one patch to the next, likewise.
    """

    prefix: int
    has_class: bool
    patch: Size
    stride: Size

    def grid(self, size: Size) -> Size:
        """(rows, columns) of the patches of an image; what is beyond the last whole patch of a
        row or column is not seen."""
        h, w = ((n - p) // s + 1 for n, p, s in zip(size, self.patch, self.stride))
        return h, w

    def map_of(self, x: Tensor, size: Size) -> Tensor:
        return x[:, self.prefix :].transpose(1, 2).unflatten(2, self.grid(size))

    def with_map(self, x: Tensor, feature_map: Tensor) -> Tensor:
        rows = feature_map.shape[0] // x.shape[0]
        prefix = x[:, : self.prefix].repeat(rows, 1, 1)
        return torch.cat([prefix, feature_map.flatten(2).transpose(1, 2)], dim=1)
