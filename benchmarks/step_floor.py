"""The floor of a training step's time, counted from the network's shapes, beside what it took.

    python benchmarks/step_floor.py benchmarks/results/step-mcl-DATE-MACHINE.json

Counted: each convolution forwards and twice backwards, by the larger of its arithmetic and its
bytes; batch norm, ReLU and residual sums as passes of their own over bfloat16 numbers; weights and
gradients between bfloat16 and float32; the optimiser with momentum. The rates are those which a
large matrix product and a large copy reached in the run of the given file. All bytes count as going
through device memory; what stays in the GPU's cache is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from _common import record  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from vireid.methods import Sizes, build_method, method_class  # noqa: E402

IMAGES = 64  # a step
BYTES = 2  # of a bfloat16 number
# Passes over each output of a batch norm. Forwards it is read for the statistics, read again and
# written; backwards it and its gradient are read for the sums, read again, and one is written.
PASSES = 3 + 5
# A residual sum reads one more number forwards; backwards two gradients are read instead of one,
# by both passes of the batch norm before it.
SUM_PASSES = 1 + 2
CASTS = 2 * (4 + 2)  # bytes of a convolution's weight: read and written, and so its gradient
MOMENTUM = 5 * 4  # bytes of a weight: read with gradient and momentum, two of them written


@dataclass(frozen=True)
class Convolution:
    """One kind of work of a convolution over the whole batch: operations and bytes."""

    flop: float
    bytes: float


def counted(size: tuple[int, int] = (288, 144)) -> tuple[list[Convolution], float, float]:
    """Convolutions of a step (three entries each); bytes of the passes between them, and of the
    optimiser's."""
    method = build_method(
        "mcl",
        method_class("mcl").model_defaults("resnet50", "none"),
        Sizes(num_pids=395, num_cameras=6),
    ).eval()
    work: list[Convolution] = []
    between = 0.0

    def convolution(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        nonlocal between
        assert isinstance(layer, nn.Conv2d)
        share = IMAGES / 2  # two images stand for a batch, or one for its half in a stem
        flop = 2 * out.numel() * layer.weight[0].numel() * share
        data = BYTES * ((given[0].numel() + out.numel()) * share + layer.weight.numel())
        passes = 2 if given[0].shape[1] == 3 else 3  # images need no gradient
        work.extend([Convolution(flop, data)] * passes)
        between += CASTS * layer.weight.numel()

    def norm(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        nonlocal between
        if out.dim() == 4:
            between += BYTES * PASSES * out.numel() * IMAGES / 2

    def block(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        nonlocal between
        between += BYTES * SUM_PASSES * out.numel() * IMAGES / 2

    for layer in method.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(convolution)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.register_forward_hook(norm)
        elif type(layer).__name__ == "Bottleneck":
            layer.register_forward_hook(block)
    with torch.no_grad():
        method.embed(torch.zeros(2, 3, *size), 1)
    return work, between, MOMENTUM * float(sum(p.numel() for p in method.parameters()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, help="a file of step.py, with its profile")
    arguments = parser.parse_args()
    found = json.loads(arguments.result.read_text(encoding="utf-8"))["results"]
    rate = found["ceilings"]["bf16_tflops"] * 1e12
    copy = found["ceilings"]["copy_tb_per_s"] * 1e12
    took = {row["what"].split(" (")[0]: row["ms"] for row in found["breakdown"]["kinds"]}
    work, between, stepped = counted()
    flop = sum(one.flop for one in work)
    least = sum(max(one.flop / rate, one.bytes / copy) for one in work) * 1e3
    bound = sum(one.bytes / copy > one.flop / rate for one in work) / len(work)
    multiplied = took["convolutions"] + took["matrix products"]
    fused, optimisers = took["fused by the compiler"], took["optimisers"]
    passes, steps = between / copy * 1e3, stepped / copy * 1e3
    total = found["breakdown"]["kernel_ms"]
    rows: list[dict[str, Any]] = [
        {"what": what, "least ms": round(lowest, 2), "took ms": round(took_ms, 2)}
        for what, lowest, took_ms in [
            ("convolutions and matrix products", least, multiplied),
            ("batch norm, ReLU, sums, casts (took: all fused kernels)", passes, fused),
            ("optimisers", steps, optimisers),
            ("other", 0.0, total - multiplied - fused - optimisers),
            ("all", least + passes + steps, total),
        ]
    ]
    notes = [
        f"From `{arguments.result.name}`: matrix products reach {rate / 1e12:.0f} TFLOP/s, copies "
        f"{copy / 1e12:.2f} TB/s. The step without the profiler: {found['graph']['ms']} ms.",
        f"Convolutions are {flop / 1e12:.2f} TFLOP: {flop / rate * 1e3:.2f} ms at that rate alone. "
        f"{100 * bound:.0f} % of them are bound by their bytes, which brings the least to "
        f"{least:.2f} ms.",
        f"Batch norm, ReLU, residual sums and casts move {between / 1e9:.1f} GB.",
    ]
    results = {"tflop": flop / 1e12, "gigabytes_between": between / 1e9, "rows": rows}
    path = record("step-floor", results, table=rows, notes=notes)
    print(path.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
