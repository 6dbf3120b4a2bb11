"""All of a network's own kernels compiled at once, before the first step needs them one by one.

Passes and gradients on tiny maps say which kernels are needed, as what a kernel is compiled for is
its types, not its sizes; only those of the shift are compiled again, in the first step, for maps of
more than 32 rows or 16 columns. Triton compiles one in about half a second, mostly without holding
Python's lock, so several threads do. Of several processes that begin at once, one compiles
a kernel, and the others read it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vireid.locks import alone
from vireid.models import fused, fused_layers, fused_shift, fused_stem
from vireid.models.launches import Launch, noted

_CHANNELS = 64  # any multiple of 16, as those of networks are
_SIDE = 4
# Seconds after which a kernel that another process compiles is compiled here too: that process may
# have been stopped, and threads that wait for a lock can't be interrupted.
_PATIENCE = 60
_THREADS = 8  # more would wait for Python's lock, which part of a compilation holds


class _Context:
    """What PyTorch hands an autograd function."""

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
    _compile(launches_of(network, dtype, device), device)


def precompile_pass(run: Callable[[], object], device: torch.device) -> None:
    """Compile the kernels that a pass launches; what it computes is thrown away."""
    tries = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False  # for convolutions of a size that no one needs
    try:
        with noted() as found:
            run()
    finally:
        torch.backends.cudnn.benchmark = tries
    _compile(_distinct(found), device)


def _compile(launches: list[Launch], device: torch.device) -> None:
    cache = Path(os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton" / "cache")

    def make(launch: Launch) -> None:
        if device.type == "cuda":
            torch.cuda.set_device(device)  # of this thread
        name = f"{launch.kernel.__name__}-{zlib.crc32(launch.name.encode()):08x}"
        with alone(cache / "locks" / name, most=_PATIENCE):
            launch.make()

    if launches:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(make, launches))


def _distinct(launches: list[Launch]) -> list[Launch]:
    """One of each that need the same compiled kernel."""
    return list({launch.name: launch for launch in launches}.values())


def launches_of(network: nn.Module, dtype: torch.dtype, device: torch.device) -> list[Launch]:
    """A launch of each kernel that a fused network trains with; none in Triton's interpreter."""
    with noted() as found, torch.no_grad():
        for run in dict(_jobs(network, dtype, device)).values():
            run()
    return _distinct(found)


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
        def run() -> None:
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
            # A block of its own, whose running statistics may move.
            block: Any = fused_layers.FusedNonLocal(channels, 1).to(device)
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
