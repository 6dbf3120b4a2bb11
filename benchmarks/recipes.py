"""What each difference between the recipes `published` and `clean` does to the losses of `mcl`.

    python benchmarks/recipes.py

Four steps on the stored batches of tests/golden/steps (ResNet-50, the golden start weights, CPU,
float64): as published, with one difference taken back at a time, and clean. A number is the sum of
the encoder's weighted losses at a step, without the discriminator's own. At the first step weights
are equal; what follows is also the way that they went.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from _common import record

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from golden_steps import run_steps

# What is changed of `published` → arguments of `run_steps`.
ROWS: dict[str, dict[str, Any]] = {
    "published": {},
    "exact triplet": {"triplet": "exact"},
    "learned centers": {"centers": "learned"},
    "discriminator steps after": {"discriminator_step": "after"},
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "clean, float64": {"recipe": "clean"},
}


def line(name: str, **changes: Any) -> dict[str, Any]:
    """One row of the table."""
    found = run_steps("mcl_published", **changes)
    sums = [sum(v for k, v in terms.items() if k != "discriminator") for terms in found.losses]
    return {"changed": name, **{f"step {i + 1}": f"{value:.6g}" for i, value in enumerate(sums)}}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows = [line(name, **changes) for name, changes in ROWS.items()]
    print(record("recipes", {"rows": rows}, table=rows))


if __name__ == "__main__":
    main()
