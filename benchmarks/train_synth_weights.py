"""Train the small network that ships with the package, and score it on people it never saw.

    python benchmarks/train_synth_weights.py --work DIR [--steps 12000] [--out FILE]

The recipe is this file: 1,200 people in SYSU-MM01's layout (visible and near-infrared, seed 101)
and 600 people in RegDB's layout (visible and thermal, seed 102), put together by one table; method
`mcl`, ResNet-18, recipe `scratch`, 16 x (4 + 4) images a step. What ships is the embedding network
in half precision, as method `agw`, without its classifier (two empty classes stand in for it):
nobody trains on these identities again.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from _common import record

from vireid import weights
from vireid.methods import Sizes, method_class

NEAR_INFRARED = {
    "layout": "sysu",
    "identities": 1206,
    "test-identities": 2,
    "images": 4,
    "seed": 101,
}
THERMAL = {"layout": "regdb", "identities": 600, "test-identities": 2, "images": 4, "seed": 102}
UNSEEN = {
    "sysu": {"layout": "sysu", "identities": 66, "test-identities": 60, "images": 4, "seed": 201},
    "regdb": {"layout": "regdb", "identities": 120, "images": 5, "seed": 202},
}
SPLIT_OF_REGDB = 10_000  # added to its pids, so that no number stands for two people


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("src/vireid/shipped/resnet18.safetensors"))
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prepare-only", action="store_true", help="make the people, then stop")
    args = parser.parse_args()

    people = args.work / "people"
    make(NEAR_INFRARED, people / "near")
    make(THERMAL, people / "thermal")
    for name, flags in UNSEEN.items():
        make(flags, args.work / f"unseen-{name}")
    table = write_table(people)
    if args.prepare_only:
        return
    run = args.work / "run"
    train = [
        "train",
        "--dataset",
        "folder",
        "--data-root",
        table,
        "--method",
        "mcl",
        "--arch",
        args.arch,
        "--pretrained",
        "none",
        "--recipe",
        "scratch",
        "--pids-per-batch",
        16,
        "--images-per-pid",
        4,
        "--max-steps",
        args.steps,
        "--seed",
        args.seed,
        "--run",
        run,
    ]
    if not (run / "summary.json").is_file():
        vireid(*(["train", "--resume", run] if (run / "checkpoints").is_dir() else train))
    scores = {name: score(run, args.work / f"unseen-{name}", name) for name in UNSEEN}
    facts = {
        "trained_on": {"near-infrared": NEAR_INFRARED, "thermal": THERMAL},
        "steps": args.steps,
        "seed": args.seed,
        "arch": args.arch,
        "unseen": UNSEEN,
        "scores": scores,
    }
    ship(run, args.out, facts)
    path = record(
        "synth-weights",
        facts,
        table=[
            {
                "unseen people": name,
                "embedding": which,
                "Rank-1 %": s["rank1"],
                "mAP %": s["mean_ap"],
                "chance Rank-1 %": s["chance"],
            }
            for name, found in scores.items()
            for which, s in found.items()
        ],
        notes=["Synthetic people of other seeds than those trained on; infrared to visible."],
    )
    print(path.with_suffix(".md").read_text())


def make(flags: dict[str, Any], out: Path) -> None:
    """One folder of synthetic people, unless it is there."""
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    vireid("synthesize", "--out", out, *words)


def write_table(people: Path) -> Path:
    """Both sets as one table for `--dataset folder`."""
    rows = []
    for path in sorted((people / "near").glob("cam*/*/*.jpg")):
        camid = int(path.parent.parent.name[3:])
        rows.append(
            {
                "path": path.relative_to(people).as_posix(),
                "pid": int(path.parent.name),
                "modality": "infrared" if camid in (3, 6) else "visible",
                "camid": camid,
                "split": "train",
            }
        )
    for folder, modality, camid in (("Visible", "visible", 7), ("Thermal", "infrared", 8)):
        for path in sorted((people / "thermal" / folder).glob("*/*.bmp")):
            rows.append(
                {
                    "path": path.relative_to(people).as_posix(),
                    "pid": SPLIT_OF_REGDB + int(path.parent.name),
                    "modality": modality,
                    "camid": camid,
                    "split": "train",
                }
            )
    table = people / "table.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


def score(weights: Path, root: Path, dataset: str) -> dict[str, dict[str, float]]:
    """Numbers in percent on unseen people, infrared to visible."""
    out = weights.parent / f"report-{dataset}"
    vireid(
        "test",
        "--resume",
        weights,
        "--dataset",
        dataset,
        "--data-root",
        root,
        "--direction",
        "infrared-to-visible",
        "--out",
        out,
        "--figure-queries",
        6,
    )
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return {
        which: {
            "rank1": round(100 * report[which]["rank1"]["mean"], 2),
            "mean_ap": round(100 * report[which]["mean_ap"]["mean"], 2),
            "chance": round(100 * report["chance"]["rank1"], 2),
        }
        for which in ("pooled", "embedding")
    }


def ship(run: Path, out: Path, facts: dict[str, Any]) -> None:
    """Write the embedding network in half precision as the package's weights file."""
    trained, known = weights.load_weights(run)
    sizes = Sizes(num_pids=2)
    small = method_class("agw")(
        method_class("agw").model_defaults(trained.model_options.arch, "none"), sizes
    )
    state = small.state_dict()
    for name, value in trained.model.state_dict().items():
        if not name.startswith("classifier"):
            state[f"model.{name}"] = value
    state["model.classifier.weight"].zero_()
    small.load_state_dict(state)
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in weights.portable(small).items()
    }
    metadata = weights.method_metadata("agw", small.model_options, sizes, {}) | {
        key: known[key] for key in ("size", "epoch", "chosen", "seed", "versions", "commit")
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save_weights(
        out,
        half,
        metadata
        | {
            "default_embedding": "pooled",
            "dataset": "synthetic people",
            "trained_as": "mcl",
            "recipe": "scratch",
            **facts,
        },
    )
    print(f"Wrote {out}, {out.stat().st_size / 1e6:.1f} MB")


def vireid(*words: Any) -> None:
    subprocess.run([sys.executable, "-m", "vireid", *map(str, words)], check=True)


if __name__ == "__main__":
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    main()
