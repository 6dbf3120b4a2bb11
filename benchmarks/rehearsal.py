"""SYSU-MM01 rehearsed at its true size: what its owner's disk, memory and patience will meet.

    python benchmarks/rehearsal.py [--recipes published,clean] [--work DIR] [--official DIR]
                                   [--deadline SECONDS]
    python benchmarks/rehearsal.py --docs RESULT.json      writes "What to expect" into docs/data.md

A tree in SYSU-MM01's layout with its true numbers of identities and images, of people who don't
exist; then what a user would type, command by command: `info`, `prepare`, one epoch of each recipe
(one of them killed in the middle and resumed), `test` in every scope and draw, `report`. Networks
start from random weights, as those of ImageNet can't be had everywhere, so what the tests find is
worth nothing and is not kept; what each command takes is. Compiled kernels go to a folder of this
run, so the first start is a first start. Recipes take turns on one GPU, or each its own.

A few images of each person by each camera are rendered; the others are these with other noise.
With --official DIR (train_id.mat, test_id.mat and rand_perm_cam.mat of the data set's authors)
every identity has its true number of images in every camera; without it those of testing have,
and those of training share the true totals evenly.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from _common import ROOT, log_lines, record, steps_done
from scipy.io import loadmat, savemat

from vireid.cores import usable_cores
from vireid.methods.recipes import RECIPES
from vireid.runtime.jobs import devices

BEGAN = time.monotonic()
TRUE = {"train": (395, 22258, 11909), "test": (96, 6775, 3803)}
"""Part → identities, visible and infrared images of SYSU-MM01."""
TRAINING_IDS = (296, 99)  # of train_id.txt and val_id.txt
GALLERIES = {"all": 301, "indoor": 112}  # single-shot
INFRARED, CAMERAS, PIDS = (3, 6), range(1, 7), range(1, 534)
TEST_COUNTS = ROOT / "tests" / "golden" / "sysu_test_counts.csv"
SEED = 16
CHECKPOINTS = "checkpoints/*.pt"  # whole ones, of a run
PAGE = ROOT / "docs" / "data.md"
BLOCK = re.compile(r"(<!-- rehearsal[^>]*-->\n).*?(<!-- /rehearsal -->)", re.DOTALL)


@dataclass(frozen=True)
class Scale:
    """How large the rehearsal is.

    Attributes:
        rendered: images of each person by each camera that are rendered.
        train: flags of every training.
        needs_gpu: whether it would take days without one.
        batch: identities, and images of each modality of each; None for the recipe's.
        identities, images: at most so many of each list, and of each person by each camera;
            0 for the true numbers.
    """

    rendered: int
    train: tuple[str, ...]
    needs_gpu: bool
    batch: tuple[int, int] | None = None
    identities: int = 0
    images: int = 0


SCALES = {
    "full": Scale(2, ("--arch", "resnet50", "--engine", "graph"), True),
    "tiny": Scale(1, ("--arch", "resnet10t", "--size", "64", "32"), False, (4, 2), 4, 2),
}


# The tree ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """Which images the tree has.

    Attributes:
        counts: (pid, camid) → images, of all folders.
        lists: "train", "val", "test" → pids of that file of exp/.
        permutations: the official file, or None.
    """

    counts: dict[tuple[int, int], int]
    lists: dict[str, list[int]]
    permutations: Path | None = None

    @property
    def parts(self) -> dict[str, tuple[int, int, int]]:
        """Part → identities, visible and infrared images."""
        found = {}
        for part, names in (("train", ("train", "val")), ("test", ("test",))):
            pids = {pid for name in names for pid in self.lists[name]}
            by_kind = [0, 0]
            for (pid, camid), number in self.counts.items():
                by_kind[camid in INFRARED] += number if pid in pids else 0
            found[part] = (len(pids), *by_kind)
        return found

    def reduced(self, identities: int, images: int) -> Plan:
        """The same with at most so many identities in a list, and images in a folder."""
        lists = {name: pids[:identities] for name, pids in self.lists.items()}
        kept = {pid for pids in lists.values() for pid in pids}
        counts = {key: min(n, images) for key, n in self.counts.items() if key[0] in kept}
        return Plan(counts, lists)


def even_plan() -> Plan:
    """The true counts of the test identities; those of training share the totals evenly."""
    with TEST_COUNTS.open(encoding="utf-8") as file:
        rows = [{name: int(value) for name, value in row.items()} for row in csv.DictReader(file)]
    counts = {(row["pid"], c): row[f"cam{c}"] for row in rows for c in CAMERAS if row[f"cam{c}"]}
    test = [row["pid"] for row in rows]
    others = [pid for pid in PIDS if pid not in test]
    train, val = others[: TRAINING_IDS[0]], others[TRAINING_IDS[0] : sum(TRAINING_IDS)]
    for total, infrared in zip(TRUE["train"][1:], (False, True)):
        cameras = [camid for camid in CAMERAS if (camid in INFRARED) == infrared]
        folders = [(pid, camid) for pid in train + val for camid in cameras]
        each, more = divmod(total, len(folders))
        counts |= {key: each + (i < more) for i, key in enumerate(folders)}
    return Plan(counts, {"train": train, "val": val, "test": test})


def official_plan(folder: Path) -> Plan:
    """The true counts of all folders, from the files of the data set's authors. Of the identities
    in neither list, those of validation are the ones that both kinds of camera saw."""
    cells = loadmat(folder / "rand_perm_cam.mat")["rand_perm_cam"]
    counts = {
        (pid, camid): cell[0].shape[1]
        for camid in CAMERAS
        for pid, cell in enumerate(cells[camid - 1][0], 1)
        if cell[0].size
    }
    lists = {
        name: sorted(int(pid) for pid in loadmat(folder / f"{name}_id.mat")["id"].ravel())
        for name in ("train", "test")
    }
    kinds: dict[int, set[bool]] = {}
    for pid, camid in counts:
        kinds.setdefault(pid, set()).add(camid in INFRARED)
    listed = {*lists["train"], *lists["test"]}
    lists["val"] = sorted(pid for pid in kinds if len(kinds[pid]) == 2 and pid not in listed)
    return Plan(counts, lists, folder / "rand_perm_cam.mat")


def fill(root: Path, rendered: Path, plan: Plan) -> None:
    """Make the tree: rendered images, then the same with other noise, until the counts are true.

    Args:
        rendered: a folder of `vireid synthesize` with as many people.
    """
    folders = sorted(plan.counts)
    number_of = {pid: i for i, pid in enumerate(sorted({pid for pid, _ in folders}), 1)}

    def fill_folder(key: tuple[int, int]) -> None:
        pid, camid = key
        out = root / f"cam{camid}" / f"{pid:04d}"
        out.mkdir(parents=True)
        sources = sorted((rendered / f"cam{camid}" / f"{number_of[pid]:04d}").glob("*.jpg"))
        noise = np.random.default_rng([SEED, pid, camid])
        for number in range(plan.counts[key]):
            source, path = sources[number % len(sources)], out / f"{number + 1:04d}.jpg"
            if number < len(sources):
                os.link(source, path)
                continue
            image = cv2.imread(str(source)).astype(np.int16)
            grey = camid in INFRARED
            image += noise.integers(-6, 7, (*image.shape[:2], 1 if grey else 3), dtype=np.int16)
            cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8))

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(fill_folder, folders))
    exp = root / "exp"
    exp.mkdir()
    for name, pids in plan.lists.items():
        (exp / f"{name}_id.txt").write_text(",".join(map(str, pids)) + "\n", encoding="utf-8")
    if plan.permutations is not None:
        shutil.copy(plan.permutations, exp)
    else:
        write_permutations(exp / "rand_perm_cam.mat", plan)
    marker = ".vireid-synthetic.json"  # so that every report says that the people are synthetic
    facts = json.loads((rendered / marker).read_text(encoding="utf-8"))
    facts |= {"rewritten": "by benchmarks/rehearsal.py, with SYSU-MM01's numbers of images"}
    (root / marker).write_text(json.dumps(facts), encoding="utf-8")


def write_permutations(path: Path, plan: Plan) -> None:
    """Random permutations in the form of the official file."""
    noise, test = np.random.default_rng(SEED), set(plan.lists["test"])
    cameras = np.empty((6, 1), dtype=object)
    for camid in CAMERAS:
        cells = np.empty((max(test), 1), dtype=object)
        for pid in range(1, max(test) + 1):
            count = plan.counts.get((pid, camid), 0) if pid in test else 0
            cells[pid - 1, 0] = np.zeros((0, 0))
            if count:
                cells[pid - 1, 0] = np.stack([noise.permutation(count) + 1 for _ in range(10)])
        cameras[camid - 1, 0] = cells
    savemat(path, {"rand_perm_cam": cameras})


# Commands ----------------------------------------------------------------------------------------


class Ended(Exception):
    """A step failed, or there is no time for it; what needs it is left out."""


class Steps:
    """Runs commands and keeps what each took.

    Attributes:
        rows: one for each step that was begun.
        problems: sentences on what failed or was left out.
    """

    def __init__(self, work: Path, deadline: float) -> None:
        self.work, self.deadline = work, deadline
        self.rows: list[dict[str, Any]] = []
        self.problems: list[str] = []
        (work / "logs").mkdir()
        # Neither kernels nor images of an earlier run make these times shorter than a first one's.
        self.env = {**os.environ, "XDG_CACHE_HOME": str(work / "cache")}
        self.env.pop("TORCHINDUCTOR_CACHE_DIR", None)

    def left(self) -> float:
        return self.deadline - (time.monotonic() - BEGAN)

    def vireid(
        self,
        name: str,
        *words: Any,
        gpu: int | None = None,
        kill: Callable[[], bool] | None = None,
    ) -> str:
        """Run a command of vireid to its end, or until it is to be killed; returns its output.

        Args:
            kill: asked all the time; SIGKILL is sent once it says so.

        Raises:
            Ended: no time is left, the command failed, or it ended before it was killed.
        """
        if self.left() <= 0:
            self.problems.append(f"{name}: not begun, the time was up.")
            raise Ended
        where = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}
        log = self.work / "logs" / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.log"
        began = time.monotonic()
        with log.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "vireid", *map(str, words)], stdout=file,
                stderr=subprocess.STDOUT, env={**self.env, **where}, start_new_session=True,
            )  # fmt: skip
        ended = ""
        with Memory(process.pid, gpu) as memory:
            try:
                while process.poll() is None and not ended:
                    if kill is not None and kill():
                        ended = "killed"
                    elif self.left() <= 0:
                        ended = "stopped, the time was up"
                    time.sleep(0.02)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            seconds = time.monotonic() - began
        if not ended and process.returncode:
            ended = f"failed with code {process.returncode}"
        output = log.read_text(encoding="utf-8", errors="replace")
        ready = re.search(r"ready after (\d+) s", output)
        row = {
            "step": name,
            "from_s": round(began - BEGAN, 1),
            "seconds": round(seconds, 1),
            "compiling_s": int(ready[1]) if ready else "",
            "host_gib": round(memory.host / 2**30, 2),
            "gpu_gib": round(memory.gpu / 2**30, 2),
            "ended": ended or "well",
        }
        self.rows.append(row)
        print(row, flush=True)
        if ended != ("killed" if kill is not None else ""):
            print(output[-2000:], flush=True)
            self.problems.append(f"{name}: {ended or 'ended before it could be killed'}.")
            raise Ended
        return output

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Go on after what is done here, whatever happens to it: what there is gets written."""
        try:
            yield
        except Ended:
            pass  # is among the problems
        except Exception as error:
            traceback.print_exc()
            self.problems.append(f"{what}: {type(error).__name__}: {str(error)[:300]}.")

    @contextmanager
    def own(self, name: str) -> Iterator[None]:
        """What this process does itself, as a step."""
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        row = {"step": name, "from_s": round(began - BEGAN, 1), "seconds": round(seconds, 1)}
        self.rows.append(row | {"ended": "well"})
        print(row, flush=True)


class Memory:
    """Most memory of a command and its workers, looked at twice a second.

    Attributes:
        host: bytes; what processes share counts once (proportional set sizes).
        gpu: bytes on the GPU beyond what was taken before, the driver's and the libraries' own
            included.
    """

    def __init__(self, session: int, gpu: int | None) -> None:
        self.host = self.gpu = 0
        self._session, self._number = session, gpu
        self._before = self._on_gpu()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            self.host = max(self.host, sum(map(self._of_process, Path("/proc").glob("[0-9]*"))))
            now = self._on_gpu()
            self._before = min(self._before, now)  # a killed command's memory comes back late
            self.gpu = max(self.gpu, now - self._before)

    def _of_process(self, process: Path) -> int:
        try:
            after_name = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(after_name[3]) != self._session:
                return 0
            text = (process / "smaps_rollup").read_text(encoding="utf-8")
            return 1024 * int(text.partition("\nPss:")[2].split()[0])
        except (OSError, ValueError, IndexError):
            return 0  # it ended meanwhile

    def _on_gpu(self) -> int:
        if self._number is None:
            return 0
        words = ["nvidia-smi", "-i", str(self._number), "--query-gpu=memory.used",
                 "--format=csv,noheader,nounits"]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return int(done.stdout) << 20 if done.stdout.strip().isdigit() else 0

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


# The rehearsal -----------------------------------------------------------------------------------


class Rehearsal:
    """One rehearsal.

    Attributes:
        root: the data set's folder.
        found: everything that goes into the result.
    """

    def __init__(self, args: argparse.Namespace, scale: Scale, plan: Plan, work: Path) -> None:
        self.args, self.scale, self.plan, self.work = args, scale, plan, work
        self.root, self.steps = work / "sysu", Steps(work, args.deadline)
        self.runs = {recipe: work / "runs" / recipe for recipe in args.recipes}
        self.checks: list[dict[str, Any]] = []
        self.found: dict[str, Any] = {"trainings": {}, "files_gib": {}}

    def everything(self) -> None:
        gpus = devices()
        if self.args.device != "auto":
            gpus = [None]
        with self.steps.guarded("the rehearsal"):
            self.make_tree()
            self.look()
            with ThreadPoolExecutor(len(gpus)) as pool:
                on = zip(self.args.recipes, itertools.cycle(gpus))
                list(pool.map(lambda one: self.train_and_test(*one), on))
            self.tables()
        self.measure_files()

    def make_tree(self) -> None:
        people = len({pid for pid, _ in self.plan.counts})
        rendered = self.work / "rendered"
        self.steps.vireid(
            "synthesize", "synthesize", "--out", rendered, "--identities", people,
            "--test-identities", 2, "--images", self.scale.rendered, "--seed", SEED,
        )  # fmt: skip
        with self.steps.own("the other images of the tree"):
            fill(self.root, rendered, self.plan)

    def look(self) -> None:
        """`info`, whose counts have to be the true ones, and `prepare`."""
        text = self.steps.vireid("info", "info", self.root, "--json")
        facts = json.loads(text[text.index("{") :])
        names = ("identities", "visible", "infrared")
        for part, wanted in self.plan.parts.items():
            for name, number in zip(names, wanted):
                self.check(f"info: {name} of {part}", number, facts["parts"][part][name])
        self.check("info: broken images", 0, facts["suspicious"]["broken"]["count"])
        self.found["images"] = facts["images"]
        self.found["mean_height"] = round(
            sum(size["height"] * size["images"] for size in facts["sizes"]) / facts["images"]
        )
        self.steps.vireid("prepare", "prepare", "--data-root", self.root)

    def check(self, what: str, wanted: int, found: int) -> None:
        self.checks.append({"what": what, "wanted": wanted, "found": found})
        if wanted != found:
            self.steps.problems.append(f"{what}: {found} instead of {wanted}.")

    def train_and_test(self, recipe: str, gpu: int | None) -> None:
        """One epoch of a recipe, killed and resumed if it is the one for that, and its tests."""
        run, method = self.runs[recipe], self.args.method
        of_recipe = RECIPES[method][recipe]
        pids, images = self.scale.batch or (of_recipe.pids_per_batch, of_recipe.images_per_pid)
        steps = self.plan.parts["train"][1] // (pids * images) + 1
        save_every = max(2, steps // 4) if recipe == self.args.kill else steps
        device = ["--device", self.args.device]
        begin = [
            *("train", "--data-root", self.root, "--method", method, "--recipe", recipe),
            *("--pretrained", "none", "--epochs", 1, "--run", run, "--pids-per-batch", pids),
            *("--images-per-pid", images, "--log-every", max(1, min(50, steps // 8))),
            *(*self.scale.train, *device),
        ]
        facts: dict[str, Any] = {}
        self.found["trainings"][recipe] = facts
        with self.steps.guarded(recipe):
            if recipe == self.args.kill:
                begin += ["--checkpoint-steps", save_every]
                self.steps.vireid(
                    f"train {recipe}, killed in the middle", *begin, gpu=gpu,
                    kill=lambda: steps_done(run) > steps // 2 and any(run.glob(CHECKPOINTS)),
                )  # fmt: skip
                facts["killed_after_step"] = steps_done(run)
                saved = [path.stem.rpartition("-")[2] for path in run.glob("checkpoints/*.pt")]
                facts["resumed_from_step"] = max(map(int, saved), default=0)
                resume = ["train", "--resume", run, *device]
                output = self.steps.vireid(f"train {recipe}, resumed", *resume, gpu=gpu)
            else:
                output = self.steps.vireid(f"train {recipe}", *begin, gpu=gpu)
            facts |= training_facts(run, output, steps, save_every)
            facts["reckoned_hours"] = {
                f"{name}, {epochs} epochs": round(epochs * steps * facts["step_ms"] / 3.6e6, 2)
                for name in dict.fromkeys((method, "agw"))
                for epochs in [RECIPES[name][recipe].epochs]
            }
            for scope, draw in self.args.tests:
                self.test(recipe, scope, draw, gpu)

    def test(self, recipe: str, scope: str, draw: str, gpu: int | None) -> None:
        out = self.work / "tests" / f"{recipe}-{scope}-{draw}"
        self.steps.vireid(
            f"test {recipe}, {scope}, {draw} draw", "test", "--resume", self.runs[recipe],
            "--mode", scope, "--draw", draw, "--out", out, "--device", self.args.device, gpu=gpu,
        )  # fmt: skip
        counts = json.loads((out / "report.json").read_text(encoding="utf-8"))["counts"]
        queries = {a + b for a, b in zip(counts["queries"], counts["without_match"])}
        for number in queries:  # one, unless trials differ
            self.check(f"{out.name}: queries", self.plan.parts["test"][2], number)
        if not self.scale.identities:
            for number in set(counts["gallery"]):
                self.check(f"{out.name}: gallery", GALLERIES[scope], number)

    def tables(self) -> None:
        reports = sorted(path.parent for path in self.work.glob("tests/*/report.json"))
        tables = self.work / "tables"
        self.steps.vireid("report", "report", *reports, "--out", tables)
        with (tables / "comparison.csv").open(encoding="utf-8", newline="") as file:
            self.found["rows_of_the_table"] = sum(1 for _ in csv.DictReader(file))

    def measure_files(self) -> None:
        places = {"images": self.root, "decoded images": self.root / ".vireid",
                  "compiled kernels": self.work / "cache"}  # fmt: skip
        for recipe, run in self.runs.items():
            places |= {f"run {recipe}": run, f"of it, checkpoints ({recipe})": run / "checkpoints"}
        sizes = {name: size_of(folder) for name, folder in places.items()}
        sizes["images"] -= sizes["decoded images"]
        self.found["files_gib"] = {
            name: round(size / 2**30, 3) for name, size in sizes.items() if size
        }

    def results(self) -> dict[str, Any]:
        return {
            "complete": not self.steps.problems,
            "problems": self.steps.problems,
            "scale": self.args.scale,
            "method": self.args.method,
            "official_files": self.plan.permutations is not None,
            "parts": {part: list(numbers) for part, numbers in self.plan.parts.items()},
            "checks": self.checks,
            "steps": sorted(self.steps.rows, key=lambda row: row["from_s"]),
            **self.found,
        }


def training_facts(run: Path, output: str, steps: int, save_every: int) -> dict[str, Any]:
    """What a training took, from its folder and its last start's output.

    Args:
        steps: of an epoch.
        save_every: steps between checkpoints; where one was written doesn't count.
    """
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    lines = [(line["step"], line["seconds"]) for line in log_lines(run)]
    stretches = [
        1e3 * (after - before) / (last - first)
        for (first, before), (last, after) in itertools.pairwise(lines)
        if not any(step % save_every == 0 for step in range(first, last))
    ]
    ran_as = next(line for line in output.splitlines() if line.startswith("precision "))
    return {
        "steps": steps,
        "step_ms": round(statistics.median(stretches), 3),
        "step_ms_lowest_and_highest": [round(min(stretches), 3), round(max(stretches), 3)],
        "epoch_seconds": summary["seconds"],
        "peak_host_gib": round(summary["peak_cpu_bytes"] / 2**30, 2),
        "peak_gpu_gib_of_tensors": round(summary["peak_gpu_bytes"] / 2**30, 2),
        "images_gib": round(summary["store_bytes"] / 2**30, 2),
        "ran_as": ran_as,
    }


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; 0 if it isn't there."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# What it comes to --------------------------------------------------------------------------------


def notes_of(results: dict[str, Any]) -> list[str]:
    """Sentences under the table."""
    notes = []
    if results["scale"] != "full":
        notes.append(f"Scale {results['scale']}: this only tries the script.")
    if not results["complete"]:
        notes.append("INCOMPLETE. " + " ".join(results["problems"]))
    train, test = results["parts"]["train"], results["parts"]["test"]
    notes.append(
        f"Synthetic people in SYSU-MM01's layout: {train[1]:,} visible and {train[2]:,} infrared "
        f"training images of {train[0]} identities, {test[2]:,} queries and {test[1]:,} visible "
        f"images of {test[0]} test identities. "
        + ("Numbers of images in every folder and permutations are those of the official files."
           if results["official_files"] else
           "Without the official files: images of training identities are spread evenly over "
           "cameras, and the permutations are our own.")
    )  # fmt: skip
    wrong = [check for check in results["checks"] if check["wanted"] != check["found"]]
    notes.append(f"{len(results['checks']) - len(wrong)} of {len(results['checks'])} counts that "
                 "`info` and the tests found are as planned.")  # fmt: skip
    for recipe, facts in results["trainings"].items():
        if "step_ms" not in facts:
            continue
        low, high = facts["step_ms_lowest_and_highest"]
        reckoned = ", ".join(f"{what}: {h} h" for what, h in facts["reckoned_hours"].items())
        killed = ""
        if "killed_after_step" in facts:
            killed = (f" Killed after step {facts['killed_after_step']} or a little later, went on "
                      f"from the checkpoint of step {facts['resumed_from_step']}.")  # fmt: skip
        notes.append(
            f"{recipe}: {facts['steps']} steps an epoch, {facts['step_ms']} ms each, "
            f"checkpoints aside ({low} to {high}; {facts['ran_as']}). Reckoned from it, without "
            f"compiling, checkpoints and tests: {reckoned}.{killed}"
        )
    if results["method"] != "agw" and results["trainings"]:
        notes.append(f"agw's hours are reckoned with {results['method']}'s step, which has more "
                     "in it than agw's.")  # fmt: skip
    if files := ", ".join(f"{name} {size}" for name, size in results["files_gib"].items()):
        notes.append(f"Files in GiB: {files}.")
    notes.append(
        "Networks start from random weights (--pretrained none), so no accuracy is given. Host "
        "memory is that of the command and its workers together, every page once, with those of "
        "files that they map; the GPU's is all that the command took there, the driver's own "
        "included."
    )
    return notes


def table_of(results: dict[str, Any]) -> list[dict[str, Any]]:
    names = {"step": "step", "seconds": "s", "compiling_s": "of it compiling, s",
             "host_gib": "host GiB", "gpu_gib": "GPU GiB", "ended": "ended"}  # fmt: skip
    return [{names[key]: row.get(key, "") for key in names} for row in results["steps"]]


def expectations(path: Path) -> str:
    """The block of docs/data.md that a result file makes."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    results, machine = whole["results"], whole["hardware"]
    steps, files = {row["step"]: row for row in results["steps"]}, results["files_gib"]
    lines = [
        "| | time | host memory, GiB | GPU memory, GiB | files, GiB |",
        "|---|---|---|---|---|",
    ]

    def most(beginning: str) -> list[Any]:
        """Of all steps with such a name, the most memory of host and GPU."""
        rows = [row for name, row in steps.items() if name.startswith(beginning)]
        return [max(row[key] for row in rows) or "" for key in ("host_gib", "gpu_gib")]

    def add(what: str, seconds: float, memory: list[Any], size: float | str) -> None:
        cells = [what, spoken(seconds), *memory, size]
        lines.append(f"| {' | '.join(map(str, cells))} |")

    add("`info`", steps["info"]["seconds"], most("info"), "")
    add("`prepare`", steps["prepare"]["seconds"], most("prepare"), files["decoded images"])
    for recipe, facts in results["trainings"].items():
        for what, hours in facts["reckoned_hours"].items():
            what = f"`train --recipe {recipe}`, {what}"
            add(what, 3600 * hours, most(f"train {recipe}"), files[f"run {recipe}"])
    tests = [row["seconds"] for name, row in steps.items() if name.startswith("test ")]
    add("`test`, each", statistics.median(tests), most("test "), "")
    step = " and ".join(f"{f['step_ms']} ms ({r})" for r, f in results["trainings"].items())
    compiling = ", ".join(
        f"{row['compiling_s']} s ({row['step']})"
        for row in results["steps"]
        if row.get("compiling_s")
    )
    lines += [
        "",
        f"On one {machine['gpus'][0] if machine['gpus'] else 'CPU'}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB ([rehearsal](../benchmarks/results/{path.stem}.md)). "
        "Trainings are reckoned from the steady steps of one epoch of "
        f"{results['method']}, {step}; checkpoints and tests come on top, and compiling: "
        f"{compiling or 'nothing'}. The images were {files['images']} GiB; real ones take what "
        "they take.",
    ]
    return "\n".join(lines) + "\n"


def spoken(seconds: float) -> str:
    """'12 s', '3.4 min' or '2.7 h'."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def write_docs(path: Path) -> None:
    """Put what a result file says into docs/data.md."""
    if not json.loads(path.read_text(encoding="utf-8"))["results"]["complete"]:
        sys.exit(f"'{path}' is of a rehearsal that wasn't completed.")
    text = PAGE.read_text(encoding="utf-8")
    block = f"<!-- rehearsal: {path.name} -->\n{expectations(path)}"
    PAGE.write_text(BLOCK.sub(lambda m: block + m[2], text), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", type=lambda text: text.split(","), default="published,clean")
    parser.add_argument("--kill", help="the recipe that is killed and resumed (default: the first)")
    parser.add_argument("--method", default="mcl")
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--tests", default="all-seeded,all-official,indoor-seeded,indoor-official")
    parser.add_argument("--official", type=Path, help="folder of the authors' split files")
    parser.add_argument("--work", type=Path, help="folder to make, kept (default: one that isn't)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds of this call")
    parser.add_argument("--docs", type=Path, metavar="RESULT", help="write the docs from it, only")
    args = parser.parse_args()
    args.tests = [tuple(test.split("-")) for test in args.tests.split(",")]
    args.kill = args.kill or args.recipes[0]
    if args.work is not None and args.work.exists():
        parser.error(f"'{args.work}' is there already; name a new folder")
    if unknown := {*args.recipes, args.kill} - RECIPES[args.method].keys():
        parser.error(f"no such recipe: {', '.join(sorted(unknown))}; there are "
                     f"{', '.join(RECIPES[args.method])}")  # fmt: skip
    return args


def main() -> None:
    args = arguments()
    if args.docs is not None:
        return write_docs(args.docs)
    scale = SCALES[args.scale]
    if scale.needs_gpu and devices() == [None]:
        sys.exit("At its true size this needs a CUDA GPU; --scale tiny only tries the script.")
    plan = official_plan(args.official) if args.official else even_plan()
    if plan.parts != TRUE:
        sys.exit(f"These are not SYSU-MM01's counts: {plan.parts} instead of {TRUE}.")
    if scale.identities:
        plan = plan.reduced(scale.identities, scale.images)
    with tempfile.TemporaryDirectory() as folder:
        work = (args.work or Path(folder) / "work").absolute()
        work.mkdir(parents=True)
        rehearsal = Rehearsal(args, scale, plan, work)
        rehearsal.everything()
    results = rehearsal.results()
    path = record("rehearsal", results, table=table_of(results), notes=notes_of(results))
    print(path.with_suffix(".md").read_text(encoding="utf-8"))
    sys.exit(0 if results["complete"] else 1)


if __name__ == "__main__":
    main()
