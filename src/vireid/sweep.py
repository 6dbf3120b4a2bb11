"""Rows times seeds of one experiment, from a file: trained, tested and put into one table."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from vireid.config import check_keys, convert, read_plain
from vireid.console import path_meant
from vireid.files import file_hash, read_json, write_json
from vireid.own_code import CODE
from vireid.problems import Problems
from vireid.sweep_file import Faults, SweepFile, allowed_code, check_places
from vireid.sweep_tests import OF_SWEEP, SweepTest, read_tests
from vireid.types import InputError, shown

if TYPE_CHECKING:
    from vireid.evaluation import Report
    from vireid.training.options import TrainOptions

STATE = "sweep.json"


class _Named(TypedDict, total=False):
    row: str


class _State(_Named):
    """What a sweep's state says of one run."""

    run: str
    state: str


@dataclass
class Job:
    """One run of a sweep.

    Attributes:
        row: the name of its row.
        options: all of them, resolved.
        folder: of the run.
        state: "waiting", "done", or why it isn't.
        seconds: that training and testing took in this call.
        own: the reports of the sweep's tests; None where nobody noted them.
    """

    row: str
    options: TrainOptions
    folder: Path
    state: str = "waiting"
    seconds: float = 0.0
    own: list[Path] | None = None

    @property
    def name(self) -> str:
        return f"{self.row}, seed {self.options.seed}"

    def trained(self) -> bool:
        """Whether the run reached its end."""
        return all((self.folder / n).is_file() for n in ("summary.json", "weights.safetensors"))

    def reports(self) -> list[Report]:
        """What the sweep's tests wrote of it, not those that a user made besides."""
        from vireid.evaluation import Report
        from vireid.testing import report_files

        files = report_files(self.folder)
        return [Report.load(file) for file in files if self.own is None or file in self.own]


@dataclass
class Sweep:
    """An experiment: rows times seeds.

    Attributes:
        folder: of its runs and tables.
        jobs: seed by seed, so that whole seeds are done first.
        tests: that are made of each run.
        baseline: the row that the others are compared with, or "".
        written: names of the tables in `folder` of what is done so far.
    """

    folder: Path
    jobs: list[Job]
    tests: list[SweepTest]
    baseline: str = ""
    written: tuple[str, ...] = ()
    _writing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(job.row for job in self.jobs))

    def write(self, *, tables: bool = True) -> None:
        """Write the state, and the tables of what is done so far."""
        with self._writing:
            write_json(self.folder / STATE, [
                {"row": job.row, "seed": job.options.seed, "run": str(job.folder),
                 "state": job.state, "seconds": round(job.seconds, 1)}
                for job in self.jobs
            ])  # fmt: skip
            if not tables:
                return
            reports = {row: [r for job in self.jobs if job.row == row and job.state == "done"
                             for r in job.reports()] for row in self.rows}  # fmt: skip
            self._write_tables({row: found for row, found in reports.items() if found})

    def _write_tables(self, reports: Mapping[str, Sequence[Report]]) -> None:
        from vireid.evaluation import compare_paired, paper_table
        from vireid.evaluation.paired import write_paired

        if not reports:
            return
        table = paper_table([report for found in reports.values() for report in found])
        if len(table.rows) == len(reports):  # each row is one way of training: it has a name
            table = replace(table, rows=tuple(reports))
        self.written = tuple(path.name for path in table.write(self.folder))
        if self.baseline in reports and len(reports) > 1:
            base = reports[self.baseline]
            paths = write_paired(
                [one for row, found in reports.items() if row != self.baseline
                 for one in compare_paired(found, base, names=(row, self.baseline))],
                self.folder,
            )  # fmt: skip
            self.written += tuple(path.name for path in paths)

    def table(self) -> str:
        """The table of what is done so far, as Markdown; "" before anything is."""
        name = "paper.md"
        return (self.folder / name).read_text(encoding="utf-8") if name in self.written else ""


def runs_of(folder: Path) -> list[Path]:
    """The runs of all `rows_of` a sweep; [] where the folder isn't a sweep's."""
    return [run for runs in rows_of(folder).values() for run in runs]


def rows_of(folder: Path) -> dict[str, list[Path]]:
    """Row → the runs that a sweep has begun by its folder, also those that it took from elsewhere;
    none where the folder isn't a sweep's.

    Raises:
        InputError: its state can't be read, or a run that was done isn't there.
    """
    if not (folder / STATE).is_file():
        return {}
    kept: list[_State] = convert(list[_State], read_json(folder / STATE), str(folder / STATE))
    rows: dict[str, list[Path]] = {}
    for one in kept:
        run = Path(one["run"])
        inside = folder / run.name  # the sweep may have moved, or the path be relative
        if there := next((place for place in (inside, run) if os.path.isdir(place)), None):
            rows.setdefault(one.get("row", ""), []).append(there)
        elif one["state"] == "done":
            raise InputError(
                f"The run {shown(str(run))} of the sweep '{folder}' isn't there. Go to the folder "
                "that the sweep was started in, or name the runs."
            )
    return rows


def read_sweep(file: Path, folder: Path | None = None, code: Sequence[str] = ()) -> Sweep:
    """The experiment that a TOML (or JSON) file describes.

    Args:
        folder: of its runs (default: runs/ and the file's name).
        code: files of the user's own that it may name ("my.py:MyMethod"); no others are run.

    Raises:
        InputError: an unknown key or option, a value that can't be, two rows that are the same,
            a test that no run could be given, or code that isn't in `code`.
    """
    plain, problems = read_plain(file), Problems()
    with problems:
        check_places(plain, str(file), given_by_sweep=OF_SWEEP, own_code=bool(code))
    with problems:
        check_keys(plain, SweepFile.__annotations__, str(file))
    with problems:
        asked: SweepFile = convert(SweepFile, plain, str(file))
    problems.tell()
    seeds = asked.get("seeds", [0])
    rows = _rows(asked, str(file), problems)
    with problems:
        if not seeds or len(set(seeds)) != len(seeds):
            raise InputError(f"{file}: seeds is {seeds}; at least one was expected, each once.")
    folder = folder or Path("runs") / file.stem
    jobs: list[Job] = []

    def named(values: Mapping[str, Any]) -> dict[str, Any]:
        return _with_code(values, code, str(file))

    faults = Faults(asked, lambda values: _job("", named(values), folder))
    for seed, (name, values) in itertools.product(dict.fromkeys(seeds or [0]), rows.items()):
        with problems:
            values = named(values)
            try:
                jobs.append(_job(name, {**values, "seed": seed}, folder))
            except InputError as error:
                faults.keep(error, name)
    with problems:
        faults.tell(str(file))
    tests: list[SweepTest] = []
    with problems:
        runs = [(job.row, job.options) for job in jobs]
        tests = read_tests(asked.get("test", {}), runs, code, str(file))
    baseline = asked.get("baseline", "")
    with problems:
        if baseline and baseline not in rows:
            raise InputError(
                f"{file}: baseline is '{baseline}'; the rows are {', '.join(map(repr, rows))}."
            )
    problems.tell()
    seen: dict[Path, Job] = {}
    for job in jobs:
        if twin := seen.get(job.folder):
            raise InputError(
                f"{file}: the rows '{twin.row}' and '{job.row}' are the same run. Each row has to "
                "differ in an option."
            )
        seen[job.folder] = job
    _check_networks(jobs, str(file))
    return Sweep(folder, jobs, tests, baseline)


def _check_networks(jobs: Sequence[Job], where: str) -> None:
    """Refuse a row whose seeds would have different networks, as a start brings its own along."""
    of_row: dict[str, dict[tuple[str, int], int]] = {}
    for job in jobs:
        model = job.options.model
        of_row.setdefault(job.row, {}).setdefault((model.arch, model.last_stage), job.options.seed)
    for row, networks in of_row.items():
        if len(networks) > 1:
            said = ", ".join(
                f"{arch} up to stage {stage} with seed {seed}"
                for (arch, stage), seed in networks.items()
            )
            raise InputError(
                f"{where}: the row '{row}' would have different networks: {said}. A start brings "
                "its network along. Name starts of one network, or give `arch` and `last_stage`."
            )


def _rows(asked: SweepFile, where: str, problems: Problems) -> dict[str, dict[str, Any]]:
    """Row → its options by flat names: of `base`, of the row, of the grid; what is given in two
    places is told by `problems`."""
    base, grid = asked.get("base", {}), asked.get("grid", {})
    with problems:
        if empty := [shown(name) for name, values in grid.items() if not values]:
            raise InputError(f"{where}: the grid gives {', '.join(empty)} no values.")
    combinations = [dict(zip(grid, values)) for values in itertools.product(*grid.values())]
    found = {}
    for name, own in asked.get("rows", {"": {}}).items():
        for values in combinations:
            words = [f"{key.replace('_', ' ')} {value}" for key, value in values.items()]
            with problems:
                if twice := values.keys() & own.keys():
                    raise InputError(
                        f"{where}: {shown(min(twice))} is in the grid and in the row "
                        f"{shown(name)}. Give it in one of them."
                    )
            row = ", ".join(filter(None, [name, *words])) or "base"
            found[row] = {**base, **own, **values}
            with problems:
                if "seed" in found[row]:
                    section = "[base]" if "seed" in base else f"the row {shown(row)}"
                    raise InputError(f"{where}: {section} has a seed. Give seeds as `seeds`.")
    return found


def _with_code(values: Mapping[str, Any], code: Sequence[str], where: str) -> dict[str, Any]:
    """Options of a row, with code as the user names it."""
    named = dict(values)
    for name in [name for name in CODE if name in named]:
        if isinstance(several := named[name], list):
            named[name] = [allowed_code(str(one), code, name, where) for one in several]
        else:
            named[name] = allowed_code(str(several), code, name, where)
    return named


def _job(row: str, values: Mapping[str, Any], folder: Path) -> Job:
    from vireid.training.defaults import options_of
    from vireid.training.naming import run_name

    values = dict(values)
    max_steps = values.pop("max_steps", None)
    if "pretrained" in values:  # a start of each seed
        seed = str(values.get("seed", 0))
        values["pretrained"] = str(values["pretrained"]).replace("{seed}", seed)
    config = convert(str | None, values.pop("config", None), "config")
    options = options_of(config, values, besides=("config", "max_steps"))
    if options.trial == "all":
        raise InputError("A sweep's run has one split; give `trial` a number, as a row or a grid.")
    run = folder / run_name(options, max_steps)
    if max_steps is not None:
        options = _with_steps(options, convert(int, max_steps, "max_steps"))
    return Job(row, options, run)


def _with_steps(options: TrainOptions, max_steps: int) -> TrainOptions:
    from vireid.training.defaults import for_steps
    from vireid.training.training_set import dataset_of

    return for_steps(options, dataset_of(options), max_steps)


# Earlier runs -----------------------------------------------------------------------------------


def merge(sweep: Sweep, places: Sequence[Path]) -> int:
    """Take runs of other folders for those of the sweep that are trained with the same options,
    seed, start and data; how many were found.

    Raises:
        InputError: a place holds no runs.
    """
    from vireid.training import record

    runs: dict[str, Path] = {}
    for place in places:
        found = [place] if (place / "record.json").is_file() else [
            path.parent for path in sorted(place.glob("*/record.json"))
        ]  # fmt: skip
        if not found:
            raise InputError(
                f"'{place}' holds no run with a record.{path_meant(place)} Name a run or runs' "
                "folder."
            )
        for run in found:
            kept = record.read(run)
            if kept is not None and not kept.get("changes"):
                runs[_identity(kept, kept.get("start_hash"))] = run
    from vireid.models.pretrained import weights_file
    from vireid.models.two_stream import resolved
    from vireid.training.training_set import dataset_of

    count = 0
    for job in sweep.jobs:
        if job.folder.exists():
            continue
        options = replace(job.options, model=resolved(job.options.model))  # as a run records it
        known = record.begin(options, dataset_of(options))
        start = weights_file(job.options.model.pretrained)
        there = runs.get(_identity(known, file_hash(start) if start else None))
        if there is not None and replace(job, folder=there).trained():
            job.folder, count = there, count + 1
    return count


def _identity(kept: Mapping[str, Any], start_hash: str | None) -> str:
    """What two runs share that are the same: options, code, data, and start where it is a file."""
    from vireid.models.hub import on_hub
    from vireid.training.record import A_FILE

    options = json.loads(json.dumps(kept["options"]))
    options["model"]["arch"] = str(options["model"]["arch"]).lower()
    code = sorted((name, one["sha256"]) for name, one in kept["code"].items())
    of_file = kept["start"] == A_FILE or on_hub(kept["start"])
    start = start_hash if of_file else None
    return json.dumps([options, code, kept["data_hash"], start], sort_keys=True)
