"""Our own kernels on the maps of a ResNet-50 step: time, and share of the bytes a copy moves.

    python benchmarks/kernels.py [--tiles 32x64/4] [--sums 32x64/4/528/4,64x64/8/264/3,…]
        [--dtype bfloat16] [--no-pointwise]

Each pass runs by itself in a captured graph, forwards and backwards, for every map of a step of 64
images of 288x144. `--tiles` compares ROWS x COLUMNS / warps of a pass, `--sums` the same of a sum
with the programs it is spread over and its stages; the first of each are the package's.
Beside it: the first convolution, of one stem; 1x1 convolutions as such and as matrix products.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from _common import record  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from vireid.models import fused, fused_stem  # noqa: E402

# Channels, height, width: how many norms of that map a step has, by what follows them. The last
# stage keeps its size.
MAPS = {
    (64, 144, 72): {"pool": 1},
    (64, 72, 36): {"relu": 6},
    (256, 72, 36): {"add": 2, "add norm": 1},
    (128, 72, 36): {"relu": 1},
    (128, 36, 18): {"relu": 7},
    (512, 36, 18): {"add": 3, "add norm": 1},
    (256, 36, 18): {"relu": 1},
    (256, 18, 9): {"relu": 11},
    (1024, 18, 9): {"add": 5, "add norm": 1},
    (512, 18, 9): {"relu": 6},
    (2048, 18, 9): {"add": 2, "add norm": 1},
}
# Passes over a map, forwards and backwards.
PASSES = {"relu": 3 + 5, "add": 4 + 7, "add norm": 5 + 10, "pool": 2.5 + 3.5}
POINTWISE = [  # input channels, output channels, height, width, how many
    (64, 256, 72, 36, 4), (256, 64, 72, 36, 2), (256, 128, 72, 36, 1), (128, 512, 36, 18, 4),
    (512, 128, 36, 18, 3), (512, 256, 36, 18, 1), (256, 1024, 18, 9, 6), (1024, 256, 18, 9, 5),
    (1024, 512, 18, 9, 1), (512, 2048, 18, 9, 3), (2048, 512, 18, 9, 2), (1024, 2048, 18, 9, 1),
]  # fmt: skip


def milliseconds(run: Callable[[], Any], count: int = 20) -> float:
    """Median time of `run`, replayed from a graph."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    times = []
    for _ in range(count):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[count // 2]


def pass_of(kind: str, shape: tuple[int, int, int], images: int, dtype: torch.dtype) -> Any:
    """Forward and backward of one pass, as two functions."""
    channels, high, wide = shape

    def made(*size: int) -> Tensor:
        x = torch.randn(*size, device="cuda", dtype=dtype)
        return x.contiguous(memory_format=torch.channels_last).requires_grad_()

    x, other = made(images, channels, high, wide), made(images, channels, high, wide)
    norm, other_norm = (nn.BatchNorm2d(channels).cuda() for _ in range(2))
    forward = {
        "relu": lambda: fused.norm_relu(norm, x),
        "add": lambda: fused.norm_add_relu(norm, x, other),
        "add norm": lambda: fused.norm_add_relu(norm, x, other, other_norm),
        "pool": lambda: fused.norm_relu_pool(norm, x),
    }[kind]

    def both() -> None:
        y = forward()
        outputs = [y, y.again] if hasattr(y, "again") else [y]
        inputs = [x, *norm.parameters()]
        inputs += [other] if kind.startswith("add") else []
        inputs += list(other_norm.parameters()) if kind == "add norm" else []
        torch.autograd.grad(outputs, inputs, [gradient] * len(outputs))

    gradient = torch.randn_like(forward().detach())
    return forward, both


def tile_rows(
    tile: str, sums: str, images: int, dtype: torch.dtype, copy: float
) -> list[dict[str, Any]]:
    """Every pass of a step, cut in one way."""
    size, warps = tile.split("/")
    rows, columns = map(int, size.split("x"))
    fused.TILE = {"ROWS": rows, "COLUMNS": columns, "num_warps": int(warps)}
    size, warps, parts, stages = sums.split("/")
    rows, columns = map(int, size.split("x"))
    fused.SUMS = {
        "ROWS": rows, "COLUMNS": columns, "STAGES": int(stages), "num_warps": int(warps),
    }  # fmt: skip
    fused.PARTS = int(parts)
    found = []
    for shape, kinds in MAPS.items():
        for kind, count in kinds.items():
            forward, both = pass_of(kind, shape, images, dtype)
            whole, alone = milliseconds(both), milliseconds(forward)
            size_ = images * shape[0] * shape[1] * shape[2] * torch.finfo(dtype).bits // 8
            least = PASSES[kind] * size_ / copy / 1e9
            found.append(
                {
                    "tile": tile,
                    "sums": sums,
                    "map": "x".join(map(str, shape)),
                    "pass": kind,
                    "in a step": count,
                    "forward us": round(1e3 * alone, 1),
                    "backward us": round(1e3 * (whole - alone), 1),
                    "least us": round(1e3 * least, 1),
                    "in a step ms": round(count * whole, 3),
                }
            )
    return found


def stem_rows(images: int, dtype: torch.dtype) -> list[dict[str, Any]]:
    """The first convolution of a modality's images: PyTorch's and ours, in several cuts."""
    image = torch.randn(images // 2, 3, 288, 144, device="cuda")
    layer = nn.Conv2d(3, 64, 7, 2, 3, bias=False).cuda().to(memory_format=torch.channels_last)
    kept = fused_stem.FORWARD, fused_stem.BACKWARD, fused_stem.PARTS
    found = []

    def row(name: str, run: Callable[[], Tensor]) -> None:
        with torch.autocast("cuda", dtype, cache_enabled=False):
            gradient = torch.randn_like(run().detach())
            alone = milliseconds(run)
            whole = milliseconds(lambda: torch.autograd.grad(run(), layer.weight, gradient))
        found.append({"convolution": name, "forward us": round(1e3 * alone, 1),
                      "backward us": round(1e3 * (whole - alone), 1)})  # fmt: skip
        print(found[-1], flush=True)

    row("PyTorch", lambda: layer(image))
    first = "64/4/264/2"
    for ahead in ("128/4", "64/4", "128/8", "256/8"):
        for back in (first, "64/4/132/3", "64/8/132/3", "64/8/264/2", "32/4/264/3", "32/4/528/2"):
            rows, warps = map(int, ahead.split("/"))
            fused_stem.FORWARD = {"ROWS": rows, "num_warps": warps}
            rows, warps, fused_stem.PARTS, stages = map(int, back.split("/"))
            fused_stem.BACKWARD = {"ROWS": rows, "num_warps": warps, "num_stages": stages}
            if ahead == "128/4" or back == first:
                row(f"{ahead} and {back}", lambda: fused_stem.convolve(layer, image))
    fused_stem.FORWARD, fused_stem.BACKWARD, fused_stem.PARTS = kept
    return found


def pointwise_rows(images: int, dtype: torch.dtype) -> list[dict[str, Any]]:
    """A 1x1 convolution against the same product, forwards and backwards."""
    found = []
    for given, made, high, wide, count in POINTWISE:
        x = torch.randn(images, given, high, wide, device="cuda", dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        weight = torch.randn(made, given, 1, 1, device="cuda", dtype=dtype)
        weight = weight.contiguous(memory_format=torch.channels_last).requires_grad_()

        def convolution(x: Tensor = x, weight: Tensor = weight) -> Tensor:
            return nn.functional.conv2d(x, weight)

        def product(x: Tensor = x, weight: Tensor = weight) -> Tensor:
            rows = nn.functional.linear(x.permute(0, 2, 3, 1), weight.flatten(1))
            return rows.permute(0, 3, 1, 2)

        gradient = torch.randn_like(convolution().detach())
        row = {"map": f"{given} to {made}, {high}x{wide}", "in a step": count}
        for name, run in (("convolution", convolution), ("product", product)):
            ahead = milliseconds(run)
            whole = milliseconds(
                lambda run=run, given=(x, weight), dy=gradient: torch.autograd.grad(
                    run(), given, dy
                )
            )
            row |= {f"{name} forward us": round(1e3 * ahead, 1),
                    f"{name} backward us": round(1e3 * (whole - ahead), 1)}  # fmt: skip
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiles", default="32x64/4")
    parser.add_argument("--sums", default="32x64/4/528/4")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--no-pointwise", action="store_true")
    args = parser.parse_args()
    from step import ceilings

    torch.backends.cudnn.benchmark = True
    dtype, found = getattr(torch, args.dtype), ceilings()
    results: dict[str, Any] = {"ceilings": found, "stem": stem_rows(args.images, dtype)}
    rows: list[dict[str, Any]] = []
    table = []
    tiles, sums = args.tiles.split(","), args.sums.split(",")
    for tile, each in [*((tile, sums[0]) for tile in tiles), *((tiles[0], s) for s in sums[1:])]:
        more = tile_rows(tile, each, args.images, dtype, found["copy_tb_per_s"])
        rows += more
        whole = sum(row["in a step ms"] for row in more)
        least = sum(row["in a step"] * row["least us"] for row in more) / 1e3
        table.append({"tile": tile, "sums": each, "all passes of a step, ms": round(whole, 3),
                      "least ms": round(least, 2)})  # fmt: skip
        print(table[-1], flush=True)
    if not args.no_pointwise:
        results["pointwise"] = pointwise_rows(args.images, dtype)
    print(record("kernels", results | {"passes": rows}, table=table))


if __name__ == "__main__":
    main()
