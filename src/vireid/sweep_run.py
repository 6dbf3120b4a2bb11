"""Training and testing what is left of a sweep, one process a device."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, TypeVar

from vireid.config import convert, to_plain
from vireid.console import count_text, say
from vireid.files import file_hash, read_json, write_json, write_text
from vireid.problems import each
from vireid.runtime.jobs import NOT_BEGUN, Standby, call, run_all
from vireid.sweep import Job, Sweep
from vireid.sweep_tests import SweepTest, check_data
from vireid.types import InputError, shown

if TYPE_CHECKING:
    from vireid.data import Dataset

_T = TypeVar("_T")
# -P: no file of the working folder (json.py) is taken for a module, as with `vireid` itself
_COMMAND = [sys.executable, "-P", "-m", "vireid"]
_STANDBY = [sys.executable, "-P", "-m", "vireid.standby"]


class _Done(TypedDict):
    """A test that was made of a run.

    Attributes:
        test: its words.
        reports: that it wrote, as paths within the run.
    """

    test: list[str]
    reports: list[str]


def run_sweep(
    sweep: Sweep,
    devices: Sequence[int | None],
    *,
    deadline: float = float("inf"),
    estimate: float = 0.0,
    stop: threading.Event | None = None,
    tell: Callable[[str], None] = say,
    after: Callable[[Job], object] | None = None,
    tables: bool = True,
) -> None:
    """Make every run that isn't there yet, one process a device, and write the tables after each.

    Args:
        devices: GPUs by number; None stands for the CPU. A device named twice runs two.
        deadline: seconds after which no run is begun, and those running save themselves.
        estimate: seconds a run, before any is known.
        stop: where set, the sweep ends in the same way.
        tell: receives a sentence on each run.
        after: receives each run once it has ended, one at a time.
        tables: whether to write them; runs wait for it, long where there are hundreds of reports.

    Raises:
        InputError: a run or a test that can't be made on these devices; nothing is begun.
    """
    began, stop = time.monotonic(), stop or threading.Event()
    trained = [job for job in sweep.jobs if job.trained()]
    tests_left = {job.name: len(_look_at_tests(job, sweep)) for job in trained}
    complete = [job for job in trained if not tests_left[job.name]]
    untested = [job for job in trained if job not in complete]
    rest = [job for job in sweep.jobs if job not in trained]
    check_here(sweep, devices)
    sweep.folder.mkdir(parents=True, exist_ok=True)
    warned: set[str] = set()

    def told(words: str) -> None:
        tell(f"{time.monotonic() - began:7.0f} s  {words}")

    def ended(job: Job, state: str, seconds: float) -> None:
        job.state, job.seconds = state, seconds
        try:
            if after is not None:
                after(job)
        except Exception as error:  # the other runs go on
            job.state = f"failed afterwards: {type(error).__name__}: {error}"
        if job.state not in NOT_BEGUN:
            told(f"{job.name}: {job.state}")
        try:
            sweep.write(tables=tables)
        except InputError as error:
            if any(one.state == "waiting" for one in sweep.jobs):
                tell(f"note: some tables wait for more runs. So far: {error}")
            else:
                tell(f"note: the runs are kept, but some tables are left out: {error}")

    def make(job: Job, device: int | None) -> None:
        place = f"{sweep.jobs.index(job) + 1} of {len(sweep.jobs)}"
        try:
            _make(job, sweep, device, stop, standby, lambda: told(f"begins: {job.name} ({place})"))
        finally:
            for line in _warnings(_log_of(job, sweep)):
                if line not in warned:  # once, though all seeds of a row are warned of it
                    warned.add(line)
                    told(f"{job.name}: {line}")

    for job in complete:  # whatever the deadline, and though the sweep is stopped
        ended(job, "done", 0.0)
    calls = sum(tests_left.values()) + len(rest) * (1 + len(sweep.tests))
    with contextlib.closing(Standby(_COMMAND, _STANDBY, calls)) as standby:
        run_all(untested, make, devices, stop=stop, after=ended)
        run_all(
            rest, make, devices,
            deadline=deadline, estimate=estimate, stop=stop, after=ended,
        )  # fmt: skip


def check_here(sweep: Sweep, devices: Sequence[int | None]) -> None:
    """Refuse what a device or a data set's folder would refuse of a run or a test that is left in
    its turn, perhaps hours later.

    Raises:
        InputError: there is something.
    """
    from vireid.runtime.precision import check_precision
    from vireid.training.ahead import check_ahead
    from vireid.training.run import check_with_data
    from vireid.training.training_set import dataset_of, names_of_data

    jobs = [job for job in sweep.jobs if not job.trained()]
    untested = [job for job in sweep.jobs if job.trained() and _look_at_tests(job, sweep)]
    found: dict[str, dict[str, None]] = {}  # sentence → what it is about

    def check(what: str, function: Callable[..., _T], *given: object) -> _T | None:
        try:
            return function(*given)
        except InputError as error:
            for one in each(error):
                found.setdefault(str(one), {})[what] = None
            return None

    for kind in {"cpu" if device is None else "cuda" for device in devices}:
        tried: set[str] = set()  # rows; their seeds differ in nothing that code of one's own sees
        for job in jobs:
            own: Literal["run", "leave"] = "leave" if job.row in tried else "run"
            tried.add(job.row)
            ahead = partial(check_ahead, begun=job.folder.exists(), own=own)
            check(f"row {shown(job.row)}", ahead, job.options, kind)
        for test in sweep.tests if jobs or untested else ():
            if test.options.precision != "auto":
                check(test.table, check_precision, test.options.precision, kind)
    for job in sweep.jobs:
        check(f"row {shown(job.row)}", _check_length, job)
    of_data: dict[str, list[Job]] = {}  # runs of the same data, which are listed once
    for job in jobs:
        if not job.folder.exists():
            of_data.setdefault(repr(names_of_data(job.options)), []).append(job)
    data: dict[Path, Dataset | None] = {}
    for alike in of_data.values():
        rows = ", ".join(f"row {row}" for row in dict.fromkeys(shown(job.row) for job in alike))
        listed = check(rows, dataset_of, alike[0].options)
        data |= dict.fromkeys((job.folder for job in alike), listed)
        if listed is not None:
            for job in {job.row: job for job in alike}.values():
                check(f"row {shown(job.row)}", check_with_data, job.options, listed)
    tested = [(job.row, job.options, data.get(job.folder)) for job in (*jobs, *untested)]
    for sentence, tests in check_data(sweep.tests, tested).items():
        found.setdefault(sentence, {}).update(dict.fromkeys(tests))
    if found:
        raise InputError(" ".join(
            f"Not possible here: {', '.join(places)}. {sentence}"
            for sentence, places in found.items()
        ))  # fmt: skip


def _check_length(job: Job) -> None:
    """Refuse a run that somebody trained for longer since: the other rows are not.

    Raises:
        InputError: its folder says so.
    """
    file = job.folder / "config.json"
    if not file.is_file():
        return
    plain, recipe = read_json(file), job.options.recipe
    known = plain.get("recipe") if isinstance(plain, dict) else None
    epochs = known.get("epochs") if isinstance(known, dict) else None
    if isinstance(epochs, int) and epochs != recipe.epochs:
        raise InputError(
            f"The run '{job.folder}' is one of {count_text(epochs, 'epoch', 'epochs')} now; this "
            f"sweep's has {recipe.epochs}. Give the rows as many, or move the run elsewhere: then "
            "it is made again."
        )


def _make(
    job: Job,
    sweep: Sweep,
    device: int | None,
    stop: threading.Event,
    standby: Standby,
    begin: Callable[[], object],
) -> None:
    """Train and test one run, whatever of it isn't there yet; `begin` is called if anything
    isn't."""
    from vireid.own_code import named_again

    def run(words: list[str]) -> None:
        call([*_COMMAND, *words], _log_of(job, sweep), device, stop, standby)

    where = ["--device", "cpu"] if device is None else ["--gpu", "0"]
    code = shlex.split(named_again(job.options))
    untrained = not job.trained()
    if untrained:
        begin()
        if (job.folder / "config.json").is_file():
            words = ["train", "--resume", str(job.folder), *code, *where]
        else:
            config = sweep.folder / "configs" / f"{job.folder.name}.json"
            plain = {k: v for k, v in to_plain(job.options).items() if k != "device"}
            write_text(config, json.dumps(plain, indent=2) + "\n")
            words = ["train", "--config", str(config), "--run", str(job.folder), *code, *where]
        run(words)
    left = _look_at_tests(job, sweep)
    if left and not untrained:
        begin()
    code = shlex.split(named_again(job.options, training=False))
    for test in left:
        before = _versions_of_reports(job)
        run(["test", "--resume", str(job.folder), *code, *test.words, *where])
        written = [
            str(file.relative_to(job.folder))
            for file, version in _versions_of_reports(job).items()
            if before.get(file) != version
        ]
        place, weights = _place_of_tests(job, sweep)
        done: _Done = {"test": test.words, "reports": written}
        write_json(place, {weights: [*_tested(place, weights), done]})
    if left:
        _look_at_tests(job, sweep)


def _log_of(job: Job, sweep: Sweep) -> Path:
    return sweep.folder / "logs" / f"{job.folder.name}.log"


def _warnings(log: Path) -> list[str]:
    """What a run warned of, each once."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line for line in dict.fromkeys(lines) if line.startswith("Warning: ")]


def _versions_of_reports(job: Job) -> dict[Path, tuple[int, int]]:
    """What changes in a report's file when it is written again."""
    from vireid.testing import report_files

    found = {file: file.stat() for file in report_files(job.folder)}
    return {file: (status.st_mtime_ns, status.st_ino) for file, status in found.items()}


def _look_at_tests(job: Job, sweep: Sweep) -> list[SweepTest]:
    """The tests that are left of a trained run, as it is now; `job.own` are the reports of the
    others."""
    tested = _tested(*_place_of_tests(job, sweep))
    asked = [test.words for test in sweep.tests]
    done = [one for one in tested if _words(one) in asked]
    job.own = None
    if not any(isinstance(one, list) for one in done):
        job.own = [
            job.folder / name for one in done if isinstance(one, dict) for name in one["reports"]
        ]
    words = [_words(one) for one in done]
    return [test for test in sweep.tests if test.words not in words]


def _words(done: _Done | list[str]) -> list[str]:
    return done if isinstance(done, list) else done["test"]


def _place_of_tests(job: Job, sweep: Sweep) -> tuple[Path, str]:
    """The file that says which tests were made of a run, and the hash of its weights in it."""
    done = sweep.folder / "tested" / f"{job.folder.name}.json"
    return done, file_hash(job.folder / "weights.safetensors")


def _tested(done: Path, weights: str) -> list[_Done | list[str]]:
    """The tests that were made of weights with this hash, of earlier sweeps as words alone; none
    where that can't be read."""
    try:
        kept = convert(dict[str, list[_Done | list[str]]], read_json(done), str(done))
    except InputError:
        return []
    return kept.get(weights, [])
