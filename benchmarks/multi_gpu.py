"""Several GPUs: images a second of 1, 2, 4 … with the same batch each.

    python benchmarks/multi_gpu.py --gpus 1,2,4 [--steps 100] [--variants]

Starts torchrun for each number. `--variants` also measures synchronised batch norm and gathered
triplets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]


def worker(arguments: argparse.Namespace) -> None:
    """One rank of a measurement; the first writes the result."""
    from vireid.bench import StepBench, random_data
    from vireid.engine.distributed import gather_rows, join

    world = join(arguments.device)
    cuda = world.device.type == "cuda"
    pids = 395 if cuda else 32
    data = random_data(12 * pids, num_pids=pids, size=(288, 144) if cuda else (64, 32))
    small = {} if cuda else {"arch": "resnet18", "pids_per_batch": 4, "images_per_pid": 2}
    options: dict[str, Any] = {
        "engine": "eager" if arguments.variant == "sync_bn" else "auto",
        "sync_bn": arguments.variant == "sync_bn",
    }
    if arguments.variant == "eager":
        options["engine"] = "eager"
    bench = StepBench(
        *data,
        world=world,
        method="mcl",
        gather=gather_rows if arguments.variant == "gather" and world.size > 1 else None,
        **options,
        **small,
    )
    found: dict[str, Any] = bench.time(arguments.steps if cuda else 2)
    found |= {
        "gpus": world.size,
        "variant": arguments.variant,
        "engine": bench.engine.why,
        "gib": bench.memory_gib(),
    }
    if world.first:
        Path(arguments.result).write_text(json.dumps(found))
    world.barrier()
    world.leave()
    os._exit(0)  # a captured graph that holds a communicator may not be torn down in any order


def measure(count: int, variant: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run torchrun with `count` processes."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={count}",
            __file__,
            "--worker",
            f"--result={result}",
            f"--variant={variant}",
            f"--steps={arguments.steps}",
            f"--device={arguments.device}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
        if not result.is_file():
            return {"gpus": count, "variant": variant, "error": done.stderr[-1500:]}
        return json.loads(result.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", default="1,2")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--result", default="")
    parser.add_argument("--variant", default="plain")
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    from _common import markdown, record

    counts = [int(word) for word in arguments.gpus.split(",")]
    jobs = [(count, "plain") for count in counts]
    if arguments.variants:
        jobs += [(max(counts), variant) for variant in ("eager", "sync_bn", "gather")]
    rows = []
    for count, variant in jobs:
        found = measure(count, variant, arguments)
        one = next(
            (
                r["images_per_second"]
                for r in rows
                if r.get("gpus") == 1 and r.get("variant") == "plain" and "ms" in r
            ),
            None,
        )
        if one and "ms" in found:
            found["times one GPU"] = round(found["images_per_second"] / one, 3)
        rows.append(found)
        print(found, flush=True)
    table = [
        {
            key: row.get(key, "")
            for key in ("gpus", "variant", "ms", "images_per_second", "times one GPU", "gib")
        }
        for row in rows
    ]
    print(record("multi-gpu", {"runs": rows}, table=table))
    print(markdown(table))


if __name__ == "__main__":
    main()
