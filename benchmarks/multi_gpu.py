"""Several GPUs: images a second of 1, 2, 4 … with the same batch each.

    python benchmarks/multi_gpu.py --gpus 1,2,4 [--steps 100] [--variants]

Starts torchrun for each number; numbers that this machine doesn't have are skipped, and said.
`--variants` also measures synchronised batch norm and gathered triplets. The result is written
after every measurement.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
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
        "engine": "eager" if arguments.variant == "eager" else "auto",
        "sync_bn": arguments.variant == "sync_bn",
    }
    # If a rank waits for good, say where before the parent's limit ends it.
    faulthandler.dump_traceback_later(max(arguments.limit - 20, 10), exit=True)
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
    bench.close()
    world.barrier()
    faulthandler.cancel_dump_traceback_later()


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
            f"--limit={arguments.limit}",
            f"--device={arguments.device}",
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            words = process.communicate(timeout=arguments.limit)[1]
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its processes; killed, it would leave them
            words = process.communicate()[1]
            words += f"\nNo result after {arguments.limit} s."
        if not result.is_file():
            return {"gpus": count, "variant": variant, "error": words.strip()[-1500:] or "no words"}
        return json.loads(result.read_text())


def present(device: str) -> int | None:
    """GPUs of this machine; None where the processes share a CPU."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return None
    return torch.cuda.device_count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", default="1,2,4")
    parser.add_argument("--limit", type=float, default=280, help="seconds for each measurement")
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
    from _common import record

    asked = [int(word) for word in arguments.gpus.split(",")]
    there = present(arguments.device)
    counts = [count for count in asked if there is None or count <= there]
    notes = [
        f"{count} GPUs were not measured: this machine has {there}."
        for count in asked
        if count not in counts
    ]
    if not counts:
        sys.exit(" ".join(notes))
    if there is None:
        notes.append("Processes that share one CPU: this only tries the script.")
    jobs = [(count, "plain") for count in counts]
    if arguments.variants:
        jobs += [(max(counts), variant) for variant in ("sync_bn", "gather", "eager")]
    rows: list[dict[str, Any]] = []
    one = None
    for count, variant in jobs:
        found = measure(count, variant, arguments)
        if (count, variant) == (1, "plain"):
            one = found.get("images_per_second")
        elif one and "ms" in found:
            found["times one GPU"] = round(found["images_per_second"] / one, 3)
        rows.append(found)
        print(found, flush=True)
        if "error" in found:
            notes.append(f"{count} GPUs, {variant}, failed: {found['error'].splitlines()[-1]}")
        else:
            notes.append(f"{count} GPUs, {variant}: {found['engine']}.")
        columns = ("gpus", "variant", "ms", "images_per_second", "times one GPU", "gib")
        table = [{key: row.get(key, "") for key in columns} for row in rows]
        path = record("multi-gpu", {"asked": asked, "runs": rows}, table=table, notes=notes)
    print(path.with_suffix(".md").read_text())
    sys.exit(1 if any("error" in row for row in rows) else 0)


if __name__ == "__main__":
    main()
