"""How long a run waits for its first captured step: cold, warm, other rows, six runs at once.

    python benchmarks/cold_start.py [--rows mcl/resnet50,agw/resnet18]
        [--kernels own,mixed,compiled]
        [--together 6] [--gpus 1]

Each start is a process of its own, from its first line to its first step with all kernels in
place. Cold: an empty cache folder. Warm: the same again. Other: another seed and number of
identities, then another method, of the same network. Next: as a sweep's next run, whose process has
imported everything before it is asked for. Embed: to the first 256 vectors of a large
job. Together: so many cold runs at once on this machine, one cache folder, all GPUs in turn. The
step's time comes with each. Random images. The result is written after every start.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

from _common import record  # noqa: E402

READY = "ready"  # what a process says that has imported everything, and waits


def one(words: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own does; `began` is when it was asked for."""
    began = words.pop("began")
    steps, num_pids, seed = (words.pop(name) for name in ("steps", "num_pids", "seed"))
    tries = words.pop("tries", None)
    size = tuple(words.pop("size"))
    from vireid.bench import StepBench, random_data

    imported = time.time()
    data = random_data(12 * num_pids, size=size, num_pids=num_pids)
    ready = time.time()
    import torch

    if tries is not None:
        torch.backends.cudnn.benchmark_limit = tries
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # which starts the driver's part of this process
    driver = time.time()
    bench = StepBench(*data, seed=seed, **words)
    built = time.time()
    bench.losses(1)
    first = time.time()
    found = {
        "import_s": round(imported - began, 1),
        "data_s": round(ready - imported, 1),
        "driver_s": round(driver - ready, 1),
        "network_s": round(built - driver - bench.ready_seconds, 1),
        "engine_s": round(bench.ready_seconds, 1),
        "first_step_s": round(first - began - (ready - imported), 1),  # a run's images are at hand
        "engine": bench.engine.why,
    }
    if steps:
        found |= bench.time(steps)
    return found | {"gib": bench.memory_gib()}


def embed(words: dict[str, Any]) -> dict[str, Any]:
    """The same of a large `vireid embed`; then its rate."""
    began = words["began"]
    import numpy as np

    from vireid.bench import random_data, time_extraction
    from vireid.embed.embedder import Embedder
    from vireid.methods import Sizes, build_method, method_class

    imported = time.time()
    size = tuple(words["size"])
    dataset, store = random_data(12 * 64, size=size, num_pids=64)
    rows = np.arange(len(dataset.samples))
    ready = time.time()
    model = method_class(words["method"]).model_defaults(words["arch"], "none")
    method = build_method(words["method"], model, Sizes(num_pids=64, num_cameras=6))
    compiled = True if words["kernels"] == "compiled" else None
    embedder = Embedder(method, {"size": size}, device=words["device"], compiled=compiled)
    embedder.forward.expect(1 << 30)
    embedder.embed_store(store, dataset, rows[:256])
    first = time.time()
    found = {"import_s": round(imported - began, 1),
             "first_batch_s": round(first - began - (ready - imported), 1)}  # fmt: skip
    return found | time_extraction(embedder, store, rows)


def import_first() -> float:
    """Import what `vireid sweep` has imported before its next run; then wait until that is asked
    for, and return when."""
    from vireid.standby import NEEDED

    for name in ("vireid.bench", *NEEDED):
        importlib.import_module(name)
    print(READY, flush=True)
    return float(sys.stdin.readline())


def start(words: dict[str, Any], cache: str, gpu: int | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        environment.pop(name, None)
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(gpu)
    asked = json.dumps(words | {"began": time.time()})
    return subprocess.Popen(
        [sys.executable, __file__, "--one", asked],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin and process.stdout
    out = process.stdout.readline()
    if out.strip() == READY:
        print(time.time(), file=process.stdin, flush=True)
    out += process.stdout.read()
    process.wait()
    try:
        return json.loads(out.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        return {"error": f"exit code {process.returncode}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default="mcl/resnet50,agw/resnet18")
    parser.add_argument("--kernels", default="own,mixed,compiled")
    parser.add_argument("--together", type=int, default=6)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100, help="timed, where a run is alone")
    parser.add_argument("--tries", type=int, help="cuDNN's kernels tried for a convolution")
    parser.add_argument("--engine", default="graph")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--size", default="288x144")
    parser.add_argument("--name", default="cold-start")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        from vireid.cli import begin

        begin()  # as the command does
        words = json.loads(args.one)
        if words.pop("next", False):
            words["began"] = import_first()
        print(json.dumps((embed if words.pop("embed", False) else one)(words)))
        return
    rows: list[dict[str, Any]] = []
    columns = ("start", "kernels", "method", "arch", "first_step_s", "import_s", "driver_s",
               "network_s", "engine_s", "ms", "first_batch_s", "network_images_per_second", "gib",
               "error")  # fmt: skip

    def note(what: str, words: dict[str, Any], found: dict[str, Any]) -> None:
        shown = {key: words[key] for key in ("kernels", "method", "arch")}
        rows.append({"start": what, **shown, **found})
        print(rows[-1], flush=True)
        table = [{name: row.get(name, "") for name in columns} for row in rows]
        record(args.name, {"rows": rows}, table=table)

    size = [int(side) for side in args.size.split("x")]
    for asked, kernels in itertools.product(args.rows.split(","), args.kernels.split(",")):
        method, arch = asked.split("/")
        words = {
            "method": method, "arch": arch, "engine": args.engine,
            "kernels": "auto" if args.engine == "eager" else kernels,
            "device": args.device, "size": size, "num_pids": 395, "seed": 0,
            "steps": args.steps,
        }  # fmt: skip
        if args.tries is not None:
            words["tries"] = args.tries
        with tempfile.TemporaryDirectory() as cache:
            note("cold", words, answer(start(words, cache)))
            note("warm", words, answer(start(words, cache)))
            other = words | {"num_pids": 206, "seed": 1, "steps": 0}
            note("warm, other seed and identities", other, answer(start(other, cache)))
            note("next, other seed and identities", other,
                 answer(start(other | {"next": True}, cache)))  # fmt: skip
            other = words | {"method": "base" if method != "base" else "agw", "steps": 0}
            note("warm, other method", other, answer(start(other, cache)))
        if kernels != "mixed":
            with tempfile.TemporaryDirectory() as cache:
                note("cold, embed", words, answer(start(words | {"embed": True}, cache)))
        if args.together and kernels == "own":
            with tempfile.TemporaryDirectory() as cache:
                began = time.time()
                running = [
                    start(words | {"seed": n, "steps": 0}, cache,
                          None if args.device == "cpu" else n % args.gpus)
                    for n in range(args.together)
                ]  # fmt: skip
                found = [answer(process) for process in running]
                waits = [run.get("first_step_s", float("nan")) for run in found]
                note(
                    f"cold, {args.together} at once", words,
                    {"first_step_s": max(waits), "total_s": round(time.time() - began, 1),
                     "each": found},
                )  # fmt: skip


if __name__ == "__main__":
    main()
