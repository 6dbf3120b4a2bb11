"""Several small runs on one GPU: how many images a second all of them train with, by their number.

    python benchmarks/sharing.py [--numbers 1,3,5] [--method agw] [--arch resnet18] [--kernels own]

Each number of runs without and with NVIDIA's multi-process service (MPS), where it is installed:
without it a GPU works on one process at a time. All runs begin their timed steps at once, on random
images. `--mps` of whole_seeds.py is there because of this.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import record

DAEMON = "nvidia-cuda-mps-control"
READY = "ready"


@contextlib.contextmanager
def mps(folder: Path) -> Iterator[dict[str, str]]:
    """The service, and the environment in which processes use it; nothing where there is none."""
    if shutil.which(DAEMON) is None:
        print(f"There is no {DAEMON} here: GPUs are shared in turns.", flush=True)
        yield {}
        return
    folder.mkdir(parents=True, exist_ok=True)
    where = {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    environment = {**os.environ, **where}
    environment.pop("CUDA_VISIBLE_DEVICES", None)  # it would number the cards anew for its clients
    if subprocess.run([DAEMON, "-d"], env=environment, check=False).returncode:
        print(f"{DAEMON} did not start: GPUs are shared in turns.", flush=True)
        yield {}
        return
    try:
        yield where
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it waits for its last client
            subprocess.run([DAEMON], input="quit\n", text=True, env=environment, check=False,
                           timeout=10)  # fmt: skip


def one(words: dict[str, Any]) -> None:
    """A run of its own: ready, then, when told so, its steps."""
    from vireid.bench import StepBench, random_data

    steps, size = words.pop("steps"), tuple(words.pop("size"))
    bench = StepBench(*random_data(words.pop("images"), size=size), **words)
    bench.advance(min(20, steps))
    print(READY, flush=True)
    sys.stdin.readline()
    print(json.dumps(bench.time(steps, repeats=1, warm_up=0)), flush=True)


def together(number: int, words: dict[str, Any], where: dict[str, str]) -> dict[str, Any]:
    """So many runs at once."""
    command = [sys.executable, __file__, "--one"]
    running = [
        subprocess.Popen(
            [*command, json.dumps(words | {"seed": seed})],
            env={**os.environ, **where}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for seed in range(number)
    ]  # fmt: skip
    for process in running:
        assert process.stdout
        while (line := process.stdout.readline()).strip() != READY:
            if not line:
                return {"error": f"a run ended with code {process.wait()}"}
    began = time.perf_counter()
    for process in running:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    found = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    seconds = time.perf_counter() - began
    return {
        "ms a step, mean": round(sum(run["ms"] for run in found) / number, 2),
        "steps/s together": round(number * words["steps"] / seconds, 1),
        "img/s together": round(sum(run["images_per_second"] for run in found), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--numbers", default="1,3,5")
    parser.add_argument("--method", default="agw")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--kernels", default="own")
    parser.add_argument("--engine", default="graph")
    parser.add_argument("--images", type=int, default=4740)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--size", type=int, nargs=2, default=(288, 144))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(json.loads(args.one))
        return
    names = ("method", "arch", "kernels", "engine", "images", "steps", "size")
    words = {name: getattr(args, name) for name in names}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for shared in (False, True):
            with mps(Path(folder)) if shared else contextlib.nullcontext({}) as where:
                if shared and not where:
                    break
                for number in map(int, args.numbers.split(",")):
                    found = together(number, words, where)
                    rows.append({"runs": number, "MPS": "yes" if shared else "no", **found})
                    print(rows[-1], flush=True)
                    record("sharing", {"rows": rows, **words}, table=rows)


if __name__ == "__main__":
    main()
