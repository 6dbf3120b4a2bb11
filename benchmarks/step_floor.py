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

from vireid.methods import Recipe, Sizes, build_method, method_class  # noqa: E402

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


def rows_of(recipe: Recipe) -> int:
    """Rows of a step's batch."""
    return (recipe.augment.visible_views + 1) * recipe.pids_per_batch * recipe.images_per_pid


def counted(
    name: str = "mcl", size: tuple[int, int] | None = None
) -> tuple[list[Convolution], float, float]:
    """Convolutions of a step with the published batch (three entries each); bytes of the passes
    between them, and of the optimiser's. Attention and products of vectors are left out."""
    cls = method_class(name)
    recipe = cls.recipes["clean"]
    method = build_method(
        name,
        cls.model_defaults("resnet50", "none"),
        Sizes(num_pids=395, num_cameras=6),
    ).eval()
    views, share = recipe.augment.visible_views, recipe.pids_per_batch * recipe.images_per_pid
    work: list[Convolution] = []
    between = 0.0

    def convolution(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        nonlocal between
        assert isinstance(layer, nn.Conv2d)
        # one image of each stream stands for all of them
        flop = 2 * out.numel() * layer.weight[0].numel() * share
        data = BYTES * ((given[0].numel() + out.numel()) * share + layer.weight.numel())
        passes = 2 if given[0].shape[1] == 3 else 3  # images need no gradient
        work.extend([Convolution(flop, data)] * passes)
        between += CASTS * layer.weight.numel()

    def norm(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        nonlocal between
        if out.dim() == 4:
            between += BYTES * PASSES * out.numel() * share

    def block(layer: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        nonlocal between
        between += BYTES * SUM_PASSES * out.numel() * share

    for layer in method.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(convolution)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.register_forward_hook(norm)
        elif type(layer).__name__ == "Bottleneck":
            layer.register_forward_hook(block)
    with torch.no_grad():
        method.embed(torch.zeros(views + 1, 3, *(size or cls.Options.input_size)), views)
    return work, between, MOMENTUM * float(sum(p.numel() for p in method.parameters()))


def floor_ms(name: str, ceilings: dict[str, float]) -> float:
    """The least milliseconds of a method's step at the rates that `step.py` found."""
    rate, copy = ceilings["bf16_tflops"] * 1e12, ceilings["copy_tb_per_s"] * 1e12
    work, between, stepped = counted(name)
    least = sum(max(one.flop / rate, one.bytes / copy) for one in work)
    return 1e3 * (least + (between + stepped) / copy)


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
    # Where blocks run on our own kernels, what the compiler fuses is losses and augmentation.
    names = ("our own kernels", "fused by the compiler")
    fused, optimisers = next(took[name] for name in names if name in took), took["optimisers"]
    passes, steps = between / copy * 1e3, stepped / copy * 1e3
    total = found["breakdown"]["kernel_ms"]
    rows: list[dict[str, Any]] = [
        {"what": what, "least ms": round(lowest, 2), "took ms": round(took_ms, 2)}
        for what, lowest, took_ms in [
            ("convolutions and matrix products", least, multiplied),
            (
                "batch norm, ReLU, sums, casts (took: all fused kernels, or all of our own)",
                passes,
                fused,
            ),
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
