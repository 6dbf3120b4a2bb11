"""Train and test rows and seeds of an experiment on the GPUs at hand, and keep what they reached.

    python benchmarks/methods.py benchmarks/sweeps/board.toml --data V1 --seeds 0,1 \
        --start 'STARTS/start-{seed}.safetensors' --work DIR [--deadline SECONDS] [--jobs-per-gpu 5]

It is `vireid sweep` on the file, whose place of data, start, seeds and rows stand here, as machines
differ; DIR/NAME.sweep.json is the sweep's file as it was run. What a sweep leaves behind are runs'
folders, which are thrown away with the machine; this keeps their numbers in a result file, which is
written after every run. A run that would not end before the deadline is not begun, one that is
running then saves itself, and the same command goes on. To fill a table over several sessions:

    python benchmarks/methods.py … --merge OLD.json [--merge OLDER.json]
    python benchmarks/methods.py --table RESULT.json      writes a result's table and notes again

Without --data nothing is trained: rows and seeds are put together from the results that --merge
names, on any machine.

Runs are taken over where options, seed and start are those of a row here; other data or versions
of PyTorch are refused. All rows of a seed come from one start (start.py makes it).

Of each run the result has `start_hash` and `config_hash` (the options themselves stand under
`configurations`). The average precision of each query, averaged over the trials, stands in the .npz
file beside it, in thousandths (`_runs.queries_of` reads it); its `pids` and `camids` say whose
queries they are. With --cross DIR the networks of the first seed that were made here are tested on
the sets in DIR too (`whole_seeds.py` makes them), when all runs are done; their numbers stand under
`cross`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import ROOT, commit, hardware, versions
from _runs import (
    METRICS,
    Runs,
    Unlike,
    as_written_now,
    decisive_options,
    read,
    write_again,
)

from vireid.config import read_plain, to_plain
from vireid.data import load_dataset, prepare
from vireid.data.protocol import SYNTHETIC_MARKER
from vireid.evaluation import Report
from vireid.files import file_hash
from vireid.models.two_stream import resolved
from vireid.own_code import is_code
from vireid.runtime.jobs import devices
from vireid.runtime.record import code_hash, hash_of, own_code
from vireid.sweep import Job, Sweep, read_sweep
from vireid.sweep_run import run_sweep
from vireid.sweep_tests import SweepTest
from vireid.training import record
from vireid.training.trainer import EMA
from vireid.types import InputError

CROSS = {"hard": "sysu", "regdb": "regdb", "llcm": "llcm"}  # folder in --cross → its layout


def main(words: list[str] | None = None) -> int:
    args = arguments(words)
    try:
        if args.table is not None:
            write_again(args.table)
            return 0
        sweep = composed(args)
        runs = runs_of(sweep, args)
        todo = [job for job in sweep.jobs if (job.row, job.options.seed) not in runs.found]
        print(f"{len(sweep.jobs) - len(todo)} of {len(sweep.jobs)} runs are there.", flush=True)
        if args.data is None:
            none = "in none of the results"
            runs.missing = [f"{job.name}: {runs.failed.get(job.name, none)}" for job in todo]
        else:
            sweep.jobs = todo
            make(sweep, runs, args)
    except (Unlike, InputError) as error:
        print(f"methods.py: {error}", file=sys.stderr)
        return 2
    path = runs.write()
    print(path.with_suffix(".md").read_text(encoding="utf-8"))
    return 1 if runs.missing else 0


def arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?", help="the experiment, as for `vireid sweep`")
    parser.add_argument("--table", type=Path, metavar="RESULT", help="only make its table again")
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rows", help="names separated by commas (default: all of the file)")
    parser.add_argument("--arch", help="another network than the file's")
    parser.add_argument(
        "--start", help="what every run starts from; '{seed}' in it stands for the run's seed"
    )
    parser.add_argument("--work", type=Path, default=Path("runs"), help="folder for the runs")
    parser.add_argument("--name", help="of the result (default: the file's)")
    parser.add_argument("--cross", type=Path, metavar="DIR", help="test on the sets in DIR too")
    parser.add_argument("--deadline", type=float, default=float("inf"))
    parser.add_argument(
        "--estimate", type=float, default=400, help="seconds a run, before any is known"
    )
    parser.add_argument("--jobs-per-gpu", type=int, default=1)
    parser.add_argument(
        "--merge", type=Path, nargs="+", action="extend", default=[], metavar="OLD.json"
    )
    args = parser.parse_args(words)
    if args.table is None and (args.file is None or not (args.data or args.merge)):
        parser.error(
            "name the experiment's file, and the data set's folder with --data, or results with "
            "--merge"
        )
    if args.name is None and args.file is not None:
        args.name = args.file.stem
    return args


def composed(args: argparse.Namespace) -> Sweep:
    """The experiment of the file, with the places and choices of this call."""
    plain = read_plain(args.file)
    base, rows = {**plain.get("base", {})}, plain["rows"]
    if args.rows:
        chosen = [name.strip() for name in args.rows.split(",")]
        if unknown := [name for name in chosen if name not in rows]:
            raise InputError(
                f"{args.file} has no row {', '.join(unknown)}. Rows: {', '.join(rows)}."
            )
        rows = {name: rows[name] for name in chosen}
    base["data_root"] = str((args.data or args.work).absolute())
    if "config" in base:
        base["config"] = str(ROOT / base["config"])
    if args.start:
        base["pretrained"] = args.start
    if args.arch:
        base["arch"] = args.arch
    baseline = {"baseline": plain["baseline"]} if plain.get("baseline") in rows else {}
    args.work.mkdir(parents=True, exist_ok=True)
    file = args.work / f"{args.name}.sweep.json"
    seeds = [int(seed) for seed in args.seeds.split(",")]
    whole = {"seeds": seeds, "base": base, "rows": rows, "test": plain.get("test", {}), **baseline}
    file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    code = named_code([base, *rows.values()])
    return read_sweep(file, args.work / args.name, code)


def named_code(rows: list[dict[str, Any]]) -> list[str]:
    """Methods of one's own among the options of rows: who runs this file names them by it."""
    return [row["method"] for row in rows if is_code(row.get("method", ""))]


def others(folder: Path | None) -> list[SweepTest]:
    """A test on each set in the folder of --cross that is complete."""
    found = []
    for name, layout in CROSS.items() if folder else ():
        try:
            data_facts(folder / name, layout)
        except Unlike as error:
            print(f"not tested on: {error}", flush=True)
            continue
        root = str((folder / name).absolute())
        found.append(SweepTest.of({"figure_queries": 0, "dataset": layout, "data_root": root}))
    return found


def runs_of(sweep: Sweep, args: argparse.Namespace) -> Runs:
    """The table of the experiment, with what earlier results have of it."""
    asked = read_plain(args.work / f"{args.name}.sweep.json")["test"]
    modes = asked.get("mode", "all")
    setting = {
        "part": asked.get("part", "test"),
        "modes": ",".join(modes) if isinstance(modes, list) else modes,
    }
    if args.data is None:
        setting = as_written_now(read(args.merge[0])[1]["setting"]) | setting
    else:
        setting["data"] = data_facts(args.data, sweep.jobs[0].options.dataset)
        setting["versions"] = {name: versions().get(name) for name in ("torch", "timm")}
    rows = {job.row: hash_of(configuration(job)) for job in sweep.jobs}
    runs = Runs(args.name, setting, rows, sweep.baseline)
    for job in sweep.jobs:
        if (start := start_of(job)) is not None:
            runs.start(job.options.seed, start)
    for path in args.merge:
        print(f"{runs.merge(path)} runs are taken from '{path}'.", flush=True)
    return runs


def make(sweep: Sweep, runs: Runs, args: argparse.Namespace) -> None:
    """Make the runs that aren't there, and put each into the table when it ends."""
    if not sweep.jobs:
        return
    options = sweep.jobs[0].options
    data = load_dataset(options.dataset, options.data_root)
    for size in dict.fromkeys(job.options.size for job in sweep.jobs):
        prepare(data, size=size)  # once, not by each of several runs at a time

    def left() -> list[str]:
        return [f"{job.name}: {job.state}" for job in sweep.jobs if job.state != "done"]

    def after(job: Job) -> None:
        runs.missing = left()
        if job.state == "done":
            runs.add(job.row, job.options.seed, *kept_of(job, runs))

    ways: dict[str, Any] = {
        "devices": devices() * args.jobs_per_gpu,
        "tables": False,
        "tell": lambda sentence: print(sentence, flush=True),
    }
    run_sweep(sweep, deadline=args.deadline, estimate=args.estimate, after=after, **ways)
    runs.missing = left()
    first = sweep.jobs[0].options.seed
    made = [job for job in sweep.jobs if job.state == "done" and job.options.seed == first]

    def after_others(job: Job) -> None:
        if job.state == "done":
            runs.found[job.row, first]["cross"] = cross_of(job)
            runs.write()

    if tests := others(args.cross):
        run_sweep(replace(sweep, jobs=made, tests=tests), after=after_others, **ways)


def kept_of(job: Job, runs: Runs) -> tuple[dict[str, Any], Any, dict[str, np.ndarray]]:
    """Of a run that has ended: its numbers in percent and what it cost; the options that it was
    trained with; and the AP of each of its queries."""
    known = record.read(job.folder)
    assert known is not None
    summary = json.loads((job.folder / "summary.json").read_text(encoding="utf-8"))
    code = {name: one["sha256"] for name, one in known["code"].items()}
    options = with_code({k: v for k, v in known["options"].items() if k != "seed"}, code)
    machine = hardware()
    facts: dict[str, Any] = {
        "seconds": round(job.seconds, 1),
        "seconds_training": summary["seconds"],
        "images_per_second": summary["images_per_second"],
        "peak_gpu_bytes": summary["peak_gpu_bytes"],
        "gpu": machine["gpus"][0] if machine["gpus"] else "CPU",
        "start_hash": known["start_hash"] or known["start"],
        "config_hash": hash_of(options),
        "data_hash": known["data_hash"],
        "precision": known["precision"],
        "commit": commit(),
    }
    averaged = {k: round(100 * v, 2) for k, v in summary["metrics"].items() if k.startswith(EMA)}
    if averaged:  # of the averaged weights, on validation identities
        facts["averaged"] = {name.removeprefix(f"{EMA}_"): v for name, v in averaged.items()}
    queries: dict[str, np.ndarray] = {}
    for report in job.reports():
        protocol, numbers = report.protocol, percent(report)
        if protocol.data_hash != known["data_hash"]:
            continue  # of an earlier call with --cross
        facts |= {"epoch": protocol.epoch, "epoch_choice": protocol.epoch_choice}
        for which, found in numbers.items():
            facts |= {f"{protocol.scope}_{which}_{m}": value for m, value in found.items()}
        if protocol.scope == runs.scope:
            table = report.queries
            queries = {name: table[name].astype(np.int16) for name in ("pids", "camids")}
            for which in report.raw:
                queries[which] = table[f"{which}.mean_ap"].astype(np.float16)
    return facts, options, queries


def percent(report: Report) -> dict[str, dict[str, float]]:
    """By test embedding, its numbers in percent."""
    return {
        which: {metric: round(100 * found[metric]["mean"], 2) for metric in METRICS}
        for which, found in report.raw.items()
    }


def cross_of(job: Job) -> dict[str, Any]:
    """The numbers of a run on each set that it wasn't trained on, by layout, preset, and the
    direction where there are two."""
    known, found = record.read(job.folder), {}
    assert known is not None
    for report in job.reports():
        protocol = report.protocol
        if protocol.data_hash == known["data_hash"]:
            continue
        words = [protocol.dataset, (protocol.synthetic_set or {}).get("preset", "")]
        if protocol.direction != "infrared_to_visible":
            words.append(protocol.direction.replace("_", " "))
        found[", ".join(filter(None, words))] = percent(report)
    return found


def configuration(job: Job) -> dict[str, Any]:
    """The options that a run will be trained with, as its record will have them."""
    plain = to_plain(replace(job.options, model=resolved(job.options.model)))
    code = {name: code_hash(path) for name, (_, path) in own_code(plain).items()}
    return with_code(decisive_options(plain), code)


def with_code(options: dict[str, Any], code: dict[str, str]) -> dict[str, Any]:
    """Options and, where there is code of one's own, the hash of each file."""
    return {**options, "code": code} if code else options


def start_of(job: Job) -> dict[str, Any] | None:
    """The start of a run: its file's hash, and what start.py wrote beside it; None where it isn't
    a file that is there."""
    file = Path(job.options.model.pretrained)
    if not file.is_file():
        return None
    beside = file.with_suffix(".json")
    known = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    return {"start_hash": file_hash(file), **known}


def data_facts(folder: Path, dataset: str) -> dict[str, Any]:
    """What the data set is a function of, if it is synthetic; else its name."""
    if not folder.is_dir():
        raise Unlike(f"There is no folder '{folder}'.")
    marker = folder / SYNTHETIC_MARKER
    if not marker.is_file():
        return {"dataset": dataset, "folder": folder.name, "synthetic": False}
    facts = json.loads(marker.read_text(encoding="utf-8"))
    if not facts.pop("complete", True):
        raise Unlike(
            f"The synthetic people in '{folder}' aren't complete. Run the same `vireid synthesize` "
            "again first."
        )
    return {"dataset": dataset, "synthetic": True, **facts}


if __name__ == "__main__":
    sys.exit(main())
