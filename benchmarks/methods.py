"""Train and test methods side by side, one run per GPU, and write one table.

Each row of ROWS is a set of flags for `vireid train`; every run is trained and tested by the
project's own commands and fits whole within one call of this script:

    python benchmarks/methods.py --data DIR --rows base,agw,ddag,mcl --seeds 0 --steps 8000

A run that would not end before --deadline seconds is not started, and is listed as missing.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shlex
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from _common import record

ROWS: dict[str, list[str]] = {
    "base": ["--method", "base"],
    "agw": ["--method", "agw"],
    "agw + confusion": ["--method", "mcl", "--no-identity-centers", "--no-camera-centers"],
    "agw + identity centers": ["--method", "mcl", "--no-confusion", "--no-camera-centers"],
    "agw + camera centers": ["--method", "mcl", "--no-confusion", "--no-identity-centers"],
    "mcl": ["--method", "mcl"],
    "mcl, frozen centers": ["--method", "mcl", "--centers", "frozen"],
    "mcl, published triplet": ["--method", "mcl", "--triplet", "published"],
    "mcl, as published": ["--method", "mcl", "--centers", "frozen", "--triplet", "published"],
    "ddag": ["--method", "ddag"],
    "best": ["--method", "mcl", "--recipe", "best"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--dataset", default="sysu")
    parser.add_argument("--rows", default="base,agw,ddag,mcl", help="comma-separated, or 'all'")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=8000)
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
    args = parser.parse_args()

    extra = dict(item.split("=", 1) for item in args.extra_row)
    rows = {**ROWS, **{name: shlex.split(flags) for name, flags in extra.items()}}
    chosen = (
        [*ROWS] if args.rows == "all" else [r.strip() for r in args.rows.split(",") if r.strip()]
    )
    chosen += extra
    seeds = [int(s) for s in args.seeds.split(",")]
    work: queue.Queue[tuple[str, int]] = queue.Queue()
    for seed in seeds:
        for row in chosen:
            work.put((row, seed))
    began = time.monotonic()
    results: dict[tuple[str, int], dict[str, Any]] = {}
    missing: list[str] = []
    longest = [args.estimate]

    def worker(gpu: int | None) -> None:
        while True:
            try:
                row, seed = work.get_nowait()
            except queue.Empty:
                return
            if time.monotonic() - began + 1.05 * longest[0] > args.deadline:
                missing.append(f"{row}, seed {seed}")
                continue
            start = time.monotonic()
            try:
                results[row, seed] = run(rows[row], seed, gpu, args)
                longest[0] = max(longest[0] if results else 0, time.monotonic() - start)
            except subprocess.CalledProcessError as error:
                missing.append(f"{row}, seed {seed}: {error}")
            print(
                f"{time.monotonic() - began:6.0f} s  {row}, seed {seed}: "
                f"{results.get((row, seed), 'FAILED')}",
                flush=True,
            )

    threads = [
        threading.Thread(target=worker, args=(gpu,))
        for gpu in devices()
        for _ in range(args.jobs_per_gpu)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = [
        summary(row, [results[row, s] for s in seeds if (row, s) in results])
        for row in chosen
        if any((row, s) in results for s in seeds)
    ]
    flat = [
        {"row": row, "seed": seed, "flags": rows[row], **facts}
        for (row, seed), facts in results.items()
    ]
    path = record(
        args.name,
        {"runs": flat, "missing": missing, "steps": args.steps},
        table=table or [{"row": "none"}],
        notes=[f"missing: {m}" for m in missing]
        + [
            "Synthetic people; Rank-1 / mAP in %, infrared to visible, single-shot, "
            "seeded draw, 10 trials, no re-ranking, no test-time augmentation; "
            f"{args.part} identities; {args.steps} steps; epoch: {chosen_by(results)}."
        ],
    )
    print(path.with_suffix(".md").read_text())
    sys.exit(1 if missing else 0)


def chosen_by(results: dict[tuple[str, int], dict[str, Any]]) -> str:
    """How the runs chose their epochs, without each run's own number."""
    words = {str(facts["epoch_choice"]).split(" (")[0] for facts in results.values()}
    return "; ".join(sorted(words)) or "none"


def devices() -> list[int | None]:
    """Numbers of the GPUs that this process may use, as the driver counts them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return [int(number) for number in named.split(",")]
    return list(range(torch.cuda.device_count())) or [None]


def run(flags: list[str], seed: int, gpu: int | None, args: argparse.Namespace) -> dict[str, Any]:
    """Train and test one row; its numbers in percent, and what the training cost."""
    name = "-".join([*[f.lstrip("-") for f in flags], f"seed{seed}"]).replace("/", "_")
    folder = Path(args.runs) / name
    where = ["--gpu", "0"] if gpu is not None else ["--device", "cpu"]
    environment = (
        {**os.environ} if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": str(gpu)}
    )
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
        "none",
        "--max-steps",
        str(args.steps),
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
    with open(folder.parent / f"{name}.log", "w", encoding="utf-8") as log:
        began = time.monotonic()
        if not (folder / "weights.safetensors").is_file() or not finished(folder):
            subprocess.run(train, check=True, stdout=log, stderr=log, env=environment)
        seconds = time.monotonic() - began
        facts: dict[str, Any] = {"seconds": round(seconds, 1), **training_facts(folder)}
        for mode in args.modes.split(","):
            out = folder / "test" / f"{args.part}-{mode}"
            subprocess.run(
                [
                    *command,
                    "test",
                    "--resume",
                    str(folder),
                    "--data-root",
                    args.data,
                    "--mode",
                    mode,
                    "--part",
                    args.part,
                    "--out",
                    str(out),
                    *where,
                ],
                check=True,
                stdout=log,
                stderr=log,
                env=environment,
            )
            report = json.loads((out / "report.json").read_text(encoding="utf-8"))
            facts["epoch"] = report["protocol"]["epoch"]
            facts["epoch_choice"] = report["protocol"]["epoch_choice"]
            for which in ("pooled", "embedding", "part"):
                if which in report:
                    for metric in ("rank1", "mean_ap"):
                        value = report[which][metric]["mean"]
                        facts[f"{mode}_{which}_{metric}"] = round(100 * value, 2)
    return facts


def finished(folder: Path) -> bool:
    """Whether the run's summary says that it reached its end."""
    return (folder / "summary.json").is_file()


def training_facts(folder: Path) -> dict[str, Any]:
    summary = folder / "summary.json"
    if not summary.is_file():
        return {}
    facts = json.loads(summary.read_text(encoding="utf-8"))
    return {
        key: facts[key]
        for key in ("images_per_second", "peak_gpu_bytes", "seconds_training")
        if key in facts
    }


def summary(row: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One line of the table: mean ± deviation over the seeds."""
    line: dict[str, Any] = {"row": row, "seeds": len(runs)}
    for mode in ("all", "indoor"):
        for which in ("pooled", "embedding", "part"):
            key = f"{mode}_{which}"
            if f"{key}_rank1" not in runs[0]:
                if which != "part":
                    line[f"{mode} {which} R1 / mAP"] = ""
                continue
            line[f"{mode} {which} R1 / mAP"] = " / ".join(
                spread([r[f"{key}_{metric}"] for r in runs]) for metric in ("rank1", "mean_ap")
            )
    line["s"] = round(statistics.mean(r["seconds"] for r in runs))
    return line


def spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
