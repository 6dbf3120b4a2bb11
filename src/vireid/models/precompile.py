"""All of a network's own kernels compiled at once, before the first step needs them one by one.

Triton compiles a kernel in a third of a second without holding Python's lock, so threads take a
second or two for what would take ten in a row. Each runs a pass and its gradient on a tiny map:
what a kernel is compiled for is its types, not its sizes. Of several processes that begin at once,
one compiles a kernel, and the others read it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vireid.locks import alone
from vireid.models import fused, fused_layers, fused_shift, fused_stem

_CHANNELS = 64  # any multiple of 16, as those of networks are
_SIDE = 4


class _Context:
    """What PyTorch hands an autograd function, whose gradient is called here in the thread that
    made the pass, not in PyTorch's own, which is one."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        self.saved_tensors = tensors

    def set_materialize_grads(self, _: bool) -> None:
        pass


def precompile(network: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Compile the kernels that a fused network trains with.

    Args:
        dtype: of its maps.
    """
    jobs = dict(_jobs(network, dtype, device))
    cache = os.environ.get("TRITON_CACHE_DIR")

    def run(what: Any) -> None:
        if cache is None:
            jobs[what]()
            return
        name = re.sub(r"\W+", "-", f"{what}")
        with alone(Path(cache) / "locks" / name):
            jobs[what]()

    if jobs:
        threads = 1 if fused.INTERPRETED else len(jobs)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, jobs))


def _jobs(
    network: nn.Module, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[Any, Callable[[], None]]]:
    """What a kernel is compiled for → passes that need it."""
    x = torch.ones(2, _CHANNELS, _SIDE, _SIDE, device=device, dtype=dtype)
    norm = nn.BatchNorm2d(_CHANNELS).to(device)
    weights = (norm.weight, norm.bias)

    def job(
        function: Any, *inputs: Any, gradients: int = 1, given: tuple[Tensor, ...] | None = None
    ) -> Callable[[], None]:
        @torch.no_grad()
        def run() -> None:
            if device.type == "cuda":
                torch.cuda.set_device(device)  # of this thread
            context = _Context()
            found = function.forward(context, *inputs)
            y = found[0] if isinstance(found, tuple) else found
            more = [y] * gradients + [None] * (isinstance(found, tuple) and gradients == 1)
            function.backward(context, *(given or more))

        return run

    for module in network.modules():
        kind = type(module)
        if kind is fused_stem.FusedStem:
            yield "stem", job(fused.NormReLUPool, x, *weights, norm)
            if dtype != torch.float32 and fused_stem.fits(module[0]):  # type: ignore[index]
                image = torch.ones(2, 3, 2 * _SIDE, 2 * _SIDE, device=device)
                first = module[0].weight  # type: ignore[index]
                yield "convolution", job(fused_stem.Convolution, image, first, dtype)
        elif kind in (fused.FusedBasicBlock, fused.FusedBottleneck):
            yield "ReLU", job(fused.NormReLU, x, *weights, norm)
            if dtype != torch.float32:
                casts = [torch.ones(_CHANNELS, device=device)] * 2
                yield "cast", job(fused.Cast, dtype, *casts, gradients=2)
            plain = module.downsample is None
            other = (None, None, norm, None) if plain else (*weights, norm, norm)
            for gradients in (1, 2):  # of the last block, and of one that another follows
                yield (
                    ("sum", plain, gradients),
                    job(fused.NormAddReLU, x, *weights, x, *other, gradients=gradients),
                )
        elif kind is fused_layers.FusedNonLocal:
            channels: Any = module.bn.num_features  # type: ignore[union-attr]
            block: Any = fused_layers.FusedNonLocal(channels, 1).to(
                device
            )  # whose running statistics may move
            convolution = block.theta_phi_g
            given = (
                x.new_ones(2, channels, _SIDE, _SIDE), convolution.weight, convolution.bias,
                block.w.weight, block.bn.weight, block.bn.bias, block,
            )  # fmt: skip
            for gradients in (1, 2):
                yield (
                    ("non-local", channels, gradients),
                    job(fused_layers.OneChannel, *given, gradients=gradients),
                )
        elif kind is fused_shift.FusedShift:
            both, lines = x.new_ones(2, 2 * _SIDE, _CHANNELS), x.new_ones(2, _SIDE, _CHANNELS)
            yield "profile", job(fused_shift.Profile, x, given=(both, x))
            yield "gate", job(fused_shift.Gate, x, lines, lines)
        elif kind in (fused_layers.FusedGeneralisedMean, fused_layers.FusedAveragePool):
            cubed = kind is fused_layers.FusedGeneralisedMean
            signed = cubed and module.signed
            yield ("pool", cubed, signed), job(fused_layers.Pool, x, cubed, signed)
