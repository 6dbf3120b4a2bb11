"""Fuzz the readers from the command line.

python tools/fuzz.py --seconds 60              what CI runs; the seed is the time
python tools/fuzz.py --inputs 10000 --seed 3   over all targets
python tools/fuzz.py --target report --input 17 --seed 3   one input again, with traceback
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fuzz import harness
from fuzz.targets import TARGETS


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--target", action="append", choices=sorted(TARGETS))
    words.add_argument("--seconds", type=float)
    words.add_argument("--inputs", type=int)
    words.add_argument("--each", type=int, help="inputs of each target")
    words.add_argument("--seed", type=int, default=int(time.time()))
    words.add_argument("--input", type=int, help="try this one again")
    given = words.parse_args()
    names = given.target or list(TARGETS)
    harness.silence()
    results = {}
    with tempfile.TemporaryDirectory(dir=harness.memory_folder()) as folder:
        began = time.monotonic()
        for left, name in zip(range(len(names), 0, -1), names):
            target = TARGETS[name](Path(folder))
            if given.input is not None:
                value = next(
                    v for n, v in enumerate(harness.inputs(target, given.seed)) if n == given.input
                )
                print(repr(value)[:2000])
                target.use(value)
                return 0
            each = given.each or (given.inputs and -(-given.inputs // len(names)))
            spent = time.monotonic() - began
            seconds = given.seconds and max(0.0, given.seconds - spent) / left
            results[name] = harness.run(target, seed=given.seed, count=each, seconds=seconds)
            print(
                f"{name}: {results[name].bad} findings, {time.monotonic() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    print(f"seed {given.seed}\n{harness.table(results)}")
    return 1 if any(one.bad for one in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
