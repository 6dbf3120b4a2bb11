"""From the search for `halo` to its finalists, by a rule fixed before any run.

    python benchmarks/best.py SEARCH.json --out finalists.json    the sweep of the finalists
    python benchmarks/best.py FINALISTS.json                      who won, with the time of a step

SEARCH.json is the result of sweeps/search.toml, FINALISTS.json that of the sweep which the first
call writes for methods.py; both are on validation identities.

The rule. A row's score is its mAP in the better of its embeddings, mean over seeds. Of each axis
the best value wins if its score is at least GAIN points above the centre's. The finalists are the
winners together: all, the better two thirds, the better half, the best three; and all that gain at
least LITTLE. Where a combination would take more than twice the time a step of `agw` (the product
of its rows' ratios to the centre), it loses the winner with the least gain for its time until it
doesn't. They train with the start track's whole schedule on two seeds, beside `mcl` as published,
clean and plain, whose embedding is chosen there too. The finalist with the highest score won, in
the embedding that it has it in: it is `halo` now. sweeps/halo.toml takes each of its parts away, on
test identities, beside `agw` and the three of `mcl`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _runs import EMBEDDINGS, Runs, Unlike, load

from vireid.config import read_plain

SEARCH = Path(__file__).parent / "sweeps" / "search.toml"
CENTRE, REFERENCE = "centre", "agw"
GAIN, LITTLE, MOST_TIME = 1.0, 0.3, 2.0
OF_RUNS = ("config", "arch", "recipe", "select")  # of the search's base; the rest is the centre's
RIVALS: dict[str, dict[str, Any]] = {
    "mcl (published)": {"recipe": "published", "precision": "auto"},
    "mcl (erasing)": {},
    "mcl (plain)": {"augment": "plain"},
}


def of_embeddings(runs: Runs, row: str) -> dict[str, float]:
    """mAP by embedding, mean over seeds; of the averaged weights where there are some."""
    found = [runs.found[row, seed] for seed in runs.seeds(row)]
    return {
        which: statistics.mean(
            run["averaged"][f"{which}_mean_ap"]
            if "averaged" in run
            else run[f"{runs.scope}_{which}_mean_ap"]
            for run in found
        )
        for which in EMBEDDINGS
    }


def score(runs: Runs, row: str) -> float:
    return max(of_embeddings(runs, row).values())


def step_ms(runs: Runs, row: str) -> float:
    """Milliseconds a step: rows of a batch by rows a second, mean over seeds."""
    values = []
    for seed in runs.seeds(row):
        run = runs.found[row, seed]
        recipe = runs.configurations[run["config_hash"]]["recipe"]
        views = 2 if recipe["augment"].get("second_view") else 1
        batch = (views + 1) * recipe["pids_per_batch"] * recipe["images_per_pid"]
        values.append(1000 * batch / run["images_per_second"])
    return statistics.mean(values)


def winners(runs: Runs, least: float) -> list[str]:
    """The best row of each axis that gains at least so many points; the largest gain first."""
    best: dict[str, tuple[float, str]] = {}
    for row in runs.made():
        axis, value, _ = row.partition(": ")
        if value:
            best[axis] = max(best.get(axis, (0.0, "")), (score(runs, row), row))
    gains = {row: value - score(runs, CENTRE) for value, row in best.values()}
    return sorted((row for row in gains if gains[row] >= least), key=lambda row: -gains[row])


def affordable(runs: Runs, rows: Sequence[str]) -> list[str]:
    """Rows without those that make a step of all together too long."""
    rows = list(rows)
    centre, level = step_ms(runs, CENTRE), score(runs, CENTRE)
    times = {row: step_ms(runs, row) / centre for row in rows}

    def whole() -> float:
        product = centre / step_ms(runs, REFERENCE)
        for row in rows:
            product *= times[row]
        return product

    def worth(row: str) -> float:
        return (score(runs, row) - level) / max(times[row] - 1, 1e-6)

    while rows and whole() > MOST_TIME:
        slow = [row for row in rows if times[row] > 1]
        if not slow:
            break  # the centre itself is what takes the time
        rows.remove(min(slow, key=worth))
    return rows


def finalists(runs: Runs) -> dict[str, Any]:
    """The sweep of the finalists."""
    known = read_plain(SEARCH)
    won, all_won = winners(runs, GAIN), winners(runs, LITTLE)
    groups = [won, won[: -(-2 * len(won) // 3)], won[: -(-len(won) // 2)], won[:3], all_won]
    rows = {}
    for group in groups:
        chosen = affordable(runs, group)
        rows[" + ".join(chosen) or CENTRE] = combined(known, chosen)
    base = {name: known["base"][name] for name in OF_RUNS}
    return {"base": base, "rows": {**rows, **rivals()}, "test": known["test"]}


def rivals() -> dict[str, dict[str, Any]]:
    return {name: {"method": "mcl", **options} for name, options in RIVALS.items()}


def combined(known: dict[str, Any], rows: Sequence[str]) -> dict[str, Any]:
    """The options of several rows of the search together."""
    shorter = "steps_per_epoch"
    options = {k: v for k, v in known["base"].items() if k not in (*OF_RUNS, shorter)}
    for row in rows:
        options |= known["rows"][row]
    return options


def told(runs: Runs) -> str:
    """Scores and times, the best first."""
    lines = []
    for row in sorted(runs.made(), key=lambda row: -score(runs, row)):
        numbers = " ".join(f"{w} {v:5.1f}" for w, v in of_embeddings(runs, row).items())
        time = f"{step_ms(runs, row):6.2f} ms" + (
            f", {step_ms(runs, row) / step_ms(runs, REFERENCE):.2f} x agw"
            if runs.seeds(REFERENCE) else ""
        )  # fmt: skip
        lines.append(f"{numbers}  {time}  {row}")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(words)
    try:
        runs = load(args.result)
    except Unlike as error:
        print(f"best.py: {error}", file=sys.stderr)
        return 2
    print(told(runs))
    if args.out:
        sweep = finalists(runs)
        args.out.write_text(json.dumps(sweep, indent=2) + "\n", encoding="utf-8")
        print(f"{args.out}: {', '.join(sweep['rows'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
