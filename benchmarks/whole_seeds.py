"""Whole seeds of an experiment on the GPUs of one machine: people, starts, rows, in one go.

    python benchmarks/whole_seeds.py benchmarks/sweeps/board.toml --seeds 0,1 --work DIR \
        --deadline SECONDS [--cross] [--merge OLD.json]

People are rendered while the starts of the seeds before are trained; all starts are there before
the first row begins. Rows are made by methods.py, starts by start.py; DIR/*.log say what each part
did. The same command goes on where it was stopped. Beside the rows' result stands one named
whole-seeds: what took how long, and in how many folders v1 differs from the checksums that the
package ships.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from _common import record
from sharing import mps

from vireid.runtime.jobs import devices

HERE = Path(__file__).resolve().parent

# Sets that nothing is trained on: seeds of their own, 96 people to test on (in RegDB's layout half
# of all are).
CROSS_PEOPLE = {
    "hard": {"preset": "hard", "identities": 98, "test-identities": 96, "images": 6, "seed": 9101},
    "regdb": {"layout": "regdb", "identities": 192, "images": 10, "seed": 9102},
    "llcm": {"layout": "llcm", "identities": 98, "test-identities": 96, "images": 4, "seed": 9103},
}
BEGAN = time.monotonic()


def main() -> int:
    args = arguments()
    args.work = args.work.absolute()
    args.work.mkdir(parents=True, exist_ok=True)
    seeds, gpus = [int(seed) for seed in args.seeds.split(",")], devices()
    jobs = Jobs(args)
    with mps(args.work / "mps") if args.mps else nullcontext({}) as where:
        os.environ.update(where)
        code = make(jobs, seeds, gpus)
    jobs.write()
    return code


def make(jobs: Jobs, seeds: list[int], gpus: list[int | None]) -> int:
    """People, starts, rows; the code of methods.py."""
    args = jobs.args
    data = args.data or args.work / "v1"
    own_starts = args.start is None
    people = jobs.start_of(seeds[0], "--people-only") if own_starts else None
    later = [int(seed) for seed in args.more_starts.split(",")] if args.more_starts else []
    starts = threading.Thread(target=jobs.starts, args=(seeds + later, gpus, people))
    if people:
        jobs.wait(people)
        starts.start()
    if args.data is None:
        jobs.wait(jobs.begin("v1", ["-m", "vireid", "synthesize", "--v1", "--out", data], nice=5))
        decode = ["-m", "vireid", "prepare", "--data-root", data]
        jobs.wait(jobs.begin("v1-decoded", decode, nice=5))
        verify = ["-m", "vireid", "synthesize", "--v1", "--out", data, "--verify"]
        jobs.begin("v1-verified", verify, nice=15)
    for name in CROSS_PEOPLE if args.cross else ():
        words = [w for key, value in CROSS_PEOPLE[name].items() for w in (f"--{key}", value)]
        out = ["-m", "vireid", "synthesize", "--out", args.work / "cross" / name, *words]
        jobs.wait(jobs.begin(f"cross-{name}", out, nice=10))
    if people:
        starts.join()
    return 0 if args.no_rows else rows(jobs, data)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the experiment, as for methods.py")
    parser.add_argument("--seeds", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds of this call")
    parser.add_argument("--merge", type=Path, nargs="+", action="extend", default=[])
    parser.add_argument("--name", help="of the result (default: the file's)")
    parser.add_argument("--rows", help="of the file (default: all)")
    parser.add_argument("--no-rows", action="store_true", help="only people, v1 and starts")
    parser.add_argument("--arch", default="resnet18", help="of the starts and all rows")
    parser.add_argument("--start", help="a file, or none, instead of starts made here")
    parser.add_argument("--more-starts", help="seeds whose starts are made for a later call")
    parser.add_argument("--cross", action="store_true", help="test on sets of other layouts too")
    parser.add_argument("--jobs-per-gpu", type=int, default=5)
    parser.add_argument("--estimate", type=float, default=450, help="seconds a row, at first")
    parser.add_argument("--data", type=Path, help="people that are there (default: v1, rendered)")
    parser.add_argument("--mps", action="store_true", help="let runs share a GPU at once")
    parser.add_argument("--start-flags", default="", help="more flags for start.py")
    return parser.parse_args(words)


class Jobs:
    """Children of this process, their logs, and what each took.

    Attributes:
        took: name of a job → seconds from this process's start to its own start and end.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.work = args, args.work
        self.took: dict[str, list[float]] = {}
        self.codes: dict[str, int] = {}
        self._running: dict[str, threading.Thread] = {}

    def begin(
        self,
        name: str,
        words: list[Any],
        *,
        gpu: int | None = None,
        nice: int = 0,
    ) -> str:
        """Start `python WORDS` with its output in NAME.log; returns the name."""
        where = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
        command = ["nice", "-n", nice, sys.executable, *words]

        def follow() -> None:
            with open(self.work / f"{name}.log", "w", encoding="utf-8") as log:
                began = time.monotonic() - BEGAN
                done = subprocess.run(
                    [*map(str, command)], stdout=log, stderr=log, env={**os.environ, **where},
                    check=False,
                )  # fmt: skip
            self.took[name] = [round(began, 1), round(time.monotonic() - BEGAN, 1)]
            self.codes[name] = done.returncode
            print(f"{self.took[name]}  {name}: code {done.returncode}", flush=True)

        self._running[name] = threading.Thread(target=follow)
        self._running[name].start()
        return name

    def wait(self, name: str) -> None:
        """Wait for a job; exit if it failed and others need what it makes."""
        self._running[name].join()
        if self.codes[name] and name.startswith(("start", "people", "v1")):
            print((self.work / f"{name}.log").read_text(encoding="utf-8")[-3000:], flush=True)
            raise SystemExit(
                f"{Path(sys.argv[0]).name}: '{name}' ended with code {self.codes[name]}."
            )

    def start_of(self, seed: int, *flags: str, gpu: int | None = None, nice: int = 0) -> str:
        """Begin start.py: all of it, or with --people-only its rendering."""
        out = self.work / "starts" / f"start-{seed}.safetensors"
        words = [HERE / "start.py", "--seed", seed, "--work", self.work, "--out", out,
                 "--run", f"start-run-{seed}", "--arch", self.args.arch, *flags,
                 *shlex.split(self.args.start_flags)]  # fmt: skip
        return self.begin(f"{'people' if flags else 'start'}-{seed}", words, gpu=gpu, nice=nice)

    def starts(self, seeds: list[int], gpus: list[int | None], people: str) -> None:
        """People of each seed, one after the other, and its start as soon as they are there."""
        made = []
        for number, seed in enumerate(seeds):
            if number:
                people = self.start_of(seed, "--people-only", nice=15)
            self.wait(people)
            made.append(self.start_of(seed, gpu=gpus[number % len(gpus)]))
        for start in made:
            self.wait(start)

    def write(self) -> None:
        """The result named whole-seeds."""
        for thread in self._running.values():
            thread.join()
        logs = {name: self.work / f"{name}.log" for name in self.took}
        verified = (
            logs["v1-verified"].read_text().splitlines()[-1:] if "v1-verified" in logs else []
        )
        hashes = {
            path.stem: json.loads(path.read_text())["start_hash"]
            for path in sorted((self.work / "starts").glob("*.json"))
        }
        table = [
            {"job": name, "from s": began, "to s": ended, "code": self.codes[name]}
            for name, (began, ended) in sorted(self.took.items(), key=lambda item: item[1])
        ]
        notes = [f"v1: {line}" for line in verified]
        notes += [f"{name}: {value}" for name, value in hashes.items()]
        record(
            "whole-seeds",
            {"seeds": self.args.seeds, "jobs": table, "start_hashes": hashes, "v1": verified},
            table=table,
            notes=notes,
        )


def rows(jobs: Jobs, data: Path) -> int:
    """Run methods.py for all seeds; what it says goes to this process's output too."""
    args = jobs.args
    start = args.start or jobs.work / "starts" / "start-{seed}.safetensors"
    words = [HERE / "methods.py", args.file, "--data", data, "--seeds", args.seeds,
             "--start", start, "--arch", args.arch, "--work", jobs.work / "runs",
             "--jobs-per-gpu", args.jobs_per_gpu, "--estimate", args.estimate,
             "--deadline", args.deadline - (time.monotonic() - BEGAN)]  # fmt: skip
    words += ["--cross", jobs.work / "cross"] if args.cross else []
    for flag in ("rows", "name"):
        words += [f"--{flag}", getattr(args, flag)] if getattr(args, flag) else []
    for path in args.merge:
        words += ["--merge", path]
    began = time.monotonic() - BEGAN
    done = subprocess.run([sys.executable, *map(str, words)], check=False)
    jobs.took["rows"] = [round(began, 1), round(time.monotonic() - BEGAN, 1)]
    jobs.codes["rows"] = done.returncode
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
