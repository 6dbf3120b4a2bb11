"""What a network is made of and what an image costs: `vireid info RUN`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from vireid.bench.workload import wait
from vireid.embed.embedder import Embedder
from vireid.methods import Method
from vireid.runtime.device import peak_cpu_memory
from vireid.types import Modality

_REPEATS = 3
REST = "rest"  # what is computed outside every part
TRAINING = "in training only"


class Part(NamedTuple):
    """One part of a network, for one image of one modality.

    Attributes:
        parameters: values that are learned.
        multiply_adds: of convolutions and matrix products, half of PyTorch's count of FLOPs.
        activations: values that convolutions and matrix products put out.
    """

    parameters: int
    multiply_adds: int
    activations: int


def parts_of(
    method: Method, size: tuple[int, int], modality: Modality = Modality.VISIBLE
) -> dict[str, Part]:
    """The parts of a network in the order of its children, `REST`, and what embedding never
    uses (`TRAINING`).

    Args:
        size: (height, width) of the image.
    """
    device = next(method.parameters()).device
    image = torch.zeros(1, 3, *size, device=device)
    once = _Once(method, int(modality == Modality.VISIBLE))
    training = method.training
    method.eval()
    try:
        flops = FlopCounterMode(display=False)
        outputs = FlopCounterMode(
            display=False, custom_mapping=dict.fromkeys(flop_registry, _values_out)
        )
        with torch.no_grad(), flops, outputs:
            once(image)
    finally:
        method.train(training)
    counts = [_by_module(counter) for counter in (flops, outputs)]
    parts, beside = {}, sum(p.numel() for p in method.parameters())
    for name, module in method.model.named_children():
        own = sum(p.numel() for p in module.parameters())
        beside -= own
        numbers = [_within(count, f"_Once.method.model.{name}") for count in counts]
        if own or any(numbers):
            parts[name] = Part(own, numbers[0] // 2, numbers[1])
    totals = [counter.get_total_flops() for counter in (flops, outputs)]
    rest = Part(
        sum(p.numel() for p in method.model.parameters(recurse=False)),
        totals[0] // 2 - sum(part.multiply_adds for part in parts.values()),
        totals[1] - sum(part.activations for part in parts.values()),
    )
    if any(rest):
        parts[REST] = rest
    if beside - rest.parameters:
        parts[TRAINING] = Part(beside - rest.parameters, 0, 0)
    return parts


class _Once(nn.Module):
    """Embedding as a module, which gives every part a name in the counts."""

    def __init__(self, method: Method, num_visible: int) -> None:
        super().__init__()
        self.method, self.num_visible = method, num_visible

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.method.embed(image, self.num_visible)


def _values_out(*_: Any, out_val: Any = None, **__: Any) -> int:
    first = out_val[0] if isinstance(out_val, (tuple, list)) else out_val
    return first.numel() if isinstance(first, Tensor) else 0


_values_out._get_raw = True  # type: ignore[attr-defined] # the counter then gives the tensor itself


def _by_module(counter: FlopCounterMode) -> dict[str, int]:
    return {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}


def _within(counts: dict[str, int], part: str) -> int:
    """The count of a part; of one that isn't called itself, those of the modules in it."""
    return sum(counts[name] for name in _outermost(counts, part))


def _outermost(counts: dict[str, int], part: str) -> Iterator[str]:
    inside = [name for name in counts if name == part or name.startswith(f"{part}.")]
    for name in inside:
        if not any(name.startswith(f"{other}.") for other in inside):
            yield name


def cost_of(embedder: Embedder, *, batch: int | None = None) -> dict[str, Any]:
    """Time and memory of an image on this machine.

    Args:
        batch: images at a time beside a single one; None for 256 on a GPU, 8 on a CPU.

    Returns:
        "device", "precision", "ms_one" (one image alone), "batch" and "ms_in_batch" (an image of
        that many at a time), medians of three; "weights_bytes"; "peak_bytes": of the GPU, or of the
        whole process on a CPU.
    """
    device = embedder.device
    gpu = device.type == "cuda"
    batch = batch or (256 if gpu else 8)
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    milliseconds = {}
    for count in (1, batch):
        images = torch.zeros(count, *embedder.size, 3, dtype=torch.uint8, device=device)
        times = []
        with torch.inference_mode():
            for _ in range(_REPEATS + 1):  # the first one warms up
                start = time.perf_counter()
                embedder.forward(images, Modality.VISIBLE)
                wait(device)
                times.append(1e3 * (time.perf_counter() - start) / count)
        milliseconds[count] = round(statistics.median(times[1:]), 3)
    peak = torch.cuda.max_memory_allocated(device) if gpu else peak_cpu_memory()
    return {
        "device": torch.cuda.get_device_name(device) if gpu else str(device),
        "precision": embedder.precision,
        "ms_one": milliseconds[1],
        "batch": batch,
        "ms_in_batch": milliseconds[batch],
        "weights_bytes": sum(p.numel() * p.element_size() for p in embedder.method.parameters()),
        "peak_bytes": peak,
    }


def network_facts(embedder: Embedder) -> dict[str, Any]:
    """`parts_of` and `cost_of`, with totals, as plain values."""
    parts = parts_of(embedder.method, embedder.size)
    totals = [sum(column) for column in zip(*parts.values())]
    return {
        "architecture": embedder.method.architecture,
        "size": list(embedder.size),
        "parts": {name: part._asdict() for name, part in parts.items()},
        "total": Part(*totals)._asdict(),
        "cost": cost_of(embedder),
    }
