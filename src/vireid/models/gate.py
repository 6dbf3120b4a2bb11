"""The modality gate of MCJA, and stripes of RLE."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vireid.losses.full_precision import full
from vireid.models.layers import untrained
from vireid.types import InputError


class ModalityGate(nn.Module):
    """Gates channels by contexts under learned spatial masks; starts as the identity.

    Args:
        dim: channels of the map.
        masks: how many contexts, each the mean of the map under a softmax over its places.

    Layers are named as in the published code.

    Source: Liang et al. (2023), MCJA, and its code.
    """

    def __init__(self, dim: int, masks: int = 2) -> None:
        super().__init__()
        self.sc_conv = untrained(nn.Conv2d(dim, masks, 1), "bias")  # a softmax cancels it
        self.ca_conv = nn.Conv1d(dim, dim, masks, groups=dim, bias=False)
        self.ca_bn = nn.BatchNorm1d(dim)
        self.norm_bn = nn.BatchNorm2d(dim)
        nn.init.zeros_(self.norm_bn.weight)
        nn.init.zeros_(self.norm_bn.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, h, w) → the same shape."""
        masks = self.sc_conv(x).flatten(2).softmax(2)  # (B, masks, places)
        contexts = x.flatten(2) @ masks.transpose(1, 2)  # (B, dim, masks)
        gate = self.ca_bn(self.ca_conv(contexts).squeeze(2)).sigmoid()
        return self.norm_bn(x * gate[:, :, None, None]) + x


class Stripes(nn.Module):
    """Mean over horizontal stripes of a map, each ⌈h / count⌉ high, the last what is left.

    Args:
        count: number of stripes.

    Source: Tan et al. (NeurIPS 2024), RLE; the form of its code.
    """

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        if count < 1:
            raise InputError(f"A map was to be cut into {count} stripes; at least 1 was expected.")
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, count, C) float32.

        Raises:
            InputError: the map is too low to be cut into so many.
        """
        parts = full(x).split(math.ceil(x.shape[2] / self.count), dim=2)
        if len(parts) != self.count:
            raise InputError(
                f"A map of {x.shape[2]} rows gives {len(parts)} stripes of equal height instead of "
                f"{self.count}. Choose a larger `size`."
            )
        return torch.stack([part.mean((2, 3)) for part in parts], dim=1)
