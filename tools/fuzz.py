"""Fuzz the readers of all kinds of files: only a sentence may refuse one.

    python tools/fuzz.py --seconds 60                           as CI does; the seed is the time
    python tools/fuzz.py --inputs 10000 --seed 3                over all targets
    python tools/fuzz.py --target report --input 17 --seed 3    one input again, with traceback
    python tools/fuzz.py --coverage --each 100                  what of each parser is reached

`tests/fuzz` has the targets; `tests/fuzz/test_fuzz.py` runs a few inputs of each.
"""

from __future__ import annotations

import argparse
import faulthandler
import functools
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from _common import markdown, record
from fuzz import harness, parsers
from fuzz.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--target", action="append", choices=sorted(TARGETS), help="default: all")
    words.add_argument("--seconds", type=float, help="mutations for so long over all targets")
    words.add_argument("--inputs", type=int, help="so many over all targets, seeds among them")
    words.add_argument("--each", type=int, help="so many of each target")
    words.add_argument("--seed", type=int, default=int(time.time()))
    words.add_argument("--input", type=int, help="number of one to try again")
    words.add_argument(
        "--trace", action="store_true", help="name each before it is tried, as a crash says nothing"
    )
    words.add_argument("--stop", action="store_true", help="at a target's first finding")
    words.add_argument(
        "--coverage",
        action="store_true",
        help="lines and branches of each parser that the seeds reach alone, and then with --each "
        "mutations; 1 if the seeds leave one out that `parsers.py` doesn't explain. Written as a "
        "dated result if of all targets. Needs `pip install coverage`",
    )
    given = words.parse_args(arguments)
    names = given.target or list(TARGETS)
    each = given.each or (given.inputs and -(-given.inputs // len(names)))
    faulthandler.enable()
    if given.coverage:
        return coverage(names, each or 0, given.seed)
    results, began = {}, time.monotonic()
    with tempfile.TemporaryDirectory(dir=harness.memory_folder()) as folder, harness.silent():
        for left, name in zip(range(len(names), 0, -1), names):
            target = TARGETS[name](Path(folder))
            if given.input is not None:
                value = next(
                    itertools.islice(harness.inputs(target, given.seed), given.input, None)
                )
                print(repr(value)[:2000])
                target.use(value)
                continue
            seconds = given.seconds
            if seconds:  # its share of what is left, though others' seeds took long to make
                share = (seconds - (time.monotonic() - began)) / left
                seconds = max(share, seconds / len(names) / 2)
            results[name] = harness.run(
                target, seed=given.seed, count=each, seconds=seconds, stop=given.stop,
                began=functools.partial(print, name, flush=True) if given.trace else lambda _: None,
            )  # fmt: skip
            print(f"{name}: {results[name].bad} findings", file=sys.stderr, flush=True)
    print(f"seed {given.seed}\n{harness.table(results)}")
    return 1 if any(one.bad for one in results.values()) else 0


def coverage(names: Sequence[str], each: int, seed: int) -> int:
    """Measure what the inputs of these targets reach of the parsers, and print it."""
    measured = parsers.measure()
    results: dict[str, harness.Result] = {}
    with tempfile.TemporaryDirectory(dir=harness.memory_folder()) as folder, harness.silent():
        targets = [TARGETS[name](Path(folder)) for name in names]
        reached = []
        for mutated in (False, True):
            for target in targets:
                seeds = len(target.seeds) + len(target.odd)
                first, end = (seeds, seeds + each) if mutated else (0, seeds)
                result = results.setdefault(target.name, harness.Result())
                values = itertools.islice(harness.inputs(target, seed), first, end)
                measured.start()
                for number, value in enumerate(values, first):
                    harness.try_one(target, value, number, result)
                measured.stop()
                print(f"{target.name}: {end - first} inputs", file=sys.stderr, flush=True)
            reached.append(parsers.reach(measured))
    rows, seeds = parsers.rows(*reached), reached[0]
    left = [name for one in seeds.values() for name in one.left if name not in one.beyond]
    print(markdown(rows), *left, harness.table(results), sep="\n")
    if list(names) == list(TARGETS):
        record(
            "fuzz-coverage",
            {"seed": seed, "mutations_of_each": each, "left": left, "parsers": rows,
             "beyond": {file: one.beyond for file, one in seeds.items() if one.beyond}},
            table=rows,
        )  # fmt: skip
    return 1 if left or any(one.bad for one in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
