"""Checkpoints as the published codes write them, with made-up values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

_FILE = Path(__file__).parent / "golden" / "checkpoint_keys.json"
_PARTS = {
    "base": ("base",),
    "agw": ("base", "mcl"),
    "mcl": ("base", "mcl"),
    "ddag": ("base", "ddag"),
}


def keys_of(method: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in a published checkpoint of SYSU-MM01 (395 identities)."""
    parts = json.loads(_FILE.read_text())
    return {key: tuple(shape) for part in _PARTS[method] for key, shape in parts[part].items()}


def is_dead(key: str) -> bool:
    """Whether the published network never uses a tensor that its checkpoints hold."""
    module, _, rest = key.partition(".")
    layer = rest.partition(".")[2]
    if module in ("visible_module", "thermal_module"):
        return not layer.startswith(("conv1.", "bn1."))
    if module == "base_resnet":
        return not layer.startswith("layer")
    return module in ("classifier1", "classifier2") or key.startswith("wpa.W.")


def make_net(method: str, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors that keep activations finite; dead ones are zeros that take no space."""
    generator = torch.Generator().manual_seed(seed)

    def value(key: str, shape: tuple[int, ...]) -> Tensor:
        if not shape:
            return torch.tensor(7)
        if is_dead(key):
            return torch.zeros(1).expand(shape)
        noise = torch.randn(shape, generator=generator)
        if key.endswith(("bias", "running_mean")):
            return 0.1 * noise
        if len(shape) == 1:
            return 1 + 0.1 * noise.abs()
        return noise * math.sqrt(2 / math.prod(shape[1:])) * (0.1 if "NL_" in key else 1)

    return {key: value(key, shape) for key, shape in keys_of(method).items()}
