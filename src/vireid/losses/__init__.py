"""Losses: `loss(features, labels)` → 0-d tensor. Each stands alone, without a trainer.

Exports are lazy, so that importing this room does not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "CenterAggregationLoss": "vireid.losses.center",
    "HardTripletLoss": "vireid.losses.triplet",
    "WeightedTripletLoss": "vireid.losses.triplet",
    "confusion_loss": "vireid.losses.confusion",
    "discriminator_loss": "vireid.losses.confusion",
    "frozen_logits": "vireid.losses.confusion",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'vireid.losses' has no attribute '{name}'")
