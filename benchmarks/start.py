"""Make the start of one seed: weights that know colour and shape, but have never seen infrared.

    python benchmarks/start.py --seed S --work DIR --out STARTS/start-S.safetensors

As ImageNet weights would, it knows people only as visible cameras see them. The recipe is this
file: 2,000 people of seed 4242 + S in SYSU-MM01's layout, others for every start and other than
VIReID-Synth v1's, whose seed `vireid synthesize` refuses; of their images those of the four
visible cameras, cameras 1 and 2 called visible, 4 and 5 called infrared; method `agw` from nothing
by the recipe `scratch`, plain augmentation, 16 x (4 + 4) images a step, 6,000 steps, seed 7 + S,
deterministic. Then the infrared stem becomes a copy of the visible one.

The file's header holds nothing but what follows from this, so that equal weights are equal files.
What the making took stands in a .json file beside it, which methods.py puts into its results.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import commit, hardware_line, versions

PEOPLE_SEED, TRAINING_SEED = 4242, 7  # plus the seed of the start
CALLED = {1: "visible", 2: "visible", 4: "infrared", 5: "infrared"}  # the visible cameras
KEPT = ("method", "model", "sizes", "method_options", "size", "recipe", "epoch", "chosen", "seed")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True, help="for the people and the run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people-only", action="store_true", help="make the people, then stop")
    parser.add_argument("--workers", type=int, help="processes that render (one a core)")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--identities", type=int, default=2000)
    parser.add_argument("--images", type=int, default=4, help="of each person by each camera")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--run", default="run", help="name of the run's folder in --work")
    parser.add_argument("--extra", default="--deterministic", help="more flags for the training")
    return parser.parse_args(words)


def main() -> None:
    args = arguments()
    beside = args.out.with_suffix(".json")
    if beside.is_file():
        return print(f"'{args.out}' is there.")
    people = {
        "layout": "sysu",
        "identities": args.identities,
        "test-identities": 2,
        "images": args.images,
        "seed": PEOPLE_SEED + args.seed,
    }
    folder = args.work / f"people-{args.seed}"
    words = [word for name, value in people.items() for word in (f"--{name}", value)]
    vireid("synthesize", "--out", folder, *words, *workers(args.workers))
    table = write_table(folder)
    vireid("prepare", "--dataset", "folder", "--data-root", table, *workers(args.workers))
    if args.people_only:
        return
    run, began = args.work / args.run, time.monotonic()
    vireid("train", "--dataset", "folder", "--data-root", table, "--method", "agw",
           "--arch", args.arch, "--pretrained", "none", "--recipe", "scratch",
           "--augment", "plain", "--pids-per-batch", 16, "--images-per-pid", 4,
           "--max-steps", args.steps, "--seed", TRAINING_SEED + args.seed, "--run", run,
           *args.extra.split())  # fmt: skip
    seconds = round(time.monotonic() - began, 1)
    copy_stem(run, args.out, people)
    last = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    facts = {
        "start_hash": hashlib.sha256(args.out.read_bytes()).hexdigest(),
        "people": people,
        "flags": args.extra,
        "steps": args.steps,
        "last_losses": json.loads(last)["losses"],
        "engine": summary["engine"],
        "seconds": seconds,
        "seconds_training": summary["seconds"],
        "machine": hardware_line(),
        "versions": versions(),
        "commit": commit(),
    }
    beside.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=2))


def workers(number: int | None) -> list[Any]:
    """The flag of a command that runs several processes."""
    return ["--workers", number] if number else []


def write_table(folder: Path) -> Path:
    """The table of the visible cameras' images, unless it is there."""
    table = folder / "visible-cameras.csv"
    if not table.is_file():
        with open(table, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "pid", "modality", "camid", "split"])
            for camid, modality in CALLED.items():
                for path in sorted(folder.glob(f"cam{camid}/*/*.jpg")):
                    place = path.relative_to(folder).as_posix()
                    writer.writerow([place, int(path.parent.name), modality, camid, "train"])
    return table


def copy_stem(run: Path, out: Path, people: dict[str, Any]) -> None:
    """Write the run's weights with the visible stem in the place of the infrared one too."""
    from vireid import weights

    tensors, known = weights.read_weights(run)
    for name in tensors:
        if ".stem_infrared." in name:
            tensors[name] = tensors[name.replace(".stem_infrared.", ".stem_visible.")].clone()
    metadata = {key: known[key] for key in KEPT}
    metadata["method_options"] = {}  # agw's defaults, as the first starts' headers say them
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save_weights(out, tensors, metadata | {"trained_on": {"visible cameras": people}})


def vireid(*words: Any) -> None:
    subprocess.run([sys.executable, "-m", "vireid", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
