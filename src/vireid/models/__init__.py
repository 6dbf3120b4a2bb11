"""Networks: timm backbones split in two streams, the layers on top of them, and their weights.

Exports are lazy, so that importing this room does not import PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "ModalityDiscriminator": "vireid.models.discriminator",
    "ModelOptions": "vireid.models.options",
    "TwoStream": "vireid.models.two_stream",
    "build_model": "vireid.models.two_stream",
    "read_published": "vireid.models.weights",
    "write_published": "vireid.models.weights",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'vireid.models' has no attribute '{name}'")
