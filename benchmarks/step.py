"""The training step: every engine, memory, host store, the published way, and where time goes.

    python benchmarks/step.py [--images 33180] [--steps 100] [--method mcl] [--no-published]
    python benchmarks/step.py --all-methods [--only dns,mcl] [--images 4740] [--steps 50]

Random images in SYSU-MM01's proportions, `mcl` complete with the published augmentation,
ResNet-50, 288x144, 8 identities x (4 + 4) = 64 images a step. Medians of three stretches.
With --all-methods, every method with its own batch, size and augmentation (recipe `clean`): its
captured and its eager step, memory, the floor that step_floor.py counts, and what a SYSU-MM01
schedule takes at that rate.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from _common import markdown, record  # noqa: E402

from vireid.bench import StepBench, random_data  # noqa: E402
from vireid.methods import METHODS, method_class  # noqa: E402

SYSU_IMAGES = 22258  # of the larger modality, which make an epoch

OWN = "our own kernels (batch norm, ReLU, sums, pooling, stem, casts)"
# What another kernel is for, by its name; the first fit counts.
KINDS = {
    "convolutions": r"fprop|dgrad|wgrad|conv|implicit|xmma|cudnn.*(gemm|engine)",
    "matrix products": r"gemm|cutlass|cublas|nvjet",
    "fused by the compiler (batch norm, ReLU, losses, augmentation)": r"triton",
    "optimisers": r"fusedsgd|fused_sgd|fusedadam|multi_tensor|foreach",
    "copies and fills": r"memcpy|memset|copy_kernel|fill",
    "batch norm outside the compiler": r"batch_norm|bn_",
    "pooling": r"pool",
}


def guarded(name: str, run: Callable[[], Any]) -> Any:
    """Run one measurement; a failure is printed and becomes its result."""
    try:
        found = run()
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    print(f"{name}: {found}", flush=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return found


def engine_row(data: Any, steps: int, **options: Any) -> dict[str, Any]:
    """One engine's step time and memory."""
    bench = StepBench(*data, **options)
    try:
        found: dict[str, Any] = bench.time(steps)
        return found | {
            "gib_besides_store": bench.memory_gib(),
            "ready_s": round(bench.ready_seconds, 1),
            "engine": bench.engine.why,
        }
    finally:
        bench.close()


def own_kernels() -> set[str]:
    """Names of our own kernels."""
    from vireid.models import layer_kernels, norm_kernels, shift_kernels, stem_kernels
    from vireid.models.launches import Kernel

    modules = (layer_kernels, norm_kernels, shift_kernels, stem_kernels)
    return {name for one in modules for name, it in vars(one).items() if isinstance(it, Kernel)}


def kind_of(kernel: str) -> str:
    return next((kind for kind, name in KINDS.items() if re.search(name, kernel, re.I)), "other")


def breakdown(data: Any, method: str, arch: str, steps: int = 20) -> dict[str, Any]:
    """Kernel time of the captured step by kind, and the largest kernels."""
    from torch.profiler import ProfilerActivity, profile

    own = own_kernels()

    bench = StepBench(*data, engine="graph", method=method, arch=arch)
    bench.advance(20)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        bench.advance(steps)
        torch.cuda.synchronize()
    bench.close()
    kinds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    kernels = []
    for event in found.key_averages():
        ms, count = event.self_device_time_total / 1e3 / steps, event.count / steps
        if ms <= 0:
            continue
        kind = OWN if event.key in own else kind_of(event.key)
        kinds[kind][0] += ms
        kinds[kind][1] += count
        kernels.append({"kernel": event.key[:120], "ms": round(ms, 4), "count": count})
    kernels.sort(key=lambda row: -row["ms"])
    total = sum(ms for ms, _ in kinds.values())
    rows = [
        {
            "what": kind,
            "ms": round(ms, 3),
            "share %": round(100 * ms / total, 1),
            "kernels": round(count, 1),
        }
        for kind, (ms, count) in sorted(kinds.items(), key=lambda item: -item[1][0])
    ]
    return {"kernel_ms": round(total, 3), "kinds": rows, "largest": kernels[:40]}


def ceilings() -> dict[str, float]:
    """What this GPU's memory and matrix units reach: the two numbers under every step."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    source = torch.randn(1 << 29, device="cuda")
    target = torch.empty_like(source)

    def seconds(run: Callable[[], Any], count: int = 10) -> float:
        for _ in range(3):
            run()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3 / count

    product = 2 * 8192**3 / seconds(lambda: a @ a) / 1e12
    copied = 2 * source.numel() * 4 / seconds(lambda: target.copy_(source)) / 1e12
    return {"bf16_tflops": round(product, 1), "copy_tb_per_s": round(copied, 3)}


def published_row(data: Any, steps: int) -> dict[str, Any]:
    """The plain step in the published manner."""
    from vireid.bench.machine import _published
    from vireid.methods import method_class
    from vireid.training.options import TrainOptions
    from vireid.training.training_set import TrainingSet

    recipe = method_class("mcl").recipes["published"]
    rows = TrainingSet(*data, TrainOptions(recipe=recipe, size=data[1].size), 0, 1)
    torch.cuda.reset_peak_memory_stats()
    ms, rate = _published(torch.device("cuda", 0), "resnet50", data[1], rows, steps)
    return {
        "ms": ms,
        "images_per_second": round(64e3 / ms, 1),
        "extraction_images_per_second": rate,
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 3),
    }


def method_row(
    name: str, images: int, steps: int, ceilings: dict[str, float], kernels: list[str]
) -> dict[str, Any]:
    """A method's captured step, on each of the kernels, and its eager one beside its floor."""
    from step_floor import floor_ms, rows_of

    cls = method_class(name)
    recipe, size = cls.recipes["clean"], cls.Options.input_size
    data, p, k = random_data(images, size=size), recipe.pids_per_batch, recipe.images_per_pid
    words = {"method": name, "recipe": "clean", "pids_per_batch": p, "images_per_pid": k}
    graphs = {kind: engine_row(data, steps, engine="graph", kernels=kind, **words)
              for kind in kernels}  # fmt: skip
    best = min(graphs, key=lambda kind: graphs[kind]["ms"])
    graph = graphs[best]
    eager = engine_row(data, max(10, steps // 2), engine="eager", **words)
    floor = floor_ms(name, ceilings)
    whole = graph["ms"] * (SYSU_IMAGES // (p * k) + 1) * recipe.epochs
    return {
        "method": name,
        "size": f"{size[0]}x{size[1]}",
        "rows": rows_of(recipe),
        **{f"{kind} ms": row["ms"] for kind, row in graphs.items()},
        "ms": graph["ms"],
        "kernels": best,
        "least ms": round(floor, 2),
        "times the floor": round(graph["ms"] / floor, 2),
        "eager ms": eager["ms"],
        "rows/s": graph["images_per_second"],
        "GiB besides the images": graph["gib_besides_store"],
        "epochs": recipe.epochs,
        "h for SYSU-MM01": round(whole / 3.6e6, 2),
    }


def all_methods(only: list[str], images: int, steps: int, kernels: list[str]) -> None:
    """The table of all methods, or of some under a name of its own; written after each."""
    names, record_name = only or list(METHODS), "-".join(["step-methods", *only])
    results: dict[str, Any] = {"ceilings": ceilings()}
    table, failed = [], []
    notes = [
        "Hours are the captured step's times the recipe's steps on SYSU-MM01, without evaluation. "
        "The floor leaves attention, losses and augmentation out."
    ]
    for name in names:
        results[name] = guarded(
            name, lambda name=name: method_row(name, images, steps, results["ceilings"], kernels)
        )
        if "error" in results[name]:
            failed.append(f"{name}: {results[name]['error']}")
        else:
            table.append(results[name])
        path = record(record_name, results, table=table, notes=notes + failed)
    print(path)
    if table:
        print(markdown(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all-methods", action="store_true")
    parser.add_argument("--only", help="of --all-methods, separated by commas")
    parser.add_argument("--images", type=int)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--method", default="mcl")
    parser.add_argument(
        "--arch", default="resnet50", help="not of --all-methods, whose floor it is"
    )
    parser.add_argument("--kernels", default="auto", help="of --all-methods, separated by commas")
    parser.add_argument("--engines", default="graph,eager,compiled")
    parser.add_argument("--no-published", action="store_true")
    parser.add_argument("--no-profile", action="store_true")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("This benchmark needs a CUDA GPU.")
    if arguments.all_methods:
        only = arguments.only.split(",") if arguments.only else []
        if unknown := [name for name in only if name not in METHODS]:
            parser.error(f"--only: no method {', '.join(unknown)}; there are {', '.join(METHODS)}.")
        kernels = arguments.kernels.split(",")
        all_methods(only, arguments.images or 4740, arguments.steps, kernels)
        return
    if arguments.only:
        parser.error("--only chooses among all methods: give --all-methods too, or --method.")
    data = random_data(arguments.images or 33180)
    results: dict[str, Any] = {"ceilings": guarded("ceilings", ceilings)}
    table = []
    runs: dict[str, dict[str, Any]] = {
        name: {"engine": name} for name in arguments.engines.split(",")
    }
    runs["graph, images in host memory"] = {"engine": "graph", "store": "host"}
    for name, options in runs.items():
        found = guarded(
            name,
            lambda options=options: engine_row(
                data, arguments.steps, method=arguments.method, arch=arguments.arch, **options
            ),
        )
        results[name] = found
        table.append(
            {
                "variant": name,
                "ms": found.get("ms", found.get("error", "")),
                "img/s": found.get("images_per_second", ""),
                "GiB besides the images": found.get("gib_besides_store", ""),
                "ready after, s": found.get("ready_s", ""),
            }
        )
    if not arguments.no_published:
        found = guarded("published way", lambda: published_row(data, 20))
        results["published way"] = found
        table.append(
            {
                "variant": "published way, plain",
                "ms": found.get("ms", ""),
                "img/s": found.get("images_per_second", ""),
                "GiB besides the images": found.get("gib", ""),
                "ready after, s": "",
            }
        )
    notes = []
    graph = results.get("graph", {})
    if "ms" in graph:
        if "ms" in results.get("published way", {}):
            ratio = results["published way"]["ms"] / graph["ms"]
            notes.append(f"{ratio:.1f} times the published way in the same run.")
        host = results["graph, images in host memory"]
        if "ms" in host:
            notes.append(f"Host store: {100 * graph['ms'] / host['ms']:.1f} % of the rate.")
    if not arguments.no_profile:
        found = guarded("breakdown", lambda: breakdown(data, arguments.method, arguments.arch))
        results["breakdown"] = found
        if "kinds" in found:
            notes.append("Kernel time of the captured step:\n\n" + markdown(found["kinds"]))
            notes.append("step_floor.py counts the floor of a step from this file.")
    arch = [] if arguments.arch == "resnet50" else [arguments.arch]
    print(record("-".join(["step", arguments.method, *arch]), results, table=table, notes=notes))
    print(markdown(table))


if __name__ == "__main__":
    main()
