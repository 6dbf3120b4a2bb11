"""Fill the tables of docs/leaderboard.md from result files, which are checked on the way.

    python benchmarks/leaderboard.py [--check]

A block of the page begins with `<!-- board NAME PART -->` and ends with `<!-- end -->`. NAME is a
result of methods.py without its date (the newest is taken; `NAME@PART-OF-MACHINE` chooses), PART
one of `rows`, `pairs`, `agreement`, `cross`. A result is refused unless each of its runs has the
hash of its options, the hash of its start and the average precision of each query, from which its
mAP is counted again; so are all means.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from _common import ROOT
from _runs import EMBEDDINGS, FAILED, METRICS, Runs, Unlike, load

from vireid.console import count_text
from vireid.evaluation.significance import (
    FEWEST_PAIRS,
    Agreement,
    agreement,
    deviation_parts,
    t_interval,
)

sys.path.append(str(ROOT / "tools"))
from result_numbers import NoNumber, newest

PAGE = ROOT / "docs" / "leaderboard.md"
BLOCK = re.compile(r"(<!-- board (\S+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
JUDGED = "embedding"
# Row → the method whose published number it is compared with, in the table of docs/methods.md.
PUBLISHED = {"agw": "agw", "ddag": "ddag", "mcl (published)": "mcl", "caj": "caj", "deen": "deen",
             "dns": "dns"}  # fmt: skip
LEVEL = 0.05


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def ranked(runs: Runs) -> list[str]:
    """Rows, the highest mAP of the judged embedding first."""
    means = {row: statistics.mean(runs.values(row, JUDGED, "mean_ap")) for row in runs.made()}
    return sorted(means, key=lambda row: -means[row])


def rows(runs: Runs) -> str:
    """Mean ± sample deviation of each row, the deviation in two parts where there are other rows
    with the same seeds."""
    lines = []
    for row in ranked(runs):
        alike = [name for name in runs.made() if runs.seeds(name) == runs.seeds(row)]
        cells = [f"`{row}`", str(len(runs.seeds(row)))]
        for which in EMBEDDINGS[::-1]:
            for metric in METRICS:
                values = np.array([runs.values(name, which, metric) for name in alike])
                cells.append(cell(values, alike.index(row)))
        own = [
            f"{which} " + " / ".join(mean(runs.values(row, which, m)) for m in METRICS)
            for which in runs.embeddings(row) if which not in EMBEDDINGS
        ]  # fmt: skip
        lines.append([*cells, "; ".join(own), cost(runs, row)])
    numbers = [f"{which}, {head}" for which in EMBEDDINGS[::-1] for head in METRICS.values()]
    shown = table(["row", "seeds", *numbers, "own similarity", "training"], lines)
    failed = [f"- {sentence}\n" for sentence in runs.missing if f": {FAILED}" in sentence]
    return "\n".join([shown, "".join(failed)] if failed else [shown])


def mean(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f}"


def cell(values: np.ndarray, row: int) -> str:
    """Mean ± deviation (from one start; from other starts) of a row of (rows, seeds)."""
    text = mean(values[row].tolist())
    if values.shape[1] > 1:
        text += f" ± {values[row].std(ddof=1):.1f}"
        if values.shape[0] > 1:
            part = deviation_parts(values)[row]
            text += f" ({part.same_start:.1f}; {part.other_starts:.1f})"
    return text


def cost(runs: Runs, row: str) -> str:
    """Seconds of a training run by card, and memory."""
    of_card: dict[str, list[float]] = {}
    found = [runs.found[row, seed] for seed in runs.seeds(row)]
    for run in found:
        card = str(run["gpu"]).replace("NVIDIA ", "").split(" 80GB")[0]
        of_card.setdefault(card, []).append(run["seconds_training"])
    words = [f"{statistics.mean(values):.0f} s ({card})" for card, values in of_card.items()]
    peak = max(run["peak_gpu_bytes"] or 0 for run in found) / 2**30
    return ", ".join(words) + (f"; {peak:.1f} GiB" if peak else "")


def pairs(runs: Runs) -> str:
    """Every two rows with enough seeds in common, the higher one first."""
    order = ranked(runs)
    found = []
    for number, row in enumerate(order):
        for other in order[number + 1 :]:
            both = [runs.difference(row, other, which, "mean_ap") for which in EMBEDDINGS[::-1]]
            if all(d is not None and len(d.one) >= FEWEST_PAIRS for d in both):
                found.append((row, other, both))
    count = len(order) * (len(order) - 1) // 2
    few = (
        f"{count - len(found)} of {count} pairs of rows have fewer than {FEWEST_PAIRS} seeds in "
        "common: nothing is said of them."
    )
    if not found:
        return f"{few}\n"
    lines, resolved = [], 0
    for row, other, both in found:
        cells = [f"`{row}`", f"`{other}`"]
        for d in both:
            assert d is not None and d.interval is not None
            _, low, high = (100 * value for value in d.interval)
            cells += [f"{100 * d.mean:+.1f} [{low:+.1f}, {high:+.1f}]", f"{d.p:.2g}"]
        judged = both[0]
        assert judged is not None
        people = judged.identities
        if people:
            _, low, high = (100 * value for value in people[0])
            cells.append(f"[{low:+.1f}, {high:+.1f}]")
        else:
            cells.append("")
        _, low, high = t_interval(judged.values, 1 - LEVEL / len(found))
        is_resolved = low > 0 or high < 0
        resolved += is_resolved
        lines.append([*cells, "yes" if is_resolved else "no"])
    heads = ["row", "minus", "embedding, mAP", "p", "pooled, mAP", "p", "other people", "resolved"]
    said = [f"{resolved} of {len(found)} pairs are resolved.", few if count > len(found) else ""]
    return f"{' '.join(filter(None, said))}\n\n{table(heads, lines)}"


def published() -> dict[str, float]:
    """Rank-1 of SYSU-MM01, all-search, by method, from the table of docs/methods.md."""
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(\w+)` \| ([\d.]+) / ", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


class Agrees(NamedTuple):
    """Rank-1 here (rows, seeds) beside the published one (rows,), rows as in PUBLISHED, and how
    well they agree."""

    seeds: list[int]
    here: np.ndarray
    published: list[float]
    found: Agreement


def agrees(runs: Runs) -> Agrees:
    """Kendall's τ between the rows' Rank-1 and the published one.

    Raises:
        Unlike: no seed has all rows.
    """
    lacking = [row for row in PUBLISHED if not runs.seeds(row)]
    if lacking:
        raise Unlike(f"no run of {', '.join(f'`{row}`' for row in lacking)}.")
    common = set.intersection(*(set(runs.seeds(row)) for row in PUBLISHED))
    seeds, numbers = sorted(common), published()
    if not seeds:
        raise Unlike("no seed has all six rows.")
    key = f"{runs.scope}_{JUDGED}_rank1"
    here = np.array([[runs.found[row, seed][key] for seed in seeds] for row in PUBLISHED])
    reference = [numbers[method] for method in PUBLISHED.values()]
    return Agrees(seeds, here, reference, agreement(here, reference))


def agreement_words(runs: Runs) -> str:
    """`agrees` as a sentence and a table."""
    try:
        seeds, values, reference, found = agrees(runs)
    except Unlike as error:
        return f"Not yet: {error}\n"
    lines = [
        [f"`{row}`", f"{number}", mean(ours.tolist())]
        for row, number, ours in zip(PUBLISHED, reference, values)
    ]
    interval = (
        f", 95 % interval for other seeds [{found.interval[0]:.2f}, {found.interval[1]:.2f}]"
        if found.interval and len(seeds) >= FEWEST_PAIRS
        else f"; {count_text(len(seeds), 'seed', 'seeds')}, too few for an interval"
    )
    taus = [f"{tau:.2f}" for tau in found.of_seeds]
    of_seeds = f"seed by seed {', '.join(taus)}"
    if len(taus) > 1 and len(set(taus)) == 1:
        of_seeds = "the same in every seed"
    return (
        f"**τ = {found.tau:.2f}**, exact two-sided p = {found.p:.2g}{interval}; "
        f"{of_seeds}.\n\n" + table(["row", "published Rank-1", f"Rank-1 here, {JUDGED}"], lines)
    )


def cross(runs: Runs) -> str:
    """Of each row what it reaches on sets that it was not trained on."""
    sets = list(dict.fromkeys(name for run in runs.found.values() for name in run.get("cross", {})))
    lines = []
    for row in ranked(runs) if sets else []:
        of_row = [runs.found[row, seed].get("cross", {}) for seed in runs.seeds(row)]
        cells = []
        for name in sets:
            found = [one[name][JUDGED] for one in of_row if name in one]
            cells.append(" / ".join(mean([f[m] for f in found]) for m in METRICS) if found else "")
        lines.append([f"`{row}`", str(sum(bool(one) for one in of_row)), *cells])
    if not lines:
        return "Not yet.\n"
    return table(["row", "seeds", *sets], lines)


PARTS: dict[str, Callable[[Runs], str]] = {
    "rows": rows,
    "pairs": pairs,
    "agreement": agreement_words,
    "cross": cross,
}


def filled(text: str) -> str:
    """The page with its blocks as the result files have them now.

    Raises:
        Unlike: a result that can't be shown.
    """
    known: dict[str, Runs] = {}

    def block(match: re.Match[str]) -> str:
        head, name, part, end = match.groups()
        try:
            file = newest(name)
        except NoNumber:
            return f"{head}Not yet.\n{end}"
        if name not in known:
            known[name] = load(file)
        shown = PARTS[part](known[name])
        source = f"../{file.relative_to(ROOT).with_suffix('.md').as_posix()}"
        return f"{head}{shown}\n[File]({source}).\n{end}"

    return BLOCK.sub(block, text)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fill the tables of the leaderboard page.")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it is stale")
    check = parser.parse_args().check
    before = PAGE.read_text(encoding="utf-8")
    try:
        now = filled(before)
    except Unlike as error:
        print(f"leaderboard.py: {error}", file=sys.stderr)
        return 2
    if now != before and not check:
        PAGE.write_text(now, encoding="utf-8")
    print("Nothing to change." if now == before else str(PAGE.relative_to(ROOT)))
    return 1 if check and now != before else 0


if __name__ == "__main__":
    sys.exit(main())
