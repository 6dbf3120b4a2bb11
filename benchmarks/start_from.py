"""What the network in the package is worth as a start, beside ImageNet's weights and none.

    python benchmarks/start_from.py --imagenet .whl/mobilenetv2.pth --work DIR [--seeds 0,1,2,3,4,5]

Rows train `agw` by the recipe `scratch` for 1,500 steps on 72 people and are tested on 100 others.
All have the network of `--weights synth` and differ in what they start from; one from it has the
recipe `finetune`, which is `scratch` with AdamW, a low rate and a short warm-up. These people are
of the kind that `synth` was trained on, though none of them; so its own numbers, without any
training here, stand beside them. runs-to-make.md says how to get ImageNet's weights of that
network. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import record
from _runs import spread
from methods import percent

from vireid.evaluation import Report
from vireid.evaluation.difference import Difference
from vireid.runtime.jobs import devices
from vireid.sweep import Sweep, read_sweep
from vireid.sweep_run import run_sweep

PEOPLE = {"identities": 172, "test-identities": 100, "images": 6, "seed": 501}
BASE: dict[str, Any] = {"method": "agw", "recipe": "scratch", "arch": "mobilenetv2_100",
                        "epochs": 15, "steps_per_epoch": 100}  # fmt: skip
SYNTH, TUNED, IMAGENET, NOTHING = "synth", "synth, AdamW", "ImageNet", "nothing"
ROWS: dict[str, dict[str, Any]] = {
    NOTHING: {"pretrained": "none"},
    IMAGENET: {},  # the file of --imagenet
    SYNTH: {"pretrained": "synth"},
    TUNED: {"pretrained": "synth", "recipe": "finetune"},
}
PAIRS = [(SYNTH, IMAGENET), (TUNED, IMAGENET), (TUNED, SYNTH), (IMAGENET, NOTHING)]
UNTRAINED = "synth, not trained here"


def main(words: Sequence[str] | None = None) -> int:
    args = arguments(words)
    args.work.mkdir(parents=True, exist_ok=True)
    folder = args.work.absolute() / "people"
    people = [word for name in PEOPLE for word in (f"--{name}", getattr(args, name))]
    vireid("synthesize", "--out", folder, *people)
    sweep = written(args, folder)
    own = args.work / "untrained"
    vireid("test", "--resume", "synth", "--data-root", folder, "--mode", "all", "--out", own)
    untrained = percent(Report.load(own / "report.json"))
    run_sweep(
        sweep,
        devices() * args.jobs_per_gpu,
        tell=lambda sentence: print(sentence, flush=True),
        after=lambda job: write(sweep, untrained, args),
        tables=False,
    )
    path = write(sweep, untrained, args)
    print(path.with_suffix(".md").read_text(encoding="utf-8"))
    return 0 if all(job.state == "done" for job in sweep.jobs) else 1


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--imagenet", type=Path, required=True, help="weights of the same network")
    parser.add_argument("--work", type=Path, required=True, help="for people and runs")
    parser.add_argument("--seeds", default="0,1,2,3,4,5")
    parser.add_argument("--jobs-per-gpu", type=int, default=3)
    parser.add_argument("--options", type=json.loads, default={}, help="others than BASE, as JSON")
    for name, value in PEOPLE.items():
        parser.add_argument(f"--{name}", dest=name, type=int, default=value)
    return parser.parse_args(words)


def vireid(*words: Any) -> None:
    subprocess.run([sys.executable, "-m", "vireid", *map(str, words)], check=True)


def written(args: argparse.Namespace, people: Path) -> Sweep:
    """The experiment, as a sweep's file in the working folder."""
    rows = {**ROWS, IMAGENET: {"pretrained": str(args.imagenet.absolute())}}
    base = {**BASE, "data_root": str(people), **args.options}
    seeds = [int(seed) for seed in args.seeds.split(",")]
    whole = {"seeds": seeds, "base": base, "rows": rows, "test": {"mode": "all"}}
    file = args.work / "start-from.json"
    file.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return read_sweep(file, args.work / "runs", [])


def write(sweep: Sweep, untrained: dict[str, dict[str, float]], args: argparse.Namespace) -> Path:
    """The result: each run, and what may be said of the pairs."""
    found: dict[str, dict[int, dict[str, dict[str, float]]]] = {}
    for job in sweep.jobs:
        if job.state == "done":
            (report,) = job.reports()
            found.setdefault(job.row, {})[job.options.seed] = percent(report)
    table = [line(UNTRAINED, [untrained])]
    table += [line(row, list(of_seeds.values())) for row, of_seeds in found.items()]
    said = {}
    for row, other in PAIRS:
        both = [seed for seed in found.get(row, {}) if seed in found.get(other, {})]
        for which in ("embedding", "pooled") if both else ():
            one, two = (
                tuple(found[name][seed][which]["mean_ap"] / 100 for seed in both)
                for name in (row, other)
            )
            difference = Difference(
                embedding=which, metric="mean_ap", over="seeds", one=one, other=two
            )
            said[f"{row} minus {other}, {which}"] = difference.sentence()
    results = {
        "people": {name: getattr(args, name) for name in PEOPLE},
        "options": {**BASE, **args.options},
        "untrained": untrained,
        "runs": [{"row": row, "seed": seed, **one}
                 for row, of_seeds in found.items() for seed, one in of_seeds.items()],
        "means": {row: means([*seeds.values()]) for row, seeds in found.items()},
        "differences": said,
        "missing": [f"{job.name}: {job.state}" for job in sweep.jobs if job.state != "done"],
    }  # fmt: skip
    notes = [f"{name}: {sentence}." for name, sentence in said.items()]
    notes += [f"missing: {sentence}" for sentence in results["missing"]]
    notes.append(
        "Rank-1 / mAP in %, mean ± sample deviation over seeds; synthetic people, test identities, "
        "infrared to visible, single-shot, seeded draw, 10 trials, last epoch, no flip."
    )
    return record("start-from", results, table=table, notes=notes)


def means(seeds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Over seeds, of each embedding and metric."""
    return {which: {metric: statistics.mean(one[which][metric] for one in seeds)
                    for metric in seeds[0][which]} for which in seeds[0]}  # fmt: skip


def line(row: str, seeds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """A row of the table."""
    cells: dict[str, Any] = {"start": row, "seeds": len(seeds)}
    for which in ("embedding", "pooled"):
        values = [[one[which][metric] for one in seeds] for metric in ("rank1", "mean_ap")]
        cells[which] = " / ".join(map(spread, values))
    return cells


if __name__ == "__main__":
    sys.exit(main())
