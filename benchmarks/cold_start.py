"""How long a run waits for its first captured step: cold, warm, other rows, six runs at once.

    python benchmarks/cold_start.py [--rows mcl/resnet50,agw/resnet18] [--together 6] [--gpus 1]

Each start is a process of its own, from its first line to its first step with all kernels in
place. Cold: an empty cache folder. Warm: the same again. Other: another seed and number of
identities, then another method, of the same network. Together: so many cold runs at once on this
machine, one cache folder, all GPUs in turn. The step's time comes with each. Random images.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

from _common import record  # noqa: E402


def one(words: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own does; `began` is when it was asked for."""
    began = words.pop("began")
    steps, num_pids, seed = (words.pop(name) for name in ("steps", "num_pids", "seed"))
    size = tuple(words.pop("size"))
    from vireid.cli import COLLECT_AFTER

    gc.set_threshold(COLLECT_AFTER)  # as the command does
    from vireid.bench import StepBench, random_data

    imported = time.time()
    data = random_data(12 * num_pids, size=size, num_pids=num_pids)
    ready = time.time()
    bench = StepBench(*data, seed=seed, **words)
    bench.losses(1)
    first = time.time()
    found = {
        "import_s": round(imported - began, 1),
        "data_s": round(ready - imported, 1),
        "engine_s": round(bench.ready_seconds, 1),
        "first_step_s": round(first - began - (ready - imported), 1),  # a run's images are at hand
        "engine": bench.engine.why,
    }
    if steps:
        found |= bench.time(steps)
    return found | {"gib": bench.memory_gib()}


def start(words: dict[str, Any], cache: str, gpu: int | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    asked = json.dumps(words | {"began": time.time()})
    return subprocess.Popen(
        [sys.executable, __file__, "--one", asked],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    try:
        return json.loads(out.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return {"error": f"exit code {process.returncode}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="mcl/resnet50,agw/resnet18")
    parser.add_argument("--together", type=int, default=6)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100, help="timed, where a run is alone")
    parser.add_argument("--engine", default="graph")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", default="288x144")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(json.loads(args.one))))
        return
    rows = []

    def note(what: str, words: dict[str, Any], found: dict[str, Any]) -> None:
        shown = {key: words[key] for key in ("method", "arch")}
        rows.append({"start": what, **shown, **found})
        print(rows[-1], flush=True)

    size = [int(side) for side in args.size.split("x")]
    for asked in args.rows.split(","):
        method, arch = asked.split("/")
        words = {
            "method": method, "arch": arch, "engine": args.engine,
            "device": args.device, "size": size, "num_pids": 395, "seed": 0,
            "steps": args.steps,
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as cache:
            note("cold", words, answer(start(words, cache)))
            note("warm", words, answer(start(words, cache)))
            other = words | {"num_pids": 206, "seed": 1, "steps": 0}
            note("warm, other seed and identities", other, answer(start(other, cache)))
            other = words | {"method": "base" if method != "base" else "agw", "steps": 0}
            note("warm, other method", other, answer(start(other, cache)))
        if args.together:
            with tempfile.TemporaryDirectory() as cache:
                began = time.time()
                running = [
                    start(words | {"seed": n, "steps": 0}, cache,
                          None if args.device == "cpu" else n % args.gpus)
                    for n in range(args.together)
                ]  # fmt: skip
                found = [answer(process) for process in running]
                waits = [run.get("first_step_s", float("nan")) for run in found]
                note(
                    f"cold, {args.together} at once", words,
                    {"first_step_s": max(waits), "total_s": round(time.time() - began, 1),
                     "each": found},
                )  # fmt: skip
    columns = ("start", "method", "arch", "first_step_s", "engine_s", "import_s", "ms",
               "gib", "error")  # fmt: skip
    path = record(
        "cold-start",
        {"rows": rows},
        table=[{name: row.get(name, "") for name in columns} for row in rows],
        command=" ".join(["python", "benchmarks/cold_start.py", *sys.argv[1:]]),
    )
    print(f"Recorded in {path}")


if __name__ == "__main__":
    main()
