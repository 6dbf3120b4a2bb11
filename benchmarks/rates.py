"""The rate of `halo` on another network: chosen on validation identities, then tested.

    python benchmarks/rates.py RATES.json [RATES.json …] --of 0,2 --out DIR [words for methods.py]

RATES.json are results of sweeps/halo_mobilenetv2.toml with the seeds of --of. The rule, fixed
before any run: of the rows that ended with every seed, the one with the highest mAP in the better
of its embeddings, mean over seeds. Nothing is chosen where a run is missing for another reason than
its failure. DIR/chosen.json is a sweep of the one row `halo` with its options, on test identities;
with words for methods.py that is run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from glob import glob
from itertools import product
from pathlib import Path
from typing import Any

import methods
from _runs import FAILED, Unlike, load
from best import score

from vireid.config import read_plain

SWEEP = Path(__file__).parent / "sweeps" / "halo_mobilenetv2.toml"


def chosen(results: Sequence[Path], seeds: Sequence[int]) -> tuple[str, dict[str, float]]:
    """The row that won, and the score of each that ended with every seed.

    Raises:
        Unlike: none did, a run was not made, or a file is no such result.
    """
    runs, *others = map(load, results)
    for path, one in zip(results[1:], others):
        if one.setting != runs.setting:
            raise Unlike(f"'{path}' is of another setting than '{results[0]}'.")
        runs.found |= one.found
    missing = [sentence for one in (runs, *others) for sentence in one.missing]
    failed = {sentence.partition(f": {FAILED}")[0] for sentence in missing if FAILED in sentence}
    rows = read_plain(SWEEP)["rows"]
    for row, seed in product(rows, seeds):
        if (row, seed) not in runs.found and (name := f"{row}, seed {seed}") not in failed:
            raise Unlike(f"{name} was not made: nothing can be chosen.")
    whole = [row for row in rows if all((row, seed) in runs.found for seed in seeds)]
    if not whole:
        raise Unlike("No row has ended with every seed.")
    for sentence in missing:
        print(f"out: {sentence}", flush=True)
    scores = {row: score(runs, row) for row in whole}
    return max(scores, key=lambda row: scores[row]), scores


def found(names: Sequence[str]) -> list[Path]:
    """The files; names may contain *, as a result's date isn't known before it is made.

    Raises:
        Unlike: there is none of a name.
    """
    paths = []
    for name in names:
        if not (files := sorted(map(Path, glob(name)))):
            raise Unlike(f"There is no file '{name}'.")
        paths += files
    return paths


def sweep_of(row: str) -> dict[str, Any]:
    """The sweep of `halo` with a row's options, on test identities."""
    known = read_plain(SWEEP)
    base = {name: value for name, value in known["base"].items() if name != "select"}
    return {"base": base, "rows": {"halo": known["rows"][row]}, "test": {"mode": "all"}}


def main(words: Sequence[str] | None = None) -> int:
    args, more = arguments(words)
    try:
        row, scores = chosen(found(args.results), [int(seed) for seed in args.of.split(",")])
    except Unlike as error:
        print(f"rates.py: {error}", file=sys.stderr)
        return 2
    for name in sorted(scores, key=lambda name: -scores[name]):
        print(f"{scores[name]:5.1f}  {name}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "chosen.json"
    file.write_text(json.dumps(sweep_of(row), indent=2) + "\n", encoding="utf-8")
    return methods.main([str(file), *more]) if more else 0


def arguments(words: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", metavar="RATES.json")
    parser.add_argument("--of", required=True, help="seeds that all rows were trained with")
    parser.add_argument("--out", type=Path, required=True, help="folder for chosen.json")
    return parser.parse_known_args(words)


if __name__ == "__main__":
    sys.exit(main())
