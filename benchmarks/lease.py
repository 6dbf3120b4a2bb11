"""Spend a lease: the runs still to make, in their order, on however many GPUs the machine has.

    OUT=DIR python3 benchmarks/lease.py --work W --seconds 1610 [--list]

`tasks` says what they are; runs-to-make.md says why, and what they cost. A GPU that is free takes
the first task whose files are there and which still ends in time. Everything is made here: people,
starts and v1, beside the runs. $OUT/lease.log says what began and ended when, and each task has a
log of its own; none waits for another's failure. Needs .whl with the ImageNet files, and a machine
that is given away afterwards: this one's processes are not spared.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from _common import ROOT
from sharing import mps

from vireid.runtime.jobs import devices

COMMON, BOARD = "benchmarks/sweeps/common.toml", "benchmarks/sweeps/board.toml"
SEEDS, FEWER = range(6), range(3)
GRACE = 15.0  # seconds that a task's processes have to save themselves


@dataclass
class Task:
    """A command, the words after `python3`.

    Attributes:
        seconds: that it takes on one GPU, so that it isn't begun when fewer are left.
        needs: files that must be there before.
        makes: a file that says that it has ended well.
        shared: its runs share a GPU at once (MPS); a deterministic training has it in turns.
        gpus: True for all of them, when nothing else is left.
        nice: for work that needs only processors.
    """

    name: str
    command: list[str]
    seconds: float = 0.0
    needs: tuple[Path, ...] = ()
    makes: Path | None = None
    shared: bool = True
    gpus: bool = False
    nice: int = 0


def prepared(work: Path, gpus: int) -> list[Task]:
    """What is made from the beginning: v1, people and starts, by the processors and between the
    runs. Starts have the lower half of four GPUs or more, so that a candidate has one to itself."""
    starts = ["whole_seeds.py", COMMON, "--no-rows", "--seeds", ",".join(map(str, SEEDS))]
    drawn = [Task("starts", words(*starts, "--work", work), shared=False)]
    people = words("train_synth_weights.py", "--work", work / "e", "--prepare-only")
    if gpus >= 4:
        drawn.append(Task("people", people, makes=work / "e" / "prepared", nice=10))
    return drawn


def tasks(work: Path, gpus: int) -> list[Task]:
    """The runs, in the order of their worth (on four GPUs or more the candidates come first: they
    wait for no start)."""
    started = [work / "starts" / f"start-{seed}.json" for seed in SEEDS]
    drawn = work / "v1-verified.log"  # begun when v1 is there, and decoded
    common = [
        Task(f"common-{seed}", rows(work, COMMON, f"common-{seed}", seed), 330,
             (started[seed], drawn))
        for seed in SEEDS
    ]  # fmt: skip
    three = ("--rows", "agw,mcl,halo")
    mobile = [
        Task(f"mobilenetv2-{seed}",
             rows(work, BOARD, f"mobilenetv2-{seed}", seed, *three, "--arch", "mobilenetv2_100",
                  start=ROOT / ".whl" / "mobilenetv2.pth"),
             400, (*started, drawn))
        for seed in FEWER
    ]  # fmt: skip
    resnet = []
    for seed in FEWER:
        start = work / "starts-resnet50" / f"start-{seed}.safetensors"
        made = words("start.py", "--seed", seed, "--work", work, "--out", start,
                     "--run", f"start-run-resnet50-{seed}", "--arch", "resnet50")  # fmt: skip
        resnet += [
            Task(f"start-resnet50-{seed}", made, 160, (*started, drawn),
                 makes=start.with_suffix(".json"), shared=False),
            Task(f"resnet50-{seed}",
                 rows(work, BOARD, f"resnet50-{seed}", seed, *three, "--arch", "resnet50",
                      start=start),
                 550, (start.with_suffix(".json"),)),
        ]  # fmt: skip
    candidates = [
        Task(f"synth-weights-{row}",
             words("train_synth_weights.py", "--work", work / "e", "--rows", row, f"--{row}",
                   ROOT / ".whl" / f"{row}.pth", "--name", f"synth-weights-{row}",
                   "--deadline", "LEFT"),
             seconds, (work / "e" / "prepared",))
        for row, seconds in (("lite2", 430), ("mobilenetv2", 360))
    ]  # fmt: skip
    own = work / "diagnosis"
    diagnosis = words("diagnosis.py", "--seeds", 2, "--work", own, "--deadline", "LEFT",
                      "--start", work / "starts" / "start-{seed}.safetensors")  # fmt: skip
    last = [Task("diagnosis", diagnosis, 400, (started[2],), gpus=True)]
    first, second = (candidates, common) if gpus >= 4 else (common, [])
    return [*first, *second, *mobile, *resnet, *last]


def rows(
    work: Path, sweep: str, name: str, seed: int, *more: str, start: Path | None = None
) -> list[str]:
    """methods.py for one seed, all rows at once."""
    start = start or work / "starts" / "start-{seed}.safetensors"
    return words("methods.py", sweep, "--name", name, "--seeds", seed, "--data", work / "v1",
                 "--start", start, "--work", work / "runs", "--jobs-per-gpu", 5,
                 "--estimate", 200, "--deadline", "LEFT", *more)  # fmt: skip


def words(script: str, *more: object) -> list[str]:
    """A command; LEFT in it becomes the seconds that are left when it begins."""
    return [f"benchmarks/{script}", *map(str, more)]


class Lease:
    """The machine for so many seconds from now on."""

    def __init__(self, work: Path, out: Path, seconds: float) -> None:
        self.work, self.out = work, out
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sharing: dict[str, str] = {}
        self._busy = 0  # tasks that run now, and may make what others need

    def left(self) -> float:
        return self._end - time.monotonic()

    def say(self, sentence: str) -> None:
        with self._lock, open(self.out / "lease.log", "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%T')} {sentence}\n")

    def spend(self, gpus: Sequence[int | None]) -> None:
        """Make everything that there is time for."""
        queue = tasks(self.work, len(gpus))
        last = [task for task in queue if task.gpus]
        queue = [task for task in queue if not task.gpus]
        with mps(self.work / "mps") as self._sharing:
            self.say(f"runs share a GPU at once: {'yes' if self._sharing else 'no'}")
            half = gpus[: len(gpus) // 2] if len(gpus) >= 4 else gpus
            made = prepared(self.work, len(gpus))
            self._busy = len(made)
            threads = [threading.Thread(target=self.make, args=(task, half)) for task in made]
            threads += [
                threading.Thread(
                    target=self.serve, args=(gpu, queue, len(gpus) >= 4 and gpu in half)
                )
                for gpu in gpus
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for task in filter(self.ready, last):
                self.make(task, gpus)
        for task in queue + last:
            if not (self.out / f"{task.name}.log").is_file():
                self.say(f"{task.name} was not begun")
        self.say("all done")

    def ready(self, task: Task) -> bool:
        return self.left() >= task.seconds and all(path.exists() for path in task.needs)

    def serve(self, gpu: int | None, queue: list[Task], after_starts: bool) -> None:
        """One GPU: task by task until there is none that could still begin."""
        first = self.work / "starts" / "start-0.json"
        while True:
            with self._lock:
                ready = [task for task in queue if self.ready(task)]
                if not (ready or self._busy) or self.left() <= 0:
                    return
                task = ready[0] if ready and (not after_starts or first.exists()) else None
                if task:
                    queue.remove(task)
                    self._busy += 1
            if task:
                self.make(task, [gpu])
            else:
                time.sleep(0.5)

    def make(self, task: Task, gpus: Sequence[int | None]) -> None:
        """A task, and then one less is running."""
        try:
            self._make(task, gpus)
        finally:
            with self._lock:
                self._busy -= 1

    def _make(self, task: Task, gpus: Sequence[int | None]) -> None:
        """A task, with its output in its log."""
        known = {name: value for name, value in os.environ.items() if "CUDA_MPS" not in name}
        environment = known | (self._sharing if task.shared else {})
        if None not in gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        self.say(f"{task.name} begins on {gpus}, {self.left():.0f} s left")
        line = ["nice", "-n", str(task.nice), sys.executable]
        line += [word.replace("LEFT", f"{self.left():.0f}") for word in task.command]
        with open(self.out / f"{task.name}.log", "w", encoding="utf-8") as log:
            code = self._run(line, environment, log)
        self.say(f"{task.name} ended with {code}")
        if task.makes and code == 0:
            task.makes.touch()

    def _run(self, line: list[str], environment: dict[str, str], log: IO[str]) -> int:
        """Exit code; with its own children it is ended when time is up."""
        process = subprocess.Popen(
            line, cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        for seconds, number in ((self.left(), signal.SIGTERM), (GRACE, signal.SIGKILL)):
            try:
                return process.wait(max(0.0, seconds))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, number)
        return process.wait()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="for people, starts and runs")
    parser.add_argument("--seconds", type=float, required=True, help="that the machine is there")
    parser.add_argument("--list", action="store_true", help="print the tasks, then stop")
    args = parser.parse_args(argv)
    work, gpus = args.work.absolute(), devices()
    if args.list:
        for task in [*prepared(work, len(gpus)), *tasks(work, len(gpus))]:
            print(f"{task.name}: {task.seconds:.0f} s")
        return
    out = Path(os.environ["OUT"]).absolute()
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    Lease(work, out, args.seconds).spend(gpus)


if __name__ == "__main__":
    main()
