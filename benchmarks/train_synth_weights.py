"""Train candidates for the network in the package, and judge them on people that none of them saw.

    python benchmarks/train_synth_weights.py --work DIR --lite2 FILE --mobilenetv2 FILE
    python benchmarks/train_synth_weights.py --work DIR --judge FILE FILE … [--name NAME]

The recipe is this file and sweeps/shipped.toml: 1,206 people in SYSU-MM01's layout (visible and
near-infrared, seed 101) and 600 people in RegDB's layout (visible and thermal, seed 102), put
together by one table. Each candidate is tested on four sets of other people: near-infrared,
thermal, the preset `hard`, and the first of these as other cameras would have taken it, a look
that no training image has. Beside that stand the size of the file that would ship and the time of
an image on two CPU cores.

With --judge weights files are tested the same way, and nothing is trained: on a quiet machine for
the times, and to put a network of before beside those of today.

DIR/shipped has each candidate as it would ship; the chosen one is copied into the package. That is
the embedding network in half precision without its classifier (two empty classes stand in for it):
nobody trains on these identities again. Where it is a plain two-stream network it
ships as method `agw`, else as the method that it is of.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _common import record

from vireid import load, weights
from vireid.config import read_plain
from vireid.data import load_dataset, prepare
from vireid.data.content import data_hash
from vireid.data.protocol import ProtocolOptions
from vireid.evaluation import Report
from vireid.files import csv_text, write_text
from vireid.methods import Sizes, method_class
from vireid.models import TwoStream
from vireid.runtime.jobs import devices
from vireid.sweep import Job, read_sweep
from vireid.sweep_run import run_sweep
from vireid.synthetic import write_as_other_cameras
from vireid.testing import run_protocol

CANDIDATES = Path(__file__).parent / "sweeps" / "shipped.toml"
NEAR_INFRARED = {"layout": "sysu", "identities": 1206, "test-identities": 2, "images": 4,
                 "seed": 101}  # fmt: skip
THERMAL = {"layout": "regdb", "identities": 600, "test-identities": 2, "images": 4, "seed": 102}
_SIXTY = {"layout": "sysu", "identities": 66, "test-identities": 60, "images": 4}
UNSEEN: dict[str, dict[str, Any]] = {
    "near-infrared": {**_SIXTY, "seed": 201},
    "thermal": {"layout": "regdb", "identities": 120, "images": 5, "seed": 202},
    "hard": {**_SIXTY, "preset": "hard", "seed": 203},
}
LOOK = "another look"  # of the first of them
SPLIT_OF_REGDB = 10_000  # added to its pids, so that no number stands for two people
MOST_BYTES = 12e6
TIMED, ROUNDS = 64, 9  # images, and how often


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--candidates", type=Path, default=CANDIDATES)
    parser.add_argument("--rows", help="of the candidates, separated by commas (default: all)")
    parser.add_argument("--lite2", default="", help="ImageNet weights of tf_efficientnet_lite2")
    parser.add_argument("--mobilenetv2", default="", help="ImageNet weights of mobilenetv2_100")
    parser.add_argument("--deadline", type=float, default=float("inf"))
    parser.add_argument("--jobs-per-gpu", type=int, default=1)
    parser.add_argument("--people", type=float, default=1.0, help="share of the people, to try it")
    parser.add_argument("--prepare-only", action="store_true", help="make the people, then stop")
    parser.add_argument("--judge", nargs="+", metavar="FILE", help="test these, train nothing")
    parser.add_argument("--name", default="synth-weights", help="of the result")
    args = parser.parse_args(words)
    args.sweep = candidates(parser, args)  # before the people, which take minutes
    return args


def main(words: Sequence[str] | None = None) -> int:
    args = arguments(words)
    plain = args.sweep
    rows: list[dict[str, Any]] = []
    sets = make_unseen(args.work, args.people)
    if args.judge:
        times = in_turns(args.judge, sets["near-infrared"][1])
        for file in args.judge:
            rows.append(tested(file, sets, times[file]))
            write(rows, args.name, {})
        return 0
    make_people(args.work, args.people)
    if args.prepare_only:
        prepare(load_dataset("folder", args.work / "people" / "table.csv"))
        for layout, folder in sets.values():
            prepare(load_dataset(layout, folder))
        return 0
    plain["test"] = [
        {"dataset": layout, "data_root": str(folder), "direction": "infrared-to-visible"}
        for layout, folder in sets.values()
    ]
    file = args.work / f"{args.name}.sweep.json"
    file.write_text(json.dumps(plain), encoding="utf-8")
    sweep = read_sweep(file, args.work / args.name)
    hashes = {data_hash(load_dataset(layout, folder)): name
              for name, (layout, folder) in sets.items()}  # fmt: skip

    def after(job: Job) -> None:
        if job.state == "done":
            rows.append(judged(job, hashes, sets["near-infrared"][1], args.work))
            write(rows, args.name, {"sweep": plain})

    gpus = devices() * args.jobs_per_gpu
    run_sweep(sweep, gpus, deadline=args.deadline, after=after, tables=False)
    left = [job for job in sweep.jobs if job.state != "done"]
    for job in left:
        print(f"missing: {job.name}: {job.state}", flush=True)
    return 1 if left else 0


def candidates(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, Any]:
    """The sweep of those that are asked for, or whose first weights are given."""
    plain = read_plain(args.candidates)
    plain["base"]["data_root"] = str(args.work / "people" / "table.csv")
    for row in plain["rows"].values():
        starts = {"{lite2}": args.lite2, "{mobilenetv2}": args.mobilenetv2}
        row["pretrained"] = starts.get(row["pretrained"], row["pretrained"])
    known = {name: row for name, row in plain["rows"].items() if row["pretrained"]}
    asked = args.rows.split(",") if args.rows else [*known]
    if unknown := [name for name in asked if name not in plain["rows"]]:
        parser.error(f"no candidate {', '.join(unknown)}; there are {', '.join(plain['rows'])}.")
    if without := [name for name in asked if name not in known]:
        parser.error(f"the first weights of {', '.join(without)} are not given.")
    return plain | {"rows": {name: known[name] for name in asked}}


# People -----------------------------------------------------------------------------------------


def make_people(work: Path, share: float) -> None:
    """Those to train on, unless they are there: after --prepare-only, several calls at once."""
    people = work / "people"
    if (people / "table.csv").is_file():
        return
    for flags, folder in ((NEAR_INFRARED, "near"), (THERMAL, "thermal")):
        synthesize(flags, people / folder, share)
    write_table(people)


def make_unseen(work: Path, share: float) -> dict[str, tuple[str, Path]]:
    """Those to test on, unless they are there; name → layout and folder."""
    found = {}
    for name, flags in UNSEEN.items():
        synthesize(flags, work / f"unseen-{name}", share)
        found[name] = (flags["layout"], work / f"unseen-{name}")
    if not (work / "unseen-look").is_dir():
        write_as_other_cameras(found["near-infrared"][1], work / "unseen-look")
    return {**found, LOOK: ("sysu", work / "unseen-look")}


def synthesize(flags: dict[str, Any], out: Path, share: float) -> None:
    few = {
        name: max(4, round(share * value)) if share < 1 and "identities" in name else value
        for name, value in flags.items()
    }
    if share < 1 and "test-identities" in few:
        few["identities"] = few["test-identities"] + few["identities"]
    words = [word for name, value in few.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "vireid", "synthesize", "--out", out, *words]
    subprocess.run([*map(str, command)], check=True)


def write_table(people: Path) -> None:
    """Both sets as one table for `--dataset folder`."""
    rows = []
    for path in sorted((people / "near").glob("cam*/*/*.jpg")):
        camid = int(path.parent.parent.name[3:])
        modality = "infrared" if camid in (3, 6) else "visible"
        rows.append((path, int(path.parent.name), modality, camid))
    for folder, modality, camid in (("Visible", "visible", 7), ("Thermal", "infrared", 8)):
        for path in sorted((people / "thermal" / folder).glob("*/*.bmp")):
            rows.append((path, SPLIT_OF_REGDB + int(path.parent.name), modality, camid))
    named = [[path.relative_to(people).as_posix(), *facts, "train"] for path, *facts in rows]
    text = csv_text(["path", "pid", "modality", "camid", "split"], named)
    write_text(people / "table.csv", text)


# Judging and shipping ---------------------------------------------------------------------------


def judged(job: Job, hashes: dict[str, str], timed: Path, work: Path) -> dict[str, Any]:
    """A candidate's size, time and numbers in percent; `work`/shipped has it, with them."""
    file = work / "shipped" / f"{job.folder.name}.safetensors"
    ship(job, file)
    (ms,) = in_turns([str(file)], timed).values()
    found = {"row": job.row, **size_of(file), "ms an image": ms}
    for report in job.reports():
        name = hashes[report.protocol.data_hash or ""]
        found[name] = numbers(report)
    ship(job, file, found)
    return found


def tested(source: str, sets: dict[str, tuple[str, Path]], ms: float) -> dict[str, Any]:
    """The same of weights by their name or file."""
    embedder = load(source)
    file = weights.find_weights(source)
    found = {
        "row": file.stem if source == str(file) else source,
        **size_of(file),
        "ms an image": ms,
        "chance": {},  # Rank-1 by guessing
    }
    options = ProtocolOptions(direction="infrared_to_visible")
    for name, (layout, folder) in sets.items():
        data = load_dataset(layout, folder)
        store = prepare(data, size=embedder.size)
        with tempfile.TemporaryDirectory() as place:
            report = run_protocol(
                embedder, data, store, options, folder=Path(place), figure_queries=0
            )
        found[name] = numbers(report)
        found["chance"][name] = round(100 * report.chance["rank1"], 2)
    return found


def size_of(file: Path) -> dict[str, Any]:
    """Of a weights file."""
    size = file.stat().st_size
    return {"MB": round(size / 1e6, 1), "fits": size <= MOST_BYTES}


def numbers(report: Report) -> dict[str, dict[str, float]]:
    """By embedding, Rank-1 and mAP in percent."""
    return {
        which: {metric: round(100 * one[metric]["mean"], 2) for metric in ("rank1", "mean_ap")}
        for which, one in report.raw.items()
    }


def in_turns(sources: Sequence[str], folder: Path) -> dict[str, float]:
    """Milliseconds of an image on two cores, by source: the median of `ROUNDS`
    rounds. Each times every network once, so that other load hits all alike."""
    embedders = {source: load(source, device="cpu") for source in sources}
    data = load_dataset("sysu", folder)
    rows = data.parts["test"][:TIMED]
    times: dict[str, list[float]] = {source: [] for source in sources}
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(ROUNDS + 1):
            for source, embedder in embedders.items():
                store = prepare(data, size=embedder.size)
                began = time.perf_counter()
                embedder.embed_store(store, data, rows)
                times[source].append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return {  # without the first round, which warms up
        source: round(1000 * statistics.median(found[1:]) / len(rows), 1)
        for source, found in times.items()
    }


def write(rows: list[dict[str, Any]], name: str, more: dict[str, Any]) -> None:
    """The result so far: for each candidate its better embedding, by mAP over all sets."""
    table = []
    for row in rows:
        sets = [name for name in (*UNSEEN, LOOK) if name in row]
        which = better(row)
        cells = {name: " / ".join(f"{v:.1f}" for v in row[name][which].values()) for name in sets}
        table.append({**{k: row[k] for k in ("row", "MB", "fits", "ms an image")},
                      "embedding": which, **cells})  # fmt: skip
    record(
        name,
        {
            "trained_on": {"near-infrared": NEAR_INFRARED, "thermal": THERMAL},
            "unseen": UNSEEN,
            **more,
            "rows": rows,
        },
        table=table,
        notes=[
            "Synthetic people of other seeds than those trained on; infrared to visible, Rank-1 / "
            f"mAP in %. '{LOOK}': near-infrared, with other sensors, cuts and compression.",
            f"ms an image: on two CPU cores, from memory, the median of {ROUNDS} rounds in turns.",
        ],
    )


def better(row: dict[str, Any]) -> str:
    """The embedding with the higher mAP over all sets."""
    sets = [row[name] for name in (*UNSEEN, LOOK) if name in row]
    return max(("pooled", "embedding"), key=lambda which: sum(s[which]["mean_ap"] for s in sets))


def ship(job: Job, out: Path, scores: dict[str, Any] | None = None) -> None:
    """Write the embedding network in half precision as a weights file."""
    trained, known = weights.load_weights(job.folder)
    name = "agw" if type(trained.model) is TwoStream else trained.name
    sizes = Sizes(num_pids=2, num_cameras=2)
    options = trained.options if name == trained.name else None
    network = replace(trained.model_options, pretrained="none")
    small = method_class(name)(network, sizes, options)
    state = small.state_dict()
    for key, value in trained.model.state_dict().items():
        empty = key.startswith(("classifier", "stripe_classifiers"))
        state[f"model.{key}"] = torch.zeros_like(state[f"model.{key}"]) if empty else value
    small.load_state_dict(state)
    half = {
        key: value.half() if value.is_floating_point() else value
        for key, value in weights.portable(small).items()
    }
    metadata = weights.method_metadata(name, network, sizes, options or {}) | {
        **{key: known[key] for key in ("size", "epoch", "chosen", "seed")},
        **{key: known["record"][key] for key in ("versions", "commit")},
    }
    facts = {
        "dataset": "synthetic people",
        "trained_as": trained.name,
        "recipe": job.options.recipe.name,
        "trained_on": {"near-infrared": NEAR_INFRARED, "thermal": THERMAL},
        "arch": network.arch,
        "first_weights": "none" if job.options.model.pretrained == "none" else "imagenet",
    }
    if scores:
        sets = {name: scores[name] for name in (*UNSEEN, LOOK) if name in scores}
        facts |= {"default_embedding": better(scores), "scores": sets}
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save_weights(out, half, metadata | facts)
    print(f"Wrote {out}, {out.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
