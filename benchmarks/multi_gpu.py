"""Several GPUs: images a second of 1, 2, 4 … with the same batch each.

    python benchmarks/multi_gpu.py --gpus 1,2,4 [--steps 100] [--variants]

Starts torchrun for each number; numbers that this machine doesn't have are skipped, and said.
One GPU is measured on each of them, as they differ. `--variants` also measures synchronised batch
norm, gathered triplets and the eager engine with every number of GPUs above one. All are compiled
at the same time and then wait for their turns; the result is written after every measurement.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

if TYPE_CHECKING:
    from vireid.runtime.ranks import World


def worker(arguments: argparse.Namespace) -> None:
    """One rank of a measurement; the first writes the result."""
    from vireid.bench import StepBench, random_data
    from vireid.runtime.ranks import join

    world = join(arguments.device)
    cuda = world.device.type == "cuda"
    pids = 395 if cuda else 32
    data = random_data(12 * pids, num_pids=pids, size=(288, 144) if cuda else (64, 32))
    small = {} if cuda else {"arch": "resnet18", "pids_per_batch": 4, "images_per_pid": 2}
    options: dict[str, Any] = {
        "engine": "eager" if arguments.variant == "eager" else "auto",
        "device": arguments.device,
        "sync_bn": arguments.variant == "sync_bn",
        "gather": arguments.variant == "gather",
    }
    # If a rank waits for good, say where before the parent's limit ends it.
    faulthandler.dump_traceback_later(max(arguments.limit - 20, 10), exit=True)
    bench = StepBench(
        *data,
        method="mcl",
        **options,
        **small,
    )
    result = Path(arguments.result)
    wait_for_turn(world, result)
    found: dict[str, Any] = bench.time(arguments.steps if cuda else 2)
    found |= {
        "gpus": world.size,
        "variant": arguments.variant,
        "engine": bench.engine.why,
        "gib": bench.memory_gib(),
    }
    if world.first:
        result.write_text(json.dumps(found))
    bench.close()
    world.barrier()
    faulthandler.cancel_dump_traceback_later()


def wait_for_turn(world: World, result: Path) -> None:
    """Say that this measurement is ready, and wait until it is the only one that runs."""
    if world.first:
        result.with_suffix(".ready").touch()
        while not result.with_suffix(".go").exists():
            time.sleep(0.05)
    world.barrier()


@dataclass
class Job:
    """A measurement: torchrun with `count` processes, on the GPUs from `first` on."""

    count: int
    variant: str
    first: int
    result: Path
    script: Path = Path(__file__)
    process: subprocess.Popen[str] | None = None

    def start(self, arguments: argparse.Namespace, *words: str) -> None:
        """Let it get ready; `words` are further ones for the script."""
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={self.count}",
            str(self.script),
            "--worker",
            f"--result={self.result}",
            f"--variant={self.variant}",
            f"--limit={arguments.limit}",
            f"--device={arguments.device}",
            *words,
        ]
        from vireid.runtime.jobs import devices

        gpus = ",".join(map(str, devices()[self.first : self.first + self.count]))
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=self.result.with_suffix(".log").open("w"),
            env=os.environ | ({} if gpus == "None" else {"CUDA_VISIBLE_DEVICES": gpus}),
        )

    @property
    def waits(self) -> bool:
        """Whether it is ready, or has failed."""
        assert self.process is not None
        return self.result.with_suffix(".ready").exists() or self.process.poll() is not None

    def measure(self, deadline: float) -> dict[str, Any]:
        """Its turn: what it found, or an error."""
        assert self.process is not None
        about = {"gpus": self.count, "first_gpu": self.first, "variant": self.variant}
        self.result.with_suffix(".go").touch()
        try:
            self.process.wait(max(deadline - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            self.process.terminate()  # torchrun ends its processes; killed, it would leave them
            self.process.wait()
            return about | {"error": "not measured, the time was up"}
        if not self.result.is_file():
            words = self.result.with_suffix(".log").read_text().strip()[-1500:]
            return about | {"error": words or "no result, and no words"}
        return about | json.loads(self.result.read_text())


def present(device: str) -> int | None:
    """GPUs of this machine; None where the processes share a CPU."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return None
    return torch.cuda.device_count()


def numbers(words: str, device: str) -> tuple[list[int], list[int], int | None, list[str]]:
    """Numbers of GPUs that were asked for, those that this machine has, how many it has, and notes
    on the others; ends the program where none is left."""
    asked = [int(word) for word in words.split(",")]
    there = present(device)
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
    return asked, counts, there, notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", default="1,2,4")
    parser.add_argument("--limit", type=float, default=500, help="seconds for everything")
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

    asked, counts, there, notes = numbers(arguments.gpus, arguments.device)
    asked_jobs = [(count, "plain", 0) for count in counts if count > 1]
    if 1 in counts:
        singles = range(max(counts) if there is not None else 1)
        asked_jobs = [(1, "plain", gpu) for gpu in singles] + asked_jobs
    if arguments.variants:
        asked_jobs += [
            (count, variant, 0)
            for count in sorted(counts, reverse=True)
            for variant in ("sync_bn", "gather", "eager")
            if count > 1
        ]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(*job, Path(folder) / f"{n}.json") for n, job in enumerate(asked_jobs)]
        deadline = time.monotonic() + arguments.limit
        for job in jobs:
            job.start(arguments, f"--steps={arguments.steps}")
        while not all(job.waits for job in jobs) and time.monotonic() < deadline - 60:
            time.sleep(0.1)
        for job in jobs:
            found = job.measure(deadline)
            alone = [row["images_per_second"] for row in rows if row["gpus"] == 1 and "ms" in row]
            if alone and "ms" in found and found["gpus"] > 1:
                rate = found["images_per_second"]
                found["times one GPU"] = round(rate / statistics.mean(alone), 3)
                found["times the slowest"] = round(rate / min(alone), 3)
                found["times the first"] = round(rate / alone[0], 3)
            rows.append(found)
            print(found, flush=True)
            name = f"{job.count} GPUs, {job.variant}"
            notes.append(f"{name}: {found.get('engine') or found['error'].splitlines()[-1]}.")
            columns = ("gpus", "first_gpu", "variant", "ms", "images_per_second", "times one GPU",
                       "times the first", "times the slowest", "gib")  # fmt: skip
            table = [{key: row.get(key, "") for key in columns} for row in rows]
            path = record("multi-gpu", {"asked": asked, "runs": rows}, table=table, notes=notes)
    print(path.with_suffix(".md").read_text())
    sys.exit(1 if any("error" in row for row in rows) else 0)


if __name__ == "__main__":
    main()
