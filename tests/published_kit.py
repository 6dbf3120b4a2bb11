"""Checkpoints as the published codes write them, with made-up values."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_FILE = Path(__file__).parent / "golden" / "checkpoint_keys.json"
_PARTS = {
    "base": ("base",),
    "agw": ("base", "mcl"),
    "mcl": ("base", "mcl"),
    "caj": ("base", "mcl"),
    "ddag": ("base", "ddag"),
    "dns": ("dns",),
    "deen": ("base", "deen"),
    "deen_regdb": ("base", "deen_regdb"),
    "rle": ("base", "rle"),
    "rle_regdb": ("base", "rle"),
}
_REGDB_PIDS = 206


def keys_of(method: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in a published checkpoint of SYSU-MM01 (395 identities), or
    of RegDB."""
    parts = json.loads(_FILE.read_text())
    keys = {key: tuple(shape) for part in _PARTS[method] for key, shape in parts[part].items()}
    if method.startswith("rle"):  # has four of each instead
        keys = {k: v for k, v in keys.items() if not k.startswith(("bottleneck.", "classifier."))}
    if method == "dns":
        keys |= {k: tuple(v) for k, v in parts["base"].items() if k.startswith(_DNS_SHARES)}
    if method == "rle_regdb":
        for key, shape in keys.items():
            if key.startswith("bottleneck") and shape:
                keys[key] = (1024,)
            elif key.startswith("classifier"):
                keys[key] = (_REGDB_PIDS, 1024)
    return keys


_DNS_SHARES = ("bottleneck.", "classifier.")


def is_dead(key: str, method: str = "") -> bool:
    """Whether the published network never uses a tensor that its checkpoints hold."""
    module, _, rest = key.partition(".")
    if method == "dns":
        return key.startswith(("base.base.layer1.", "base.base.layer2."))
    if method.endswith("_regdb") and key.startswith("base_resnet.base.layer4."):
        return True
    if method.startswith("rle"):
        if module in ("classifier1", "classifier2"):
            return False
        if module == "middle_module":
            return True
    layer = rest.partition(".")[2]
    if module in ("visible_module", "thermal_module"):
        return not layer.startswith(("conv1.", "bn1."))
    if module == "base_resnet":
        return not layer.startswith("layer")
    return module in ("classifier1", "classifier2") or key.startswith("wpa.W.")


def golden_net(
    method: str, statistics: dict[str, np.ndarray], seed: int = 20261122
) -> dict[str, Tensor]:
    """The tensors of a golden checkpoint, by the rule that made them; dead ones are zeros."""

    def value(key: str, shape: tuple[int, ...]) -> Tensor:
        if key.endswith("num_batches_tracked"):
            return torch.tensor(0)
        if is_dead(key, method):
            return torch.zeros(()).expand(shape)
        if key in statistics:
            return torch.tensor(statistics[key], dtype=torch.float32)
        a = np.random.default_rng(zlib.crc32(key.encode()) + seed).standard_normal(shape)
        if key.endswith("bias"):
            a = 0.2 * a
        elif len(shape) == 1:
            a = (1 + 0.1 * a) * (0.3 if "bn3" in key or ".W.1." in key else 1)
        else:
            a = a * math.sqrt(2 / math.prod(shape[1:])) * (0.3 if key.startswith("NL_") else 1)
        return torch.tensor(a, dtype=torch.float32)

    return {key: value(key, shape) for key, shape in keys_of(method).items()}


def make_net(method: str, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors that keep activations finite; dead ones are zeros that take no space."""
    generator = torch.Generator().manual_seed(seed)

    def value(key: str, shape: tuple[int, ...]) -> Tensor:
        if not shape:
            return torch.tensor(7)
        if is_dead(key, method):
            return torch.zeros(1).expand(shape)
        noise = torch.randn(shape, generator=generator)
        if key.endswith(("bias", "running_mean")):
            return 0.1 * noise
        if len(shape) == 1:
            return 1 + 0.1 * noise.abs()
        return noise * math.sqrt(2 / math.prod(shape[1:])) * (0.1 if "NL_" in key else 1)

    return {key: value(key, shape) for key, shape in keys_of(method).items()}
