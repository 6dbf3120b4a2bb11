"""The exported networks beside PyTorch: time of one image and of 64, and how equal they are.

    python benchmarks/exported.py [--archs resnet18,resnet50] [--threads 2]

One network after the other in one process, each in three blocks between those of the Embedder, on
the same images; on the CPU, where exported networks run. Not call by call in turns: ONNX Runtime's
threads keep spinning after each, which doubled PyTorch's time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]


def measure(arch: str, size: tuple[int, int], repeats: int) -> list[dict[str, Any]]:
    """Milliseconds and the smallest cosine, a row for each batch size."""
    import numpy as np
    import torch

    from vireid.embed import Embedder, export, load
    from vireid.methods import Sizes, build_method
    from vireid.models.options import ModelOptions

    torch.manual_seed(0)
    method = build_method(
        "agw", ModelOptions(arch=arch, pretrained="none"), Sizes(num_pids=2), None
    )
    own = Embedder(method, {"size": list(size)}, device="cpu")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        export(own, folder)
        exported = load(folder)
        for batch in (1, 7, 64):
            images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), np.uint8)
            times: dict[str, list[float]] = {"onnx": [], "pytorch": []}
            vectors = {}
            for name, embedder in 3 * [("onnx", exported), ("pytorch", own)]:
                time.sleep(0.5)
                for turn in range(repeats // 3 + 1):
                    began = time.perf_counter()
                    vectors[name] = embedder.embed(images, "infrared", batch_size=64)
                    if turn:  # the first of each block warms up
                        times[name].append(1000 * (time.perf_counter() - began))
            cosine = min(
                float((vectors["onnx"].vectors[n] * v).sum(1).min())
                for n, v in vectors["pytorch"].vectors.items()
            )
            row: dict[str, Any] = {"arch": arch, "images": batch}
            for name, spans in times.items():
                row[f"{name} ms"] = round(statistics.median(spans), 2)
            row["times pytorch"] = round(row["pytorch ms"] / row["onnx ms"], 2)
            row["smallest cosine"] = round(cosine, 7)
            rows.append(row)
            print(row, flush=True)
    return rows


def main() -> None:
    """Measure and record."""
    from _common import record

    parser = argparse.ArgumentParser(description="ONNX Runtime beside PyTorch on the CPU.")
    parser.add_argument("--archs", default="resnet18,resnet50")
    parser.add_argument("--size", default="288x144")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    rows = [
        row
        for arch in arguments.archs.split(",")
        for row in measure(arch, (height, width), arguments.repeats)
    ]
    notes = [
        "agw from nothing, float32, infrared images, both test embeddings; medians of "
        f"{arguments.repeats // 3 * 3} repeats in three blocks; PyTorch embeds at most 32 images "
        "at a time on a CPU.",
        "Both use as many threads as `vireid embed` does here.",
    ]
    print("wrote", record("exported", {"rows": rows}, table=rows, notes=notes))


if __name__ == "__main__":
    main()
