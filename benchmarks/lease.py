"""Spend a lease: the runs still to make, in their order, on however many GPUs the machine has.

    OUT=DIR python3 benchmarks/lease.py --work W --seconds 1620 [--list]

`tasks` says what they are; runs-to-make.md says why, and what they cost. A GPU that is free takes
the first task whose files are there and which still ends in time. Everything is made here: people,
starts and v1, beside the runs. $OUT/lease.log says what began and ended when, and each task has a
log of its own; what waits for something that failed is dropped. Needs .whl/mobilenetv2.pth. Run it
only on a machine that is thrown away afterwards: processes may be left running.
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

BOARD, RESULTS = "benchmarks/sweeps/board.toml", ROOT / "benchmarks" / "results"
V1 = "v1-verified.log"  # begun when v1 is there, and decoded
SEED = 2  # of ResNet-50's last rows and of the diagnosis
CONFIRM = (3, 4)  # starts that confirm, with the diagnosis's own, what it proposes
MOBILENET = ROOT / ".whl" / "mobilenetv2.pth"
SAVING = 45.0  # seconds before the end by which runs are asked to save themselves
GRACE = 15.0  # seconds between asking a task to end and ending it


@dataclass
class Task:
    """A command, the words after `python3`.

    Attributes:
        seconds: that it takes on one GPU, so that it isn't begun when fewer are left.
        needs: files that must be there before.
        makes: a file that says that it has ended well, with one of the codes in `well`.
        shared: its runs share a GPU at once (MPS); a deterministic training has it in turns.
        gpus: True for all of them, when nothing else is waiting to begin.
        alone: True for a GPU to itself, also while a task has all of them.
        nice: for work that needs only processors.
    """

    name: str
    command: list[str]
    seconds: float = 0.0
    needs: tuple[Path, ...] = ()
    makes: Path | None = None
    well: tuple[int, ...] = (0,)
    shared: bool = True
    gpus: bool = False
    alone: bool = False
    nice: int = 0


def prepared(work: Path) -> list[Task]:
    """What is made from the beginning, by the processors and between the runs, each on a GPU of its
    own: v1, people and starts."""
    starts = words("whole_seeds.py", BOARD, "--no-rows", "--arch", "resnet50", "--work", work,
                   "--seeds", SEED)  # fmt: skip
    drawn = words("diagnosis.py", "--people-only", "--work", work / "diagnosis")
    return [
        Task("starts", starts, shared=False),
        Task("people", drawn, needs=(work / V1,), makes=work / "drawn", nice=15),
        *(start(work, seed, needs=work / "drawn", nice=15) for seed in CONFIRM),
    ]


def tasks(work: Path, out: Path) -> list[Task]:
    """The runs, the most valuable first."""
    known, v1 = work / "starts" / f"start-{SEED}.json", work / V1
    resnet = rows(
        work, BOARD, f"resnet50-{SEED}", SEED, "--rows", "agw,mcl,halo", "--arch", "resnet50",
        *merged("resnet50-2"), start=known.with_suffix(".safetensors"),
    )  # fmt: skip
    rates = [*map(str, sorted(RESULTS.glob("rates-2*.json")))]
    chosen = rows(work, rates[0], "mobilenetv2-halo", "0,1,2", "--out", out, "--of", "0,2",
                  start=MOBILENET, script="rates.py")  # fmt: skip
    made = start(work, SEED, needs=v1)  # people as for ResNet-50's start, drawn before v1 is
    diagnosis = words(
        "diagnosis.py", "--work", work / "diagnosis", "--start", file_of(work, "{seed}"),
        "--deadline", "LEFT", *merged("diagnosis-[a-z]"),
    )  # fmt: skip
    confirming = [*diagnosis, "--confirm", "--seeds", ",".join(map(str, (SEED, *CONFIRM)))]
    begins = (file_of(work, SEED).with_suffix(".json"), work / "drawn")
    confirms = (work / "diagnosed", *(file_of(work, n).with_suffix(".json") for n in CONFIRM))
    return [
        Task("mobilenetv2-halo", chosen, 600, (v1,)),
        Task(f"resnet50-{SEED}", resnet, 600, (known, v1), alone=True),
        made,
        Task("diagnosis", [*diagnosis, "--seeds", str(SEED)], 300, begins, work / "diagnosed",
             gpus=True),
        Task("confirmed", confirming, 200, confirms, gpus=True),
    ]  # fmt: skip


def file_of(work: Path, seed: object) -> Path:
    """The ResNet-18 start of a seed."""
    return work / "start-resnet18" / f"start-{seed}.safetensors"


def start(work: Path, seed: int, needs: Path, nice: int = 0) -> Task:
    """The making of a ResNet-18 start."""
    out, name = file_of(work, seed), f"resnet18-start-{seed}"
    made = words("start.py", "--seed", seed, "--work", work, "--out", out, "--run", name)
    return Task(name, made, 100, (needs,), out.with_suffix(".json"), shared=False, nice=nice)


def merged(name: str) -> list[object]:
    """Words that take over the runs of earlier results."""
    files = sorted(RESULTS.glob(f"{name}*.json"))
    return ["--merge", *files] if files else []


def rows(
    work: Path,
    sweep: str,
    name: str,
    seeds: object,
    *more: object,
    start: Path,
    script: str = "methods.py",
) -> list[str]:
    """methods.py, all rows and seeds at once."""
    return words(script, sweep, "--name", name, "--seeds", seeds, "--data", work / "v1",
                 "--start", start, "--work", work / "runs", "--jobs-per-gpu", 5,
                 "--estimate", 200, "--deadline", "LEFT", *more)  # fmt: skip


def words(script: str, *more: object) -> list[str]:
    """A command; LEFT in it becomes the seconds until it has to save itself."""
    return [f"benchmarks/{script}", *map(str, more)]


class Lease:
    """The machine for so many seconds from now on."""

    def __init__(self, work: Path, out: Path, seconds: float) -> None:
        self.work, self.out = work, out
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sharing: dict[str, str] = {}
        self._busy = 0  # tasks that run now, and may make what others need
        self._alone: set[int | None] = set()  # GPUs of tasks that have one to themselves
        self._never: set[Path] = set()  # what tasks that failed would have made

    def left(self) -> float:
        return self._end - time.monotonic()

    def say(self, sentence: str) -> None:
        with self._lock, open(self.out / "lease.log", "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%T')} {sentence}\n")

    def spend(self, gpus: Sequence[int | None]) -> None:
        """Make everything that there is time for."""
        queue, made = tasks(self.work, self.out), prepared(self.work)
        names = [task.name for task in queue]
        with mps(self.work / "mps") as self._sharing:
            self.say(f"runs share a GPU at once: {'yes' if self._sharing else 'no'}")
            self._busy = len(made)
            threads = [
                threading.Thread(target=self.make, args=(task, [gpus[number % len(gpus)]]))
                for number, task in enumerate(made)
            ]
            threads += [
                threading.Thread(target=self.serve, args=(gpu, gpus, queue))
                for gpu in reversed(gpus)  # as the first has a start to make
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for name in names:
                if not (self.out / f"{name}.log").is_file():
                    self.say(f"{name} was not begun")
            self.say("all done")

    def serve(self, gpu: int | None, gpus: Sequence[int | None], queue: list[Task]) -> None:
        """One GPU: task by task until none can begin any more."""
        while True:
            with self._lock:
                task = self.next_of(queue)
                if task is None and (not self._busy or self.left() <= 0):
                    return
                if task:
                    queue.remove(task)
                    self._busy += 1
                    self._alone |= {gpu} if task.alone else set()
                    mine = [one for one in gpus if one not in self._alone] if task.gpus else [gpu]
            if task:
                self.make(task, mine)
                self._alone -= {gpu} if task.alone else set()
            else:
                time.sleep(0.5)

    def next_of(self, queue: list[Task]) -> Task | None:
        """The first task that can begin; one of all GPUs when no other will any more."""
        for task in queue:
            if task.makes and not self._never.isdisjoint(task.needs):
                self._never.add(task.makes)
        able = [
            task for task in queue
            if task.seconds <= self.left() and self._never.isdisjoint(task.needs)
        ]  # fmt: skip
        ready = [task for task in able if all(path.exists() for path in task.needs)]
        others = [task for task in ready if not task.gpus]
        if others or (self._busy and any(not task.gpus for task in able)):
            return others[0] if others else None
        return ready[0] if ready else None

    def make(self, task: Task, gpus: Sequence[int | None]) -> None:
        """A task, when what it needs is there; then one less is running."""
        while not all(path.exists() for path in task.needs) and self._busy > 1 and self.left() > 0:
            time.sleep(0.5)
        well = False
        try:
            well = self._make(task, gpus)
        except Exception as error:  # the GPU goes on with the next one
            self.say(f"{task.name} failed: {type(error).__name__}: {error}")
        with self._lock:
            self._busy -= 1
            if task.makes and not well:
                self._never.add(task.makes)

    def _make(self, task: Task, gpus: Sequence[int | None]) -> bool:
        """A task, with its output in its log; whether it ended well."""
        known = {name: value for name, value in os.environ.items() if "CUDA_MPS" not in name}
        environment = known | (self._sharing if task.shared else {})
        if None not in gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        self.say(f"{task.name} begins on {gpus}, {self.left():.0f} s left")
        line = ["nice", "-n", str(task.nice), sys.executable]
        seconds = f"{max(0.0, self.left() - SAVING):.0f}"
        line += [word.replace("LEFT", seconds) for word in task.command]
        with open(self.out / f"{task.name}.log", "w", encoding="utf-8") as log:
            code = self._run(line, environment, log)
        self.say(f"{task.name} ended with {code}")
        well = code in task.well
        if task.makes and well:
            task.makes.touch()
        return well

    def _run(self, line: list[str], environment: dict[str, str], log: IO[str]) -> int:
        """Exit code; it is ended when time is up. Runs are sessions of their own: what keeps them
        from going on is the deadline that they were given."""
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
        for task in [*prepared(work), *tasks(work, Path())]:
            print(f"{task.name}: {task.seconds:.0f} s")
        return
    if not MOBILENET.is_file():
        parser.error(f"there is no '{MOBILENET}'; runs-to-make.md says how to get it.")
    out = Path(os.environ["OUT"]).absolute()
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    Lease(work, out, args.seconds).spend(gpus)


if __name__ == "__main__":
    main()
