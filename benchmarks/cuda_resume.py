"""Kill a training run on a GPU at random moments, resume it, and compare weights bit for bit.

    python benchmarks/cuda_resume.py [--data DIR] [--kills 3] [--engines eager,graph]

Each engine trains twice with --deterministic: once undisturbed, once killed with SIGKILL at random
moments (in the middle of an epoch, checkpoints every 20 steps) and resumed until it ends. Without
--data a small set of synthetic people is rendered first.
"""

from __future__ import annotations

import argparse
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import record, steps_done
from safetensors.torch import load_file

PEOPLE = ("--layout", "sysu", "--identities", "48", "--test-identities", "4", "--images", "3",
          "--seed", "302")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--method", default="mcl")
    parser.add_argument("--engines", default="eager,graph")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--extra", default="", help="more flags for every training run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            args.data = Path(folder) / "people"
            vireid("synthesize", *PEOPLE, "--out", args.data)
        vireid("prepare", "--data-root", args.data)
        rows = []
        for engine in args.engines.split(","):
            try:
                rows.append(compare(engine, args, Path(folder)))
            except (subprocess.CalledProcessError, OSError) as error:
                rows.append({"engine": engine, "weights equal": False, "problem": str(error)})
            print(rows[-1], flush=True)
    passed = all(row["weights equal"] and row["kills"] == args.kills for row in rows)
    columns = ("engine", "kills", "killed at step", "weights equal", "tensors that differ",
               "seconds undisturbed", "problem")  # fmt: skip
    path = record(
        "cuda-resume",
        {"rows": rows, "steps": args.steps, "arch": args.arch, "method": args.method,
         "device": args.device, "passed": passed},
        table=[{name: row.get(name, "") for name in columns} for row in rows],
        notes=[f"{args.method}, {args.arch}, {args.steps} steps on synthetic people with "
               f"--deterministic on {args.device}; SIGKILL while training, then --resume."],
    )  # fmt: skip
    print(path.with_suffix(".md").read_text())
    sys.exit(0 if passed else 1)


def compare(engine: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One engine: undisturbed against killed and resumed."""
    whole, killed = folder / f"{engine}-whole", folder / f"{engine}-killed"
    began = time.monotonic()
    subprocess.run(command(engine, args, "--run", whole), check=True)
    seconds = time.monotonic() - began
    # One moment in each part of the run: a killed start goes back 20 steps at most.
    draw, part, at = random.Random(0), (args.steps - 50) / (args.kills + 1), []
    resume = [sys.executable, "-m", "vireid", "train", "--resume", str(killed)]
    for number in range(args.kills):
        begun = (killed / "config.json").is_file()
        process = subprocess.Popen(resume if begun else command(engine, args, "--run", killed))
        target = int((number + 0.5 + 0.5 * draw.random()) * part)
        while process.poll() is None and steps_done(killed) < target:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.3))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        at.append(steps_done(killed))
    subprocess.run(resume, check=True)
    one, other = (load_file(run / "weights.safetensors") for run in (whole, killed))
    different = [name for name in one if not one[name].equal(other[name])]
    return {
        "engine": engine,
        "kills": len(at),
        "killed at step": ", ".join(map(str, at)),
        "weights equal": not different,
        "tensors that differ": f"{len(different)} of {len(one)}",
        "seconds undisturbed": round(seconds, 1),
    }


def command(engine: str, args: argparse.Namespace, *words: object) -> list[str]:
    flags = ["train", "--data-root", args.data, "--method", args.method, "--arch", args.arch,
             "--pretrained", "none", "--max-steps", args.steps, "--deterministic",
             "--engine", engine, "--device", args.device, "--checkpoint-steps", 20,
             *shlex.split(args.extra), *words]  # fmt: skip
    return [sys.executable, "-m", "vireid", *map(str, flags)]


def vireid(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "vireid", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
