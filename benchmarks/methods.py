"""Train and test methods side by side, one run per GPU, and write one table.

Each row of ROWS is a set of flags for `vireid train`; every run is trained and tested by the
project's own commands and fits whole within one call of this script:

    python benchmarks/methods.py --data DIR --rows base,agw,ddag,mcl --seeds 0 --steps 8000

A run that would not end before --deadline seconds is not started, and is listed as missing. The
result is written after every run. To fill a table over several sessions, name earlier results:

    python benchmarks/methods.py … --rows all --merge OLD.json [--merge OLDER.json]
    python benchmarks/methods.py --table RESULT.json      writes a result's table and notes again

Their runs are taken over, not made again; results of other data, steps or networks are refused.

On the start track each seed has its own start (start.py), and all rows of a seed come from it:

    python benchmarks/methods.py --data V1 --arch resnet18 --rows claim --seeds 0 --modes all \
        --config benchmarks/start_track.json --pretrained 'STARTS/start-{seed}.safetensors'

A run's facts name its start (`start_hash`, SHA-256 of the file) and what it was trained with
(`config_hash`; the options themselves stand under `configurations`). The average precision of each
query of the first mode, averaged over the trials, stands in the .npz file beside the result, by
"ROW|SEED|EMBEDDING"; its `pids` and `camids` say whose queries they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import statistics
import subprocess
import sys
import threading
import time
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _common import BUSY, hardware, hardware_line, record, result_path, versions, write_result

from vireid.evaluation import Report
from vireid.runtime.record import hash_of
from vireid.sweep import call, devices, run_all

HERE = Path(__file__).resolve().parent
METRICS = {"rank1": "Rank-1", "mean_ap": "mAP"}
SEEDS = 6  # below so many paired seeds a table says that it shows nothing yet

ROWS: dict[str, list[str]] = {
    "base": ["--method", "base"],
    "agw": ["--method", "agw"],
    "agw + confusion": ["--method", "mcl", "--no-identity-centers", "--no-camera-centers"],
    "agw + identity centers": ["--method", "mcl", "--no-confusion", "--no-camera-centers"],
    "agw + camera centers": ["--method", "mcl", "--no-confusion", "--no-identity-centers"],
    "mcl": ["--method", "mcl"],
    "mcl with frozen centers": ["--method", "mcl", "--centers", "frozen"],
    "mcl with published triplet": ["--method", "mcl", "--triplet", "published"],
    "mcl as published": ["--method", "mcl", "--centers", "frozen", "--triplet", "published"],
    "ddag": ["--method", "ddag"],
    "best": ["--method", "agw", "--pids-per-batch", "16"],  # --recipe best, and tested to be it
}

# MCLNet's claim: each of its parts left out, and all of them, under the erasing that it was
# published with and without. Learned centers, the exact triplet, the published schedule.
CLAIM: dict[str, list[str]] = {
    f"{name} ({word})": [*flags, "--recipe", "clean", "--augment", augment]
    for word, augment in (("erasing", "published"), ("plain", "plain"))
    for name, flags in (
        ("mcl", ["--method", "mcl"]),
        ("mcl without confusion", ["--method", "mcl", "--no-confusion"]),
        ("mcl without identity centers", ["--method", "mcl", "--no-identity-centers"]),
        ("mcl without camera centers", ["--method", "mcl", "--no-camera-centers"]),
        ("agw", ["--method", "agw"]),
    )
}
GROUPS = {"all": [*ROWS], "claim": [*CLAIM]}


def main() -> None:
    args = arguments()
    if args.table is not None:
        return write_table_again(args.table)
    extra = dict(item.split("=", 1) for item in args.extra_row)
    rows = {**ROWS, **CLAIM, **{name: shlex.split(flags) for name, flags in extra.items()}}
    chosen = GROUPS.get(args.rows) or [r.strip() for r in args.rows.split(",") if r.strip()]
    chosen = [*chosen, *extra]
    if unknown := [row for row in chosen if row not in rows]:
        raise refused(f"There is no row {', '.join(unknown)}. Rows: {', '.join(rows)}.")
    seeds = [int(s) for s in args.seeds.split(",")]
    config = json.loads(args.config.read_text(encoding="utf-8")) if args.config else None
    if config:
        args.steps = config["steps_per_epoch"] * config["recipe"]["epochs"]
    facts = data_facts(Path(args.data), args.dataset)
    setting = {
        "data": facts,
        "arch": args.arch,
        "steps": args.steps,
        "part": args.part,
        "modes": args.modes,
        "extra": args.extra,
        "config": config,
        "start": "one of each seed" if "{seed}" in args.pretrained else args.pretrained,
        "versions": {name: versions().get(name) for name in ("vireid", "torch", "timm")},
    }
    table = Table(args.name, setting, chosen, rows)
    for path in args.merge:
        table.merge(Path(path))
    todo = [(row, seed) for seed in seeds for row in chosen if (row, seed) not in table.results]
    if todo:
        subprocess.run(  # once, not by each of several runs at a time
            [sys.executable, "-m", "vireid", "prepare", "--dataset", args.dataset,
             "--data-root", args.data], check=True,
        )  # fmt: skip
    began, stop = time.monotonic(), threading.Event()
    made: dict[tuple[str, int], tuple[dict[str, Any], Details]] = {}

    def make(job: tuple[str, int], gpu: int | None) -> None:
        table.start(job[1], start_of(job[1], args))  # it may be made while others train
        made[job] = run(rows[job[0]], job[1], gpu, args, stop)

    def after(job: tuple[str, int], state: str, _: float) -> None:
        row, seed = job
        if state == "done":
            table.add(row, seed, *made.pop(job))
        else:
            table.missing.append(f"{row}, seed {seed}: {state.removeprefix('failed: ')}")
        facts = table.results.get(job, state)
        print(f"{time.monotonic() - began:6.0f} s  {row}, seed {seed}: {facts}", flush=True)

    run_all(
        todo, make, devices() * args.jobs_per_gpu,
        after=after, deadline=args.deadline, estimate=args.estimate, stop=stop,
    )  # fmt: skip
    path = table.write()
    print(path.with_suffix(".md").read_text())
    sys.exit(1 if table.missing else 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="folder of the data set")
    parser.add_argument("--table", type=Path, metavar="RESULT", help="only make its table again")
    parser.add_argument("--dataset", default="sysu")
    parser.add_argument(
        "--rows",
        default="base,agw,ddag,mcl",
        help="'all', 'claim' (MCLNet's parts left out), or names separated by commas",
    )
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument(
        "--config",
        type=Path,
        help="options of every run, as `vireid train --config` reads them; the number of steps "
        "is then its steps_per_epoch times its epochs, and --steps isn't used",
    )
    parser.add_argument(
        "--pretrained",
        default="none",
        help="what every run starts from; '{seed}' in it stands for the run's seed",
    )
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--runs", default="runs/methods")
    parser.add_argument("--name", default="methods")
    parser.add_argument("--modes", default="all,indoor")
    parser.add_argument("--deadline", type=float, default=float("inf"))
    parser.add_argument(
        "--estimate", type=float, default=240, help="seconds a run, before any is known"
    )
    parser.add_argument("--extra", default="", help="more flags for every training run")
    parser.add_argument(
        "--extra-row",
        action="append",
        default=[],
        metavar="NAME=FLAGS",
        help="one more row: its name and its flags for `vireid train`",
    )
    parser.add_argument("--part", default="test", help="test, or val to choose between rows")
    parser.add_argument("--jobs-per-gpu", type=int, default=1)
    parser.add_argument(
        "--merge",
        action="append",
        default=[],
        metavar="OLD.json",
        help="take the runs of an earlier result over",
    )
    args = parser.parse_args()
    if args.data is None and args.table is None:
        parser.error("name the data set's folder with --data")
    return args


def refused(sentence: str) -> SystemExit:
    print(f"methods.py: {sentence}", file=sys.stderr)
    return SystemExit(2)


def data_facts(folder: Path, dataset: str) -> dict[str, Any]:
    """What the data set is a function of, if it is synthetic; else its name."""
    marker = folder / ".vireid-synthetic.json"
    if not marker.is_file():
        return {"dataset": dataset, "folder": folder.name, "synthetic": False}
    facts = json.loads(marker.read_text(encoding="utf-8"))
    if not facts.pop("complete", True):
        raise refused(
            f"The synthetic people in '{folder}' aren't complete. Run the same `vireid synthesize` "
            "again first."
        )
    return {"dataset": dataset, "synthetic": True, **facts}


def as_written_now(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The setting of an earlier result with today's keys, and today's version where it has none."""
    after = dict(before)
    if config := before.get("config"):
        after["config"] = {
            "steps_per_epoch" if k == "max_steps" else k: v for k, v in config.items()
        }
    if stated_before := before.get("versions"):
        stated = {name: version for name, version in stated_before.items() if version is not None}
        after["versions"] = {**now.get("versions", {}), **stated}
    return after


def options_as_written_now(before: dict[str, Any]) -> dict[str, Any]:
    """The options of an earlier run with today's keys; what was fixed then stands as an option."""
    from vireid.config import overlay, to_plain
    from vireid.methods.recipe import Recipe
    from vireid.training.options import TrainOptions

    after = dict(before)
    if "max_steps" in before:  # up to commit 1cb04f5
        after["steps_per_epoch"] = after.pop("max_steps")
        words = {("last", "train"): "last", ("last", "fit"): "held-out"}
        after["select"] = words.get((after.pop("choose"), after.pop("part")), "val")
        if before["method"] == "mcl":
            after["method_options"] = {**before["method_options"], "discriminator_lr": 0.1}
    if recipe_had_no_precision(before):
        after["recipe"] = {**after["recipe"], "precision": after.pop("precision")}
        if before["method"] == "mcl":
            own = {**after["method_options"], "discriminator_step": "after"}
            if own["discriminator_lr"] == after["recipe"]["lr"]:
                own["discriminator_lr"] = None  # the recipe's
            after["method_options"] = own
    if "recipe" in after:  # options that came later are off unless they are given
        defaults = to_plain(TrainOptions(method=after["method"], recipe=Recipe()))
        after = overlay(without_places(defaults), after)
    return after


def recipe_had_no_precision(options: dict[str, Any] | None) -> bool:
    """Whether a run is from before commit 7edde53, when `clean` was called `published`."""
    return options is None or "precision" in options


def flags_as_written_now(flags: list[str], options: dict[str, Any] | None) -> list[str]:
    """The flags of an earlier run, whose options these were, as they are typed today."""
    if not recipe_had_no_precision(options):
        return flags
    pairs = zip(["", *flags], flags)
    return ["clean" if pair == ("--recipe", "published") else pair[1] for pair in pairs]


class Table:
    """Runs of one setting, made now or taken from earlier results.

    Attributes:
        setting: what has to be equal for runs to stand in one table.
        results: facts of each run by row and seed.
        starts: of each seed the hash of its start and what is known of its making.
        configurations: by their hash, the options that runs were trained with.
        queries: arrays by name, see the head of this file.
        missing: sentences on runs that were not made.
        made: runs made by this call.
    """

    def __init__(
        self, name: str, setting: dict[str, Any], chosen: list[str], rows: dict[str, list[str]]
    ) -> None:
        self.name, self.setting = name, setting
        self.chosen, self.rows = [*chosen], {**rows}
        self.results: dict[tuple[str, int], dict[str, Any]] = {}
        self.starts: dict[int, dict[str, Any]] = {}
        self.configurations: dict[str, Any] = {}
        self.queries: dict[str, np.ndarray] = {}
        self.missing: list[str] = []
        self.merged: list[str] = []
        self.made = 0

    def start(self, seed: int, facts: dict[str, Any]) -> None:
        """Note the start of a seed.

        Raises:
            ValueError: its rows would come from two starts.
        """
        known = self.starts.setdefault(seed, facts)
        if known.get("start_hash") != facts.get("start_hash"):
            raise ValueError(
                f"The rows of seed {seed} would come from two starts, {known.get('start_hash')} "
                f"and {facts.get('start_hash')}. Rows of one seed are compared with each other: "
                "make all of them from one start."
            )

    def add(self, row: str, seed: int, facts: dict[str, Any], details: Details) -> None:
        """Take a run that was just made, and write what there is so far."""
        self.results[row, seed] = facts
        self.configurations[facts["config_hash"]] = details.configuration
        for name, values in details.queries.items():
            whose = name in ("pids", "camids")
            self.queries[name if whose else f"{row}|{seed}|{name}"] = values
        self.made += 1
        self.write()

    def merge(self, path: Path) -> None:
        """Take the runs of an earlier result over; exit with a sentence if it is unlike."""
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            results, runs = old["results"], old["results"]["runs"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise refused(
                f"'{path}' is no result of methods.py ({type(error).__name__}: {error})."
            ) from None
        before = results.get("setting")
        if before is None:
            raise refused(
                f"'{path}' doesn't say which data its runs were trained on (it was written before "
                "results did), so it can't stand in one table with others. Make its runs again."
            )
        before = as_written_now(before, self.setting)
        unlike = sorted(
            key for key in {*before, *self.setting} if before.get(key) != self.setting.get(key)
        )
        if unlike:
            words = "; ".join(
                f"{key} was {before.get(key)} and is {self.setting.get(key)}" for key in unlike
            )
            raise refused(f"'{path}' can't stand in one table with these runs: {words}.")
        for seed, start in results.get("starts", {}).items():
            try:
                self.start(int(seed), start)
            except ValueError as error:
                raise refused(
                    f"'{path}' can't stand in one table with these runs: {error}"
                ) from None
        hashes: dict[str, str] = {}  # as written then → of the same options in today's keys
        for written, then in results.get("configurations", {}).items():
            options = options_as_written_now(then)
            hashes[written] = written if options == then else hash_of(options)
            self.configurations.setdefault(hashes[written], options)
        if name := results.get("per_query_ap"):
            with np.load(path.with_name(name)) as file:
                self.queries = {**file, **self.queries}
        for one in runs:
            row, seed = one["row"], one["seed"]
            then = results.get("configurations", {}).get(one.get("config_hash"))
            flags = flags_as_written_now(one["flags"], then)
            if self.rows.setdefault(row, flags) != flags:
                raise refused(
                    f"Row '{row}' of '{path}' was trained with {shlex.join(flags)}, here it "
                    f"means {shlex.join(self.rows[row])}. Give one of them another name."
                )
            facts = {k: v for k, v in one.items() if k not in ("row", "seed", "flags")}
            written = facts.get("config_hash")
            if (hash_now := hashes.get(written, written)) != written:
                facts |= {"config_hash": hash_now, "config_hash_as_written": written}
            facts.setdefault("commit", old["commit"])
            facts.setdefault("date", old["date"])
            machine = hardware_line(old["hardware"]).split("; load")[0]
            facts.setdefault("machine", machine)
            self.results.setdefault((row, seed), facts)
            if row not in self.chosen:
                self.chosen.append(row)
        self.chosen.sort(key=lambda row: [*ROWS, *CLAIM, row].index(row))  # others after those
        self.merged.append(path.name)

    def write(self) -> Path:
        """The result file, with the table beside it."""
        flat = [
            {"row": row, "seed": seed, "flags": self.rows[row], **facts}
            for (row, seed), facts in sorted(
                self.results.items(), key=lambda item: (self.chosen.index(item[0][0]), item[0][1])
            )
        ]
        beside: dict[str, Any] = {}
        if self.queries:
            file = result_path(self.name).with_suffix(".npz")
            np.savez_compressed(file, **self.queries)
            beside["per_query_ap"] = file.name
        return record(
            self.name,
            {
                "setting": self.setting,
                "starts": self.starts,
                "configurations": self.configurations,
                "runs": flat,
                "missing": self.missing,
                "merged": self.merged,
                "steps": self.setting["steps"],
                "means": self.means(),
                "differences": self.differences(),
                **beside,
            },
            table=self.lines(),
            notes=self.notes(),
        )

    def of(self, row: str) -> list[dict[str, Any]]:
        """Facts of a row's runs, with their seeds."""
        return [
            {"seed": seed, **self.results[name, seed]}
            for name, seed in sorted(self.results)
            if name == row
        ]

    def lines(self) -> list[dict[str, Any]]:
        """The table."""
        lines = []
        modes = self.setting["modes"].split(",")
        for row in self.chosen:
            if own := self.of(row):
                line = summary(row, own, modes)
                if CLAIM.keys() & {*self.chosen}:
                    against = [] if row == whole(row) else self.of(whole(row))
                    line |= less(own, against, modes)
                lines.append(line)
        return lines or [{"row": "none"}]

    def means(self) -> list[dict[str, Any]]:
        """Of each row, mean and deviation over its seeds, in percent."""
        found = []
        for row, mode, which, metric in product(
            self.chosen, self.setting["modes"].split(","), ("pooled", "embedding"), METRICS
        ):
            key = f"{mode}_{which}_{metric}"
            if values := [run[key] for run in self.of(row) if key in run]:
                deviation = statistics.stdev(values) if len(values) > 1 else None
                numbers = {"seeds": len(values), "mean": statistics.mean(values)}
                found.append({"row": row, "mode": mode, "which": which, "metric": metric,
                              **numbers, "deviation": deviation})  # fmt: skip
        return found

    def differences(self) -> list[dict[str, Any]]:
        """Of each row of the claim, how far it is from mcl under the same augmentation: mean over
        paired seeds, Student's 95 % interval and the sign-flip test's two-sided p, in points."""
        mode = self.setting["modes"].split(",")[0]
        found = []
        for row, which, metric in product(self.chosen, ("pooled", "embedding"), METRICS):
            pairs = paired(self.of(row), self.of(whole(row))) if row in CLAIM else []
            if row != whole(row) and len(pairs) > 1:
                key = f"{mode}_{which}_{metric}"
                numbers = certainty([one[key] - other[key] for one, other in pairs])
                found.append({"row": row, "which": which, "metric": metric, **numbers})
        return found

    def notes(self) -> list[str]:
        """What the table's numbers are of."""
        setting, data = self.setting, self.setting["data"]
        if data["synthetic"]:
            people = (
                f"Synthetic people, layout {data['layout']}: {data['identities']} identities, "
                f"{data['test_identities']} of them for testing, {data['images']} images of each "
                f"by each camera, preset {data['preset']}, seed {data['seed']}, generator "
                f"{data['version']}"
            )
            people += "".join(f", {key}" for key in ("masks", "without_person") if data.get(key))
        else:
            people = f"Data set {data['dataset']} in '{data['folder']}'"
        notes = [f"missing: {m}" for m in self.missing]
        start = {
            "none": "from scratch unless a row says otherwise",
            "one of each seed": "all rows of a seed from one start, another one for each seed "
            "(start.py)",
        }.get(setting["start"], f"from {setting['start']} unless a row says otherwise")
        notes += [
            f"{people}.",
            f"Network {setting['arch']}, {start}, "
            f"{setting['steps']} steps; Rank-1 / mAP in %, infrared to visible, "
            "single-shot, seeded draw, 10 trials, no re-ranking, no test-time "
            f"augmentation; {setting['part']} identities; epoch: {chosen_by(self.results)}.",
        ]
        if setting["config"]:
            notes.append(f"Options of every run: {json.dumps(setting['config'])}.")
        if CLAIM.keys() & {*self.chosen}:
            notes.append(
                "'less mcl': the row less mcl under the same augmentation, paired by seed: mean ± "
                "deviation of the differences, in points. The claim is judged on the embedding."
            )
            notes += self.notes_on_the_claim()
        if self.merged:
            commits = sorted({str(f["commit"]) for f in self.results.values() if "commit" in f})
            machines = sorted({str(f["machine"]) for f in self.results.values() if "machine" in f})
            notes.append(
                f"Taken over from {', '.join(self.merged)} (commits {', '.join(commits)}; "
                f"machines: {' | '.join(machines)}); the column s compares only runs of one "
                "machine."
            )
        return notes

    def notes_on_the_claim(self) -> list[str]:
        """How many whole seeds there are under each augmentation, and the differences of those
        rows that have all of them."""
        notes = []
        for word in dict.fromkeys(whole(row) for row, _ in self.results if row in CLAIM):
            rows = {row for row, _ in self.results if row in CLAIM and whole(row) == word}
            seeds = {seed for _, seed in self.results}
            made = sum(all((row, seed) in self.results for row in rows) for seed in seeds)
            word = word.removeprefix("mcl (").removesuffix(")")
            if made < SEEDS:
                notes.append(
                    f"{word}: {made} of {SEEDS} seeds are made: a direction at most, no result. So "
                    "few seeds prove nothing about any row."
                )
        sentences: dict[str, list[str]] = {}
        for d in self.differences():
            if d["which"] == "embedding" and d["seeds"] >= SEEDS:
                interval = f"[{d['low']:+.1f}, {d['high']:+.1f}]"
                sentences.setdefault(d["row"], []).append(
                    f"{METRICS[d['metric']]} {d['mean']:+.1f}, {interval}, p = {d['p']:.2g}, lower "
                    f"in {d['lower']} of {d['seeds']} seeds"
                )
        notes += [f"{row} less mcl, embedding: {'; '.join(s)}." for row, s in sentences.items()]
        if sentences:
            notes.append(
                "In brackets: 95 % interval of Student's t over paired seeds; p: of the two-sided "
                f"sign-flip test, which can't be below {2 / 2**SEEDS:.3f} with {SEEDS} seeds; not "
                "corrected for the number of rows."
            )
        return notes


def write_table_again(path: Path) -> None:
    """A result's table and notes once more, from its runs; everything else stays."""
    result = json.loads(path.read_text(encoding="utf-8"))
    results = result["results"]
    rows = {run["row"]: run["flags"] for run in results["runs"]}
    table = Table(result["name"], results["setting"], [*rows], rows)
    for run in results["runs"]:
        table.results[run["row"], run["seed"]] = run
    table.missing, table.merged = results["missing"], results["merged"]
    results |= {"means": table.means(), "differences": table.differences()}
    kept = [note for note in result["notes"] if note.startswith(BUSY)]
    write_result(path, {**result, "notes": table.notes() + kept}, table.lines())


def chosen_by(results: dict[tuple[str, int], dict[str, Any]]) -> str:
    """How the runs chose their epochs, without each run's own number."""
    words = {str(facts["epoch_choice"]).split(" (")[0] for facts in results.values()}
    return "; ".join(sorted(words)) or "none"


class Details(NamedTuple):
    """What is kept of a run once for all, or beside the table: the options that it was trained
    with, and arrays on its queries by the embedding's name."""

    configuration: dict[str, Any]
    queries: dict[str, np.ndarray]


def start_of(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The start of a seed: its file's hash, and what start.py wrote beside it.

    Raises:
        ValueError: each seed has its own, and this one's isn't there.
    """
    file = Path(args.pretrained.format(seed=seed))
    if not file.is_file():
        if "{seed}" in args.pretrained:
            raise ValueError(f"there is no start '{file}'; start.py makes it")
        return {"start": args.pretrained}
    facts = {"start_hash": hashlib.sha256(file.read_bytes()).hexdigest()}
    beside = file.with_suffix(".json")
    return facts | (json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {})


def run(
    flags: list[str], seed: int, gpu: int | None, args: argparse.Namespace, stop: threading.Event
) -> tuple[dict[str, Any], Details]:
    """Train and test one row; its numbers in percent, what the training cost, and details."""
    name = "-".join([*[f.lstrip("-") for f in flags], f"seed{seed}"]).replace("/", "_")
    folder = Path(args.runs) / name
    where = ["--gpu", "0"] if gpu is not None else ["--device", "cpu"]
    command = [sys.executable, "-m", "vireid"]
    train = [
        *command,
        "train",
        "--dataset",
        args.dataset,
        "--data-root",
        args.data,
        "--arch",
        args.arch,
        "--pretrained",
        args.pretrained.format(seed=seed),
        *(["--config", str(args.config)] if args.config else ["--max-steps", str(args.steps)]),
        "--seed",
        str(seed),
        "--run",
        str(folder),
        *(["--select", "held-out"] if args.part == "val" else []),  # before flags that choose too
        *flags,
        *shlex.split(args.extra),
        *where,
    ]
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun, told = folder / "config.json", folder.parent / f"{name}.command"
    if begun.is_file():
        if not told.is_file() or told.read_text(encoding="utf-8") != shlex.join(train):
            raise ValueError(
                f"'{folder}' holds a run of another command; name other --runs or remove it."
            )
        train = [*command, "train", "--resume", str(folder), *where]
    else:
        told.write_text(shlex.join(train), encoding="utf-8")
    log = folder.parent / f"{name}.log"
    began = time.monotonic()
    if not finished(folder):
        call(train, log, gpu, stop)
    facts: dict[str, Any] = {
        "seconds": round(time.monotonic() - began, 1),
        "gpu": gpu_name(gpu),
        **training_facts(folder),
    }
    if "start_hash" in (start := start_of(seed, args)):
        facts["start_hash"] = start["start_hash"]
    chosen = configuration(folder)
    facts["config_hash"] = hash_of(chosen)
    queries: dict[str, np.ndarray] = {}
    for mode in args.modes.split(","):
        out = folder / "test" / f"{args.part}-{mode}"
        test = ["test", "--resume", str(folder), "--data-root", args.data, "--mode", mode,
                "--part", args.part, "--out", str(out), "--figure-queries", "0"]  # fmt: skip
        call([*command, *test, *where], log, gpu, stop)
        report = Report.load(out / "report.json")
        facts["epoch"] = report.protocol.epoch
        facts["epoch_choice"] = report.protocol.epoch_choice
        for which, numbers in report.raw.items():
            for metric in ("rank1", "mean_ap"):
                value = numbers[metric]["mean"]
                facts[f"{mode}_{which}_{metric}"] = round(100 * value, 2)
        queries = queries or of_queries(report)
    return facts, Details(chosen, queries)


def of_queries(report: Report) -> dict[str, np.ndarray]:
    """The average precision of each query, by embedding, with its identity and camera."""
    table = report.queries
    found = {name: table[name].astype(np.int16) for name in ("pids", "camids")}
    return found | {which: table[f"{which}.mean_ap"].astype(np.float16) for which in report.raw}


def configuration(folder: Path) -> dict[str, Any]:
    """What decided a run's numbers beside its seed, its start and its data."""
    return without_places(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def without_places(options: dict[str, Any]) -> dict[str, Any]:
    """The options that decide numbers, without the seed."""
    from vireid.training.record import decisive

    return {name: value for name, value in decisive(options).items() if name != "seed"}


def finished(folder: Path) -> bool:
    """Whether the run reached its end."""
    return all((folder / name).is_file() for name in ("summary.json", "weights.safetensors"))


def gpu_name(gpu: int | None) -> str:
    """What the run computed on."""
    names = hardware()["gpus"]
    return names[0] if gpu is not None and names else "CPU"


def training_facts(folder: Path) -> dict[str, Any]:
    summary = folder / "summary.json"
    if not summary.is_file():
        return {}
    facts = json.loads(summary.read_text(encoding="utf-8"))
    named = {
        "images_per_second": "images_per_second",
        "peak_gpu_bytes": "peak_gpu_bytes",
        "seconds": "seconds_training",  # of all starts; this call may only have ended the run
    }
    return {ours: facts[key] for key, ours in named.items() if key in facts}


def summary(row: str, runs: list[dict[str, Any]], modes: list[str]) -> dict[str, Any]:
    """One line of the table: mean ± deviation over the seeds."""
    line: dict[str, Any] = {"row": row, "seeds": len(runs)}
    for mode in modes:
        for which in ("pooled", "embedding", "part"):
            key = f"{mode}_{which}"
            if f"{key}_rank1" not in runs[0]:
                if which != "part":
                    line[f"{mode} {which} R1 / mAP"] = ""
                continue
            line[f"{mode} {which} R1 / mAP"] = " / ".join(
                spread([r[f"{key}_{metric}"] for r in runs]) for metric in ("rank1", "mean_ap")
            )
    line["s"] = round(statistics.mean(r.get("seconds_training", r["seconds"]) for r in runs))
    return line


def whole(row: str) -> str:
    """The row that a row of the claim is compared with: mcl under the same augmentation."""
    return f"mcl ({row.rsplit(' (', 1)[-1]}"


def paired(
    runs: list[dict[str, Any]], others: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Runs of two rows with the same seed."""
    by_seed = {other["seed"]: other for other in others}
    return [(run, by_seed[run["seed"]]) for run in runs if run["seed"] in by_seed]


def certainty(values: list[float]) -> dict[str, Any]:
    """Mean of paired differences, Student's 95 % interval of it, and the sign-flip test's p."""
    from vireid.evaluation.significance import sign_flip, t_interval

    return {
        "seeds": len(values),
        **t_interval(values)._asdict(),
        "p": sign_flip(values),
        "lower": sum(value < 0 for value in values),
    }


def less(
    runs: list[dict[str, Any]], others: list[dict[str, Any]], modes: list[str]
) -> dict[str, Any]:
    """Columns of the differences to the runs of another row with the same seeds."""
    pairs, columns = paired(runs, others), {}
    for mode in modes:
        for which in ("pooled", "embedding"):
            keys = [f"{mode}_{which}_{metric}" for metric in METRICS]
            columns[f"{mode} {which} less mcl"] = " / ".join(
                spread([one[key] - other[key] for one, other in pairs]) for key in keys if pairs
            )
    return columns


def spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
