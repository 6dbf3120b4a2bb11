"""The demo: how long it takes on this machine, and what its training changes, by the people's seed.

    python benchmarks/demo.py [--seeds 2026,1,2,3,4,5] [--device cpu]

Each seed has other people and is a demo of its own, as `vireid demo --seed SEED` runs it. The
network in the package has seen none of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from _common import record

from vireid.commands.demo import run_demo
from vireid.evaluation.significance import FEWEST_PAIRS, sign_flip, t_interval


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="2026,1,2,3,4,5")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in map(int, args.seeds.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            found = run_demo(Path(folder) / "demo", device=args.device, seed=seed)
        minutes = round(found.pop("seconds") / 60, 1)
        rows.append({"seed": seed, "minutes": minutes,
                     **{name: round(100 * value, 1) for name, value in found.items()}})  # fmt: skip
        print(rows[-1], flush=True)
        write(rows)


def write(rows: list[dict[str, Any]]) -> None:
    """The result so far."""
    results: dict[str, Any] = {"rows": rows}
    results["minutes"] = statistics.median(row["minutes"] for row in rows)
    notes = [f"Median {results['minutes']} minutes. Rank-1 and mAP in %, synthetic people."]
    for metric in ("rank1", "mean_ap"):
        gains = [row[f"after_{metric}"] - row[f"before_{metric}"] for row in rows]
        results[f"{metric}_gain"] = statistics.mean(gains)
        words = f"{metric}: after minus before {statistics.mean(gains):+.1f}"
        if len(gains) >= FEWEST_PAIRS:
            _, low, high = t_interval(gains)
            words += f" [{low:+.1f}, {high:+.1f}], p = {sign_flip(gains):.2g}"
        notes.append(f"{words}; higher in {sum(g > 0 for g in gains)} of {len(gains)}.")
    record("demo", results, table=rows, notes=notes)


if __name__ == "__main__":
    main()
