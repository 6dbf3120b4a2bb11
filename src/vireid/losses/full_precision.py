"""Heads and losses are computed in float32 (or better) whatever the precision of the step."""

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


def as_network(feature_map: Tensor) -> AbstractContextManager:
    """A context in which matrix products have the precision of the network that made a map."""
    device, dtype = feature_map.device.type, feature_map.dtype
    if dtype not in (torch.bfloat16, torch.float16):
        return nullcontext()
    return torch.autocast(device, dtype=dtype)
