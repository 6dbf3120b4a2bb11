"""Whole seeds of an experiment on the GPUs of one machine: people, starts, rows, in one go.

    python benchmarks/whole_seeds.py benchmarks/sweeps/board.toml --seeds 0,1 --work DIR \
        --deadline SECONDS [--cross] [--merge OLD.json]

What the processor does (rendering, compiling) goes on beside what the GPUs do: the kernels of the
start and of the rows are compiled on images of noise, as many as the people will have, while those
are rendered; the starts of all seeds are made side by side, before the first row. Rows are made by
methods.py, starts by start.py; DIR/*.log say what each part did. The same command goes on where it
was stopped. Beside the rows' result stands one named whole-seeds: what took how long, and in how
many folders v1 differs from the checksums that the package ships.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from _common import ROOT, record
from methods import named_code
from PIL import Image

from vireid.config import read_plain, to_plain
from vireid.data import load_dataset, prepare
from vireid.files import is_code
from vireid.runtime.jobs import devices
from vireid.sweep import read_sweep

HERE = Path(__file__).resolve().parent

V1_PARTS = {"train": range(1, 331), "val": range(331, 396), "test": range(396, 492)}
V1_IMAGES = 12  # of each person by each camera
START_PARTS = {"train": range(1, 2001)}
START_IMAGES = 4
AT_A_TIME = 12  # rows that are compiled, each by several processes
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
    data = args.data or args.work / "v1"
    own_starts = args.start is None
    people = jobs.start_of(seeds[0], "--people-only") if own_starts else None
    warm = jobs.compile_all(gpus, own_starts) if gpus != [None] else []
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
    for one in warm:
        jobs.wait(one)
    if warm and all(jobs.codes[one] for one in warm):
        raise SystemExit(f"whole_seeds.py: nothing could be compiled; see {warm[0]}.log.")
    if people:
        starts.join()
    code = rows(jobs, data)
    jobs.write()
    return code


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the experiment, as for methods.py")
    parser.add_argument("--seeds", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds of this call")
    parser.add_argument("--merge", type=Path, action="append", default=[])
    parser.add_argument("--name", help="of the result (default: the file's)")
    parser.add_argument("--rows", help="of the file (default: all)")
    parser.add_argument("--arch", default="resnet18", help="of the starts and all rows")
    parser.add_argument("--start", help="a file, or none, instead of starts made here")
    parser.add_argument("--more-starts", help="seeds whose starts are made for a later call")
    parser.add_argument("--cross", action="store_true", help="test on sets of other layouts too")
    parser.add_argument("--jobs-per-gpu", type=int, default=5)
    parser.add_argument("--estimate", type=float, default=450, help="seconds a row, at first")
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

    def begin(
        self,
        name: str,
        words: list[Any],
        *,
        gpu: int | None = None,
        nice: int = 0,
        gate: AbstractContextManager[Any] | None = None,
    ) -> str:
        """Start `python WORDS`, once the gate lets it through, with its output in NAME.log; returns
        the name."""
        where = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
        command = ["nice", "-n", nice, sys.executable, *words]

        def follow() -> None:
            with (
                gate or nullcontext(),
                open(self.work / f"{name}.log", "w", encoding="utf-8") as log,
            ):
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
            raise SystemExit(f"whole_seeds.py: '{name}' ended with code {self.codes[name]}.")

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

    def compile_all(self, gpus: list[int | None], start: bool) -> list[str]:
        """Begin three steps of the start and of each row on noise: compiled code is kept."""
        names, compiled, data = [], self.work / "compiled", self.work / "noise"
        if start:
            write_noise(self.work / "noise-start", START_PARTS, START_IMAGES)
            words = [HERE / "start.py", "--seed", 0, "--work", compiled, "--folder",
                     self.work / "noise-start", "--steps", 3, "--arch", self.args.arch,
                     "--extra=--deterministic --engine graph",
                     "--out", compiled / "start.safetensors"]  # fmt: skip
            names.append(self.begin("compile-start", words, gpu=gpus[0]))
        write_noise(data, V1_PARTS, V1_IMAGES)
        gate = threading.Semaphore(AT_A_TIME)
        noise, rows = load_dataset("sysu", data), self.short_runs(data)
        sizes = [tuple(read_plain(config)["size"]) for _, config, _ in rows]
        for size in dict.fromkeys(sizes):
            prepare(noise, size=size)  # once, not by each of several runs at a time
        for number, (row, config, code) in enumerate(rows):
            name = re.sub(r"[^\w.]+", "-", f"compile-{self.args.file.stem}-{row}")
            if (compiled / name / "summary.json").is_file():
                continue  # by an earlier call
            words = ["-m", "vireid", "train", "--config", config, *code, "--engine", "graph",
                     "--run", compiled / name]  # fmt: skip
            gpu = gpus[number % len(gpus)]
            names.append(self.begin(name, words, gpu=gpu, nice=8, gate=gate))
        return names

    def short_runs(self, data: Path) -> list[tuple[str, Path, list[str]]]:
        """Of each row its name, the options of three steps of it from nothing, and the flags that
        name its own code."""
        plain = read_plain(self.args.file)
        chosen = self.args.rows.split(",") if self.args.rows else [*plain["rows"]]
        base = {**plain.get("base", {}), "pretrained": "none", "arch": self.args.arch,
                "data_root": str(data), "steps_per_epoch": 3, "epochs": 1}  # fmt: skip
        if "config" in base:
            base["config"] = str(ROOT / base["config"])
        rows = {name: plain["rows"][name] for name in chosen}
        file = self.work / "three-steps.json"
        file.write_text(json.dumps({"base": base, "rows": rows}), encoding="utf-8")
        found = []
        code = named_code([base, *rows.values()])
        for number, job in enumerate(read_sweep(file, code=code).jobs):
            config = self.work / f"three-steps-{number}.json"
            config.write_text(json.dumps(to_plain(job.options)), encoding="utf-8")
            method = job.options.method
            found.append((job.row, config, ["--method", method] if is_code(method) else []))
        return found

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


def write_noise(folder: Path, parts: dict[str, range], images: int) -> None:
    """Images of noise in SYSU-MM01's layout: one file, linked.

    Args:
        parts: name → identities.
        images: of each identity by each camera.
    """
    if (folder / "exp").is_dir():
        return
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
