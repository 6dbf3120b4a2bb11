"""Why the order of methods here isn't the published one: the generator's knobs, turned one by one.

    python benchmarks/diagnosis.py --seeds 2 --work DIR --deadline SECONDS \
        [--start 'STARTS/start-{seed}.safetensors'] [--variants standard,crops] [--merge OLD.json …]

Each variant of knobs.py is drawn for the same 330 + 65 people, none of them v1's. On each, rows of
the board train from one start on the 330, with the board's own options and the search's quarter of
its schedule, and are tested on the 65, the validation identities. Without --start the starts are
made here, as in whole_seeds.py; all runs go through methods.py. Every run writes the result of its
variant, NAME-VARIANT, and the table of all, NAME. The same command goes on where it was stopped;
--merge takes the runs of earlier results NAME-VARIANT, and shows those of variants that aren't made
now. A start's own features say how far apart the modalities are before any training: how well a
linear probe tells them on people it wasn't fitted on, also of images without colour, and the mAP
from infrared to visible.

What is concluded from the numbers was written before the first run: the rule in _verdict.py.
--table RESULT.json draws the conclusion of a result again, and writes its table and notes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import knobs
import methods
import numpy as np
from _common import record, write_result
from _runs import Unlike, load, read
from _verdict import PLAIN, STANDARD, Part, concluded, findings, lines, notes
from whole_seeds import BEGAN, HERE, Jobs

from vireid.config import read_plain
from vireid.cores import usable_cores
from vireid.data import ProtocolOptions, load_dataset, prepare
from vireid.embed import load as load_embedder
from vireid.evaluation import evaluate, modality_probe
from vireid.runtime.jobs import devices
from vireid.sweep import Job, Sweep
from vireid.sweep_run import run_sweep
from vireid.types import InputError, Modality

BOARD, SEARCH = HERE / "sweeps" / "board.toml", HERE / "sweeps" / "search.toml"
ROWS = ("agw", "agw + erasing", "ddag", "mcl (published)", "mcl", "caj", "deen", "dns")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def main(words: Sequence[str] | None = None) -> int:
    args = arguments(words)
    if args.table:
        whole = json.loads(args.table.read_text(encoding="utf-8"))
        results = whole["results"]
        results["conclusion"], whole["notes"] = said_of(
            results["variants"], whole["name"], results["missing"]
        )
        write_result(args.table, whole, lines(results["variants"], ROWS))
        return 0
    args.work = args.work.absolute()
    args.work.mkdir(parents=True, exist_ok=True)
    try:
        names = listed(args.variants, knobs.VARIANTS, "variant")
        rows = listed(args.rows, ROWS, "row")
        file = write_sweep(args, rows)
        jobs = Jobs(args)
        make_people(jobs, names, sizes_of(file, args))
        parts = [part_of(name, file, args) for name in names] + shown(names, args)
        missing = make(parts, jobs)
    except (Unlike, InputError) as error:
        print(f"diagnosis.py: {error}", file=sys.stderr)
        return 2
    path = write(parts, jobs, missing)
    print(path.with_suffix(".md").read_text(encoding="utf-8"))
    return 1 if missing else 0


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, metavar="RESULT", help="only make its table again")
    parser.add_argument("--work", type=Path, help="for people, starts and runs")
    parser.add_argument("--seeds", default="2", help="of the starts and the runs")
    parser.add_argument("--start", help="a file ('{seed}' in it: the run's), not made here")
    parser.add_argument("--variants", default=",".join(knobs.VARIANTS))
    parser.add_argument("--rows", default=",".join(ROWS), help="of the board")
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds of this call")
    parser.add_argument("--estimate", type=float, default=200, help="seconds a row, at first")
    parser.add_argument("--jobs-per-gpu", type=int, default=5)
    parser.add_argument(
        "--merge", type=Path, nargs="+", action="extend", default=[], metavar="OLD.json"
    )
    parser.add_argument("--name", default="diagnosis", help="of the results")
    parser.add_argument("--identities", type=int, default=knobs.IDENTITIES)
    parser.add_argument("--images", type=int, default=knobs.IMAGES, help="of each by each camera")
    parser.add_argument("--people-seed", type=int, default=knobs.SEED)
    parser.add_argument("--board", type=Path, default=BOARD, help="the file with the rows")
    parser.add_argument("--steps-per-epoch", type=int, help="(default: the search's)")
    parser.add_argument("--arch", default="resnet18", help="of the starts and all rows")
    parser.add_argument("--start-flags", default="", help="more flags for start.py")
    args = parser.parse_args(words)
    if not (args.table or args.work):
        parser.error("name a folder for people, starts and runs by --work.")
    return args


def seeds_of(args: argparse.Namespace) -> list[int]:
    return [int(seed) for seed in args.seeds.split(",")]


def start_of(args: argparse.Namespace, seed: object = "{seed}") -> str:
    """The file that the runs of a seed start from."""
    start = args.start or str(args.work / "starts" / "start-{seed}.safetensors")
    return str(start).replace("{seed}", str(seed))


def listed(text: str, known: Sequence[str] | Mapping[str, Any], what: str) -> list[str]:
    """Names separated by commas.

    Raises:
        InputError: one of them is unknown.
    """
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"There is no {what} {', '.join(unknown)}. Valid: {', '.join(known)}.")
    return names


# What is run ------------------------------------------------------------------------------------


def write_sweep(args: argparse.Namespace, rows: Sequence[str]) -> Path:
    """The experiment of one variant: rows of the board, by the search's schedule and part."""
    board, search = read_plain(args.board), read_plain(SEARCH)
    shorter = {name: search["base"][name] for name in ("steps_per_epoch", "select")}
    if args.steps_per_epoch:
        shorter["steps_per_epoch"] = args.steps_per_epoch
    whole = {
        "base": {**board["base"], **shorter},
        "rows": {name: board["rows"][name] for name in rows},
        "test": search["test"],
        "baseline": PLAIN,
    }
    file: Path = args.work / f"{args.name}.json"
    file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return file


def given(variant: str, file: Path, args: argparse.Namespace) -> argparse.Namespace:
    """The arguments of methods.py for one variant."""
    words = [file, "--data", args.work / "people" / variant, "--seeds", args.seeds,
             "--start", start_of(args), "--arch", args.arch, "--work", args.work / "runs",
             "--name", f"{args.name}-{variant}"]  # fmt: skip
    for path in args.merge:
        if variant_of(path) == variant:
            words += ["--merge", path]
    return methods.arguments([str(word) for word in words])


def variant_of(path: Path) -> str:
    """The variant of an earlier result.

    Raises:
        Unlike: it is none of a variant.
    """
    found = read(path)[1]["setting"]["data"].get("variant")
    if found is None:
        raise Unlike(f"'{path}' isn't the result of a variant. Name those: NAME-VARIANT-….json.")
    return str(found)


def sizes_of(file: Path, args: argparse.Namespace) -> list[tuple[int, int]]:
    """Image sizes of the rows."""
    jobs = methods.composed(given(STANDARD, file, args)).jobs
    return list(dict.fromkeys(job.options.size for job in jobs))


def make_people(jobs: Jobs, names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> None:
    """The people of all variants at once, and meanwhile the starts, unless they are given.

    Raises:
        InputError: a start was not made.
    """
    args, seeds, starts = jobs.args, seeds_of(jobs.args), None
    if args.start is None:
        people = jobs.start_of(seeds[0], "--people-only")
        jobs.wait(people)
        starts = threading.Thread(target=jobs.starts, args=(seeds, devices(), people))
        starts.start()
    workers = max(1, usable_cores() // len(names))
    for name in names:
        words = ["--out", args.work / "people" / name, "--identities", args.identities,
                 "--images", args.images, "--seed", args.people_seed,
                 "--workers", workers]  # fmt: skip
        words += [word for size in sizes for word in ("--size", *size)]
        jobs.begin(f"people-{name}", [HERE / "knobs.py", name, *words], nice=5)
    for name in names:
        jobs.wait(f"people-{name}")
    if starts:
        starts.join()
        for seed in seeds:
            if not os.path.isfile(start_of(args, seed)):
                raise InputError(
                    f"The start of seed {seed} was not made. The logs in '{args.work}' say why."
                )


def part_of(variant: str, file: Path, args: argparse.Namespace) -> Part:
    """The table and the jobs of a variant; names of jobs and their folders say which it is."""
    own = given(variant, file, args)
    sweep = methods.composed(own)
    runs = methods.runs_of(sweep, own)
    left = [job for job in sweep.jobs if (job.row, job.options.seed) not in runs.found]
    print(f"{variant}: {len(sweep.jobs) - len(left)} of {len(sweep.jobs)} runs are there.")
    folder = args.work / "runs" / args.name
    sweep.jobs = [
        replace(job, row=f"{variant}: {job.row}", folder=folder / f"{variant}-{job.folder.name}")
        for job in left
    ]
    return Part(variant, runs, sweep)


def shown(names: Sequence[str], args: argparse.Namespace) -> list[Part]:
    """Variants of earlier results that aren't made now."""
    found = {variant_of(path): path for path in args.merge}
    return [Part(name, load(path)) for name, path in found.items() if name not in names]


def make(parts: Sequence[Part], jobs: Jobs) -> list[str]:
    """Make what is missing of all variants in one pool, whole seeds first, and meanwhile look at
    the starts' features; what is still missing."""
    args = jobs.args
    by_name = {part.variant: part for part in parts}
    sweeps = {part.variant: part.sweep for part in parts if part.sweep is not None}
    order = seeds_of(args)
    todo = sorted((job for sweep in sweeps.values() for job in sweep.jobs),
                  key=lambda job: order.index(job.options.seed))  # fmt: skip

    def left(variant: str) -> list[str]:
        return [f"{job.name}: {job.state}" for job in sweeps[variant].jobs if job.state != "done"]

    def missing() -> list[str]:
        return [sentence for variant in sweeps for sentence in left(variant)]

    def after(job: Job) -> None:
        variant, _, row = job.row.partition(": ")
        runs = by_name[variant].runs
        runs.missing = left(variant)
        if job.state == "done":
            runs.add(row, job.options.seed, *methods.kept_of(job, runs))
            write(parts, jobs, missing())

    began = time.monotonic() - BEGAN
    with ThreadPoolExecutor(1) as pool:
        looks = {name: pool.submit(look_at, by_name[name], jobs) for name in sweeps}
        if todo:
            tests = next(iter(sweeps.values())).tests
            run_sweep(
                Sweep(args.work / "runs" / args.name, todo, tests),
                devices() * args.jobs_per_gpu,
                deadline=args.deadline - began,
                estimate=args.estimate,
                after=after,
                tables=False,
                tell=lambda sentence: print(sentence, flush=True),
            )
        errors = {name: look.exception() for name, look in looks.items()}
    jobs.took["rows"] = [round(began, 1), round(time.monotonic() - BEGAN, 1)]
    return missing() + [
        f"{name}, the start's features: {error}" for name, error in errors.items() if error
    ]


# The start's features ---------------------------------------------------------------------------


def look_at(part: Part, jobs: Jobs) -> None:
    """Note how far apart the modalities of a variant's validation identities are in the features of
    the first seed's start, if that is a file."""
    args = jobs.args
    start = start_of(args, seeds_of(args)[0])
    if not os.path.isfile(start):
        return
    data = load_dataset("sysu", args.work / "people" / part.variant)
    rows, embedder = data.parts["val"], load_embedder(start)
    store, modality, pids = prepare(data, size=embedder.size), data.modality[rows], data.pids[rows]
    found = embedder.embed_store(store, data, rows)
    images = np.ascontiguousarray(store.images[rows])
    visible = modality == Modality.VISIBLE
    images[visible] = np.rint(images[visible] @ LUMA)[..., None].astype(np.uint8)
    grey = embedder.embed(images, modality)
    report = evaluate(data, ProtocolOptions(part="val"), found, rows, context={})
    part.gap = {
        "probe": 100 * modality_probe(found.vectors["pooled"], modality, pids),
        "probe_grey": 100 * modality_probe(grey.vectors["pooled"], modality, pids),
        **methods.percent(report)["pooled"],
    }


def write(parts: Sequence[Part], jobs: Jobs, missing: Sequence[str]) -> Path:
    """The table of all variants, as far as they are made."""
    args = jobs.args
    found = {part.variant: findings(part) for part in parts}
    end, said = said_of(found, args.name, missing)
    setting = {
        "identities": args.identities, "images": args.images, "people_seed": args.people_seed,
        "seeds": args.seeds, "starts": {part.variant: part.runs.starts for part in parts},
    }  # fmt: skip
    results = {"setting": setting, "variants": found, "conclusion": end, "missing": [*missing],
               "seconds": jobs.took}  # fmt: skip
    return record(args.name, results, table=lines(found, ROWS), notes=said)


def said_of(
    found: Mapping[str, Mapping[str, Any]], name: str, missing: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """What is concluded from the numbers of all variants, and the notes under their table."""
    end = concluded(found)
    stand = f"Runs stand in the results {name}-VARIANT."
    return end, [*notes(found, end), stand, *(f"missing: {one}" for one in missing)]


if __name__ == "__main__":
    sys.exit(main())
