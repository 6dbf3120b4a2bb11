"""Kill a training run on a GPU at random moments, resume it, and compare weights bit for bit.

    python benchmarks/cuda_resume.py --data DIR [--kills 3] [--engines eager,graph]

Each engine trains twice with --deterministic: once undisturbed, once killed with SIGKILL at random
moments (in the middle of an epoch, checkpoints every 20 steps) and resumed until it ends.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _common import record
from safetensors.torch import load_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/cuda-resume"))
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--engines", default="eager,graph")
    args = parser.parse_args()
    rows = [compare(engine, args) for engine in args.engines.split(",")]
    path = record("cuda-resume", {"rows": rows, "steps": args.steps, "arch": args.arch}, table=rows)
    print(path.with_suffix(".md").read_text())
    sys.exit(0 if all(row["weights equal"] for row in rows) else 1)


def compare(engine: str, args: argparse.Namespace) -> dict[str, Any]:
    """One engine: undisturbed against killed and resumed."""
    whole, killed = args.runs / f"{engine}-whole", args.runs / f"{engine}-killed"
    start = command(engine, args, "--run", whole)
    began = time.monotonic()
    subprocess.run(start, check=True)
    seconds = time.monotonic() - began
    draw, kills = random.Random(0), 0
    resume = [sys.executable, "-m", "vireid", "train", "--resume", str(killed), "--device", "cuda"]
    while kills < args.kills:
        begun = (killed / "config.json").is_file()
        process = subprocess.Popen(resume if begun else command(engine, args, "--run", killed))
        wait_for_steps(process, killed, draw.uniform(0.2, 2.5))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    subprocess.run(resume, check=True)
    one, other = (load_file(run / "weights.safetensors") for run in (whole, killed))
    different = [name for name in one if not one[name].equal(other[name])]
    return {
        "engine": engine,
        "kills": kills,
        "weights equal": not different,
        "tensors that differ": len(different),
        "seconds undisturbed": round(seconds, 1),
    }


def wait_for_steps(process: subprocess.Popen, run: Path, more: float) -> None:
    """Wait until this start has written a checkpoint, and then `more` seconds."""
    before = {path.name for path in (run / "checkpoints").glob("*.pt")}
    while process.poll() is None:
        found = {path.name for path in (run / "checkpoints").glob("*.pt")}
        if found - before:
            time.sleep(more)
            return
        time.sleep(0.05)


def command(engine: str, args: argparse.Namespace, *words: object) -> list[str]:
    flags = [
        "train",
        "--data-root",
        args.data,
        "--arch",
        args.arch,
        "--pretrained",
        "none",
        "--max-steps",
        args.steps,
        "--deterministic",
        "--engine",
        engine,
        "--device",
        "cuda",
        "--checkpoint-steps",
        20,
        *words,
    ]
    return [sys.executable, "-m", "vireid", *map(str, flags)]


if __name__ == "__main__":
    main()
