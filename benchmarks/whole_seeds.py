"""Whole seeds of the claim's rows on the GPUs of one machine: people, starts, rows, in one go.

    python benchmarks/whole_seeds.py --seeds 0,1 --work DIR --deadline SECONDS [--merge OLD.json]

What the processor does (rendering, compiling) goes on beside what the GPUs do: the kernels of the
start and of the rows are compiled on images of noise, as many as the people will have, while
those are rendered; later seeds' people and starts are made while earlier seeds' rows train, or,
with more than two GPUs, all starts side by side before the first row. Rows are methods.py's, starts
start.py's; DIR/*.log say what each part did. With two GPUs or more the first start is made twice,
to see whether it comes out equal. Beside the rows' result stands one named whole-seeds: what took
how long, and in how many folders v1 differs from the checksums that the package ships.
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
from pathlib import Path
from typing import Any

import numpy as np
from _common import record, result_path
from methods import CLAIM, HERE
from PIL import Image

from vireid.sweep import devices

V1_PARTS = {"train": range(1, 331), "val": range(331, 396), "test": range(396, 492)}
V1_IMAGES = 12  # of each person by each camera
START_PARTS = {"train": range(1, 2001)}
START_IMAGES = 4
BEGAN = time.monotonic()


def main() -> None:
    args = arguments()
    args.work = args.work.absolute()
    args.work.mkdir(parents=True, exist_ok=True)
    seeds, gpus = [int(seed) for seed in args.seeds.split(",")], devices()
    jobs = Jobs(args)
    data = args.data or args.work / "v1"
    people = jobs.start_of(seeds[0], "--people-only")
    warm = jobs.compile_all(gpus) if gpus != [None] else []
    jobs.wait(people)
    first = jobs.start_of(seeds[0], gpu=gpus[0])
    if len(gpus) > 1:
        jobs.start_of(seeds[0], gpu=gpus[1], place="again")
    others = threading.Thread(target=jobs.later_starts, args=(seeds[1:], gpus))
    others.start()
    if args.data is None:
        jobs.wait(jobs.begin("v1", ["-m", "vireid", "synthesize", "--v1", "--out", data], nice=5))
        decode = ["-m", "vireid", "prepare", "--data-root", data]
        jobs.wait(jobs.begin("v1-decoded", decode, nice=5))
        verify = ["-m", "vireid", "synthesize", "--v1", "--out", data, "--verify"]
        jobs.begin("v1-verified", verify, nice=15)
    for one in warm:
        jobs.wait(one)
    if warm and all(jobs.codes[one] for one in warm):
        raise SystemExit(f"whole_seeds.py: nothing could be compiled; see {warm[0]}.log.")
    jobs.wait(first)
    if len(gpus) > 2:
        others.join()
    rows(jobs, data, args.merge)
    others.join()
    made = result_path(args.name)
    missing = json.loads(made.read_text(encoding="utf-8"))["results"]["missing"]
    if any("there is no start" in sentence for sentence in missing):
        rows(jobs, data, [made])  # whose start wasn't there yet
    jobs.write()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds of this call")
    parser.add_argument("--merge", type=Path, action="append", default=[])
    parser.add_argument("--name", default="claim")
    parser.add_argument("--rows", default="claim")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--jobs-per-gpu", type=int, default=5)
    parser.add_argument("--config", type=Path, default=HERE / "start_track.json")
    parser.add_argument("--data", type=Path, help="people that are there (default: v1, rendered)")
    parser.add_argument("--start-flags", default="", help="more flags for start.py")
    return parser.parse_args()


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

    def begin(self, name: str, words: list[Any], *, gpu: int | None = None, nice: int = 0) -> str:
        """Start `python WORDS` with its output in NAME.log; returns the name."""
        where = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
        command = ["nice", "-n", nice, sys.executable, *words]
        began = time.monotonic() - BEGAN

        def follow() -> None:
            with open(self.work / f"{name}.log", "w", encoding="utf-8") as log:
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
            raise SystemExit(f"whole_seeds.py: '{name}' ended with code {self.codes[name]}.")

    def start_of(
        self, seed: int, *flags: str, gpu: int | None = None, place: str = "", nice: int = 0
    ) -> str:
        """Begin start.py: all of it, or with --people-only its rendering."""
        out = self.work / (place or "starts") / f"start-{seed}.safetensors"
        words = [HERE / "start.py", "--seed", seed, "--work", self.work, "--out", out,
                 "--run", f"start-run-{seed}{place}", *flags,
                 *shlex.split(self.args.start_flags)]  # fmt: skip
        name = f"{'people' if flags else place or 'start'}-{seed}"
        return self.begin(name, words, gpu=gpu, nice=nice)

    def later_starts(self, seeds: list[int], gpus: list[int | None]) -> None:
        """People of the seeds that come after the first, one after the other, and their starts:
        one after the other where GPUs are few, else each on its own."""
        made = []
        for number, seed in enumerate(seeds, 1):
            self.wait(self.start_of(seed, "--people-only", nice=15))
            made.append(self.start_of(seed, gpu=gpus[(number + 1) % len(gpus)]))
            if len(gpus) <= 2:
                self.wait(made[-1])
        for start in made:
            self.wait(start)

    def compile_all(self, gpus: list[int | None]) -> list[str]:
        """Begin three steps of the start and of each row on noise: compiled code is kept."""
        folder, config = self.work / "noise", self.work / "three-steps.json"
        write_noise(self.work / "noise-start", START_PARTS, START_IMAGES)
        write_noise(folder, V1_PARTS, V1_IMAGES)
        config.write_text(
            json.dumps({"steps_per_epoch": 3, "recipe": {"epochs": 1}}), encoding="utf-8"
        )
        words = [HERE / "start.py", "--seed", 0, "--work", self.work / "compiled", "--folder",
                 self.work / "noise-start", "--steps", 3, "--arch", self.args.arch,
                 "--extra=--deterministic --engine graph",
                 "--out", self.work / "compiled" / "start.safetensors"]  # fmt: skip
        names = [self.begin("compile-start", words, gpu=gpus[0])]
        for number, (row, flags) in enumerate(CLAIM.items()):
            name = f"compile-{row.replace(' ', '-')}"
            words = ["-m", "vireid", "train", "--dataset", "sysu", "--data-root", folder,
                     "--arch", self.args.arch, "--pretrained", "none", *flags, "--config", config,
                     "--engine", "graph", "--run", self.work / "compiled" / name]  # fmt: skip
            names.append(self.begin(name, words, gpu=gpus[number % len(gpus)], nice=8))
        return names

    def write(self) -> None:
        """The result named whole-seeds."""
        for thread in self._running.values():
            thread.join()
        logs = {name: self.work / f"{name}.log" for name in self.took}
        verified = (
            logs["v1-verified"].read_text().splitlines()[-1:] if "v1-verified" in logs else []
        )
        hashes = {
            f"{place}/{path.stem}": json.loads(path.read_text())["start_hash"]
            for place in ("starts", "again")
            for path in sorted((self.work / place).glob("*.json"))
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


def write_noise(folder: Path, parts: dict[str, range], images: int) -> None:
    """Images of noise in SYSU-MM01's layout: one file, linked.

    Args:
        parts: name → identities.
        images: of each identity by each camera.
    """
    (folder / "exp").mkdir(parents=True, exist_ok=True)
    one = folder / "noise.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(one)
    for part, pids in parts.items():
        ids = ",".join(map(str, pids))
        (folder / "exp" / f"{part}_id.txt").write_text(ids + "\n", encoding="utf-8")
        for pid in pids:
            for camid in range(1, 7):
                place = folder / f"cam{camid}" / f"{pid:04d}"
                place.mkdir(parents=True, exist_ok=True)
                for number in range(1, images + 1):
                    os.link(one, place / f"{number:04d}.jpg")


def rows(jobs: Jobs, data: Path, merge: list[Path]) -> None:
    """Run methods.py for all seeds; what it says goes to this process's output too."""
    args = jobs.args
    starts = jobs.work / "starts" / "start-{seed}.safetensors"
    words = [HERE / "methods.py", "--data", data, "--arch", args.arch, "--rows", args.rows,
             "--seeds", args.seeds, "--modes", "all", "--config", args.config,
             "--pretrained", starts, "--jobs-per-gpu", args.jobs_per_gpu,
             "--runs", jobs.work / "runs", "--name", args.name, "--estimate", 400,
             "--deadline", args.deadline - (time.monotonic() - BEGAN)]  # fmt: skip
    for path in merge:
        words += ["--merge", path]
    began = time.monotonic() - BEGAN
    done = subprocess.run([sys.executable, *map(str, words)], check=False)
    name = "rows" if "rows" not in jobs.took else "rows that waited"
    jobs.took[name] = [round(began, 1), round(time.monotonic() - BEGAN, 1)]
    jobs.codes[name] = done.returncode


if __name__ == "__main__":
    main()
