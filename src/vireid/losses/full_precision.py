"""Heads and losses are computed in float32 (or better) whatever the precision of the step, but for
what a method computes under `autocast_like`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full(features: Tensor) -> Tensor:
    """`features` in float32 if they have fewer digits; float64 stays, for gradient checks."""
    return features if features.dtype == torch.float64 else features.float()


def no_autocast(features: Tensor) -> AbstractContextManager:
    """A context in which matrix products keep their full precision."""
    if features.is_meta:  # which has no autocast
        return nullcontext()
    return torch.autocast(features.device.type, enabled=False)


def autocast_like(feature_map: Tensor) -> AbstractContextManager:
    """A context in which matrix products are made in the 16 bits that a map has, if any.

    Under autocast the maps of convolutional networks with batch norms do. Those of ViT or ConvNeXt,
    whose layer norms return float32, don't."""
    device, dtype = feature_map.device.type, feature_map.dtype
    if feature_map.is_meta or dtype not in (torch.bfloat16, torch.float16):
        return nullcontext()
    return torch.autocast(device, dtype=dtype)
