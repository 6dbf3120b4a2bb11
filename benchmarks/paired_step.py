"""The training step of two checkouts in turns, on one GPU, in one run.

    python benchmarks/paired_step.py --base FOLDER [--rounds 9] [--steps 100] [--method mcl]

FOLDER is a checkout (or a copy of its src/) to compare this one with. Both compile at once, then
each is timed alone, one after the other, round by round; the difference is that of a round's pair.
With a timing that doesn't move by more than the rounds' own spread, a change cost nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from _common import ROOT, record

CHILD = """
import json, sys
from vireid.bench import StepBench, random_data
method, arch, images, steps, engine = sys.argv[1:6]
bench = StepBench(*random_data(int(images)), engine=engine, method=method, arch=arch)
print(json.dumps({"why": bench.engine.why, "ready": bench.ready_seconds}), flush=True)
for line in sys.stdin:
    print(json.dumps(bench.time(int(steps), repeats=1, warm_up=5)), flush=True)
print(json.dumps({"gib": bench.memory_gib()}), flush=True)
"""


def start(source: Path, args: argparse.Namespace, log: IO[str]) -> subprocess.Popen[str]:
    """A process that times steps with the code in `source`, one stretch for each line it gets."""
    words = [args.method, args.arch, str(args.images), str(args.steps), args.engine]
    cache = Path(args.cache) / source.parent.name
    environment = {**os.environ, "PYTHONPATH": str(source), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env=environment,
    )


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line that a process prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process ended early; its log is beside the result")
    return json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--images", type=int, default=15800)
    parser.add_argument("--method", default="mcl")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--engine", default="graph")
    parser.add_argument("--cache", default="/tmp/paired-step")
    args = parser.parse_args()
    folder = Path(os.environ.get("OUT") or ".")
    with open(folder / "paired-step.log", "w", encoding="utf-8") as log:
        sources = {"before": args.base / "src", "after": ROOT / "src"}
        running = {name: start(source, args, log) for name, source in sources.items()}
        ready = {name: answer(process) for name, process in running.items()}
        times: dict[str, list[float]] = {name: [] for name in running}
        for number in range(args.rounds):
            order = list(running) if number % 2 == 0 else list(running)[::-1]
            for name in order:
                stdin = running[name].stdin
                assert stdin is not None
                stdin.write("go\n")
                stdin.flush()
                times[name].append(answer(running[name])["ms"])
        memory = {}
        for name, process in running.items():
            assert process.stdin is not None
            process.stdin.close()
            memory[name] = answer(process)["gib"]
            process.wait()
    differences = [after - before for before, after in zip(times["before"], times["after"])]
    rows = [
        {
            "code": name,
            "ms a step": statistics.median(times[name]),
            "lowest": min(times[name]),
            "highest": max(times[name]),
            "ready s": round(ready[name]["ready"]),
            "GiB besides images": memory[name],
        }
        for name in running
    ]
    share = 100 * statistics.median(differences) / statistics.median(times["before"])
    notes = [
        f"{args.method}, {args.arch}, engine {args.engine}, 64 images a step; medians of "
        f"{args.rounds} rounds of {args.steps} steps, in turns on one GPU.",
        f"After minus before, by round: median {statistics.median(differences):+.3f} ms "
        f"({share:+.2f} %), from {min(differences):+.3f} to {max(differences):+.3f} ms.",
        *(f"{name}: {facts['why']}" for name, facts in ready.items()),
    ]
    results = {"times_ms": times, "differences_ms": differences, "ready": ready, "gib": memory}
    path = record("paired-step", results, table=rows, notes=notes)
    print(path.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
