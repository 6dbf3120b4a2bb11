"""First look at a GPU: every engine and method on random images, in about a minute and compiling.

    python benchmarks/gpu_smoke.py [--quick] [--only SECTION,SECTION]

Prints a table and every fallback; writes gpu_smoke.json into $OUT if that is set. Sections:
engines, curves, syncs, profile, methods, extraction, published, host_store, float16, fallback,
precision, variants, trials.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from vireid.bench import PublishedStyle, StepBench, random_data, time_extraction  # noqa: E402

STEPS = 60
RESULTS: dict[str, Any] = {}


def section(name: str, chosen: set[str], run: Callable[[], Any]) -> None:
    """Run one section; print its traceback and go on if it fails."""
    if chosen and name not in chosen:
        return
    start = time.perf_counter()
    try:
        RESULTS[name] = run()
    except Exception as error:
        traceback.print_exc()
        RESULTS[name] = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
    seconds = time.perf_counter() - start
    print(f"== {name} ({seconds:.1f} s)\n{json.dumps(RESULTS[name], indent=1)}", flush=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    write()


def write() -> None:
    """Write what there is so far."""
    if "OUT" in os.environ:
        Path(os.environ["OUT"], "gpu_smoke.json").write_text(json.dumps(RESULTS, indent=1))


def timed(dataset: Any, images: Any, /, **options: Any) -> dict[str, Any]:
    """Step time, memory and the engine's sentence."""
    bench = StepBench(dataset, images, **options)
    try:
        found = bench.time(STEPS)
        found |= {
            "gib": bench.memory_gib(),
            "ready_s": round(bench.ready_seconds, 1),
            "why": bench.engine.why,
            "losses": {
                name: round(value / max(1, bench.step_number), 3)
                for name, value in bench.run.step.read_sums().items()
            },
        }
    finally:
        bench.close()
    return found


def engines(dataset: Any, store: Any) -> dict[str, Any]:
    """Each engine for mcl."""
    out = {}
    for name in ("eager", "graph", "compiled", "auto"):
        try:
            out[name] = timed(dataset, store, engine=name)
        except Exception as error:
            traceback.print_exc()
            out[name] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(name, out[name], flush=True)
    return out


def variants(dataset: Any, store: Any) -> dict[str, Any]:
    """Compiler settings that might be faster for the captured step."""
    import torch._inductor.config as inductor

    out: dict[str, Any] = {}
    settings: dict[str, dict[str, Any]] = {
        "plain": {},
        "coordinate_descent_tuning": {"coordinate_descent_tuning": True},
        "conv_1x1_as_mm": {"conv_1x1_as_mm": True},
        "no_layout_optimization": {"layout_optimization": False},
    }
    for name, changes in settings.items():
        try:
            with inductor.patch(changes):
                out[name] = timed(dataset, store, engine="graph")
        except Exception as error:
            traceback.print_exc()
            out[name] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(name, out[name], flush=True)
    return out


def methods(dataset: Any, store: Any) -> dict[str, Any]:
    """Every method in the captured step (mcl is in `engines`)."""
    out = {}
    for name in ("base", "agw", "ddag"):
        try:
            out[name] = timed(dataset, store, engine="auto", method=name)
        except Exception as error:
            traceback.print_exc()
            out[name] = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(name, out[name], flush=True)
    return out


def curves(dataset: Any, store: Any, steps: int = 30) -> dict[str, Any]:
    """Losses of the first steps: graph against eager, beside eager against eager in float32."""
    found: dict[str, list[float]] = {}
    for name, options in {
        "eager_bfloat16": {"engine": "eager"},
        "graph_bfloat16": {"engine": "graph"},
        "eager_float32": {"engine": "eager", "precision": "float32"},
    }.items():
        bench = StepBench(dataset, store, lr=0.01, **options)
        found[name] = [round(x, 4) for x in bench.losses(steps)]
        bench.close()
    base = np.array(found["eager_bfloat16"])
    return {
        "graph_vs_eager_max": float(np.abs(np.array(found["graph_bfloat16"]) - base).max()),
        "float32_vs_eager_max": float(np.abs(np.array(found["eager_float32"]) - base).max()),
        **found,
    }


def syncs(dataset: Any, store: Any) -> dict[str, Any]:
    """Whether any line of a step waits for the device: PyTorch is told to fail where one does."""
    out: dict[str, Any] = {}
    for name in ("base", "agw", "mcl", "ddag"):
        for precision in ("bfloat16", "float16"):
            bench = StepBench(dataset, store, engine="eager", method=name, precision=precision)
            bench.advance(3)  # cuDNN's choice of algorithms may wait
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
            try:
                bench.advance(5)
                out[f"{name}, {precision}"] = "no wait in 5 steps"
            except RuntimeError as error:
                traceback.print_exc()
                out[f"{name}, {precision}"] = f"WAITS: {str(error)[:200]}"
            finally:
                torch.cuda.set_sync_debug_mode("default")
                bench.close()
    return out


def float16(dataset: Any, store: Any) -> dict[str, Any]:
    """float16 with loss scaling, captured."""
    return {
        name: timed(dataset, store, engine=name, precision="float16") for name in ("graph", "eager")
    }


def host_store(dataset: Any, store: Any) -> dict[str, Any]:
    """Images kept in the host's memory, beside the device store, same engine."""
    out = {
        where: timed(dataset, store, engine="graph", store=where) for where in ("device", "host")
    }
    out["share"] = round(out["host"]["images_per_second"] / out["device"]["images_per_second"], 3)
    return out


def precision(dataset: Any, store: Any) -> dict[str, Any]:
    """float32 throughout, captured."""
    return timed(dataset, store, engine="graph", precision="float32")


def fallback(dataset: Any, store: Any) -> dict[str, Any]:
    """A user's method that waits for the device can't be captured and must fall back."""
    file = Path(os.environ.get("OUT", "/tmp")) / "waits.py"
    file.write_text(
        "from vireid.methods.baseline import Baseline\n\n\n"
        "class Waits(Baseline):\n    name = 'waits'\n\n"
        "    def terms(self, output, batch):\n"
        "        terms = super().terms(output, batch)\n"
        "        if terms['identity'].item() > 1e9:\n            terms['identity'] *= 0.5\n"
        "        return terms\n"
    )
    out = timed(dataset, store, engine="auto", method=f"{file}:Waits")
    after = timed(dataset, store, engine="graph", method="base")
    return {"waits": out, "base_afterwards": after}


def extraction(dataset: Any, store: Any) -> dict[str, Any]:
    """Images a second, compiled and eager, batch 256."""
    from vireid.embed.embedder import Embedder
    from vireid.methods import Sizes, build_method, method_class

    out: dict[str, Any] = {}
    method = build_method(
        "mcl",
        method_class("mcl").model_defaults("resnet50", "none"),
        Sizes(num_pids=395, num_cameras=6),
    )
    rows = np.arange(min(len(store.images), 5120))
    vectors = {}
    for name, options in {
        "compiled": {"compiled": True},
        "eager": {"compiled": False},
        "float32": {"compiled": False, "precision": "float32"},
    }.items():
        embedder = Embedder(method, {"size": [288, 144]}, device="cuda:0", **options)
        start = time.perf_counter()
        vectors[name] = embedder.embed_store(store, dataset, rows[:600]).embedding
        first = time.perf_counter() - start
        out[name] = time_extraction(embedder, store, rows) | {"first_s": round(first, 1)}
    for name in ("compiled", "eager"):
        cosine = (vectors[name] * vectors["float32"]).sum(1)
        out[name]["lowest_cosine_to_float32"] = round(float(cosine.min()), 5)
    return out


def profile(dataset: Any, store: Any) -> dict[str, Any]:
    """The kernels of the captured step, by time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    bench = StepBench(dataset, store, engine="graph")
    bench.advance(20)
    torch.cuda.synchronize()
    with profiler(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
        bench.advance(10)
        torch.cuda.synchronize()
    rows = [
        (e.key, e.self_device_time_total / 1e3 / 10, e.count / 10)
        for e in found.key_averages()
        if e.self_device_time_total > 0
    ]
    rows.sort(key=lambda row: -row[1])
    total = sum(row[1] for row in rows)
    bench.close()
    for key, ms, count in rows[:45]:
        print(f"{ms:8.3f} ms {100 * ms / total:5.1f} % {count:7.1f} x  {key[:110]}")
    return {
        "kernel_ms_a_step": round(total, 3),
        "kernels": len(rows),
        "launches_a_step": round(sum(row[2] for row in rows), 1),
        "top": [{"name": k[:140], "ms": round(ms, 4), "count": c} for k, ms, c in rows[:60]],
    }


def published(dataset: Any, store: Any) -> dict[str, Any]:
    """The plain step in the published manner."""
    from vireid.bench.machine import _published
    from vireid.methods import method_class
    from vireid.training.options import TrainOptions
    from vireid.training.training_set import TrainingSet

    recipe = method_class("mcl").recipes["published"]
    data = TrainingSet(dataset, store, TrainOptions(recipe=recipe, size=store.size), 0, 1)
    milliseconds, rate = _published(torch.device("cuda", 0), "resnet50", store, data, 20)
    parts = {}
    plain = PublishedStyle(device=torch.device("cuda", 0))
    z = torch.randn(64, 2048, device="cuda", requires_grad=True)
    for name, count, centers in (
        ("identity", 395, plain.pid_centers),
        ("camera", 6, plain.camera_centers),
    ):
        labels = torch.arange(8, device="cuda").repeat_interleave(8) % count
        times = []
        for _ in range(6):
            torch.cuda.synchronize()
            start = time.perf_counter()
            plain._centers(z, labels, centers).backward()
            torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - start))
        parts[f"{name}_centers_ms"] = round(sorted(times)[2], 2)
    return {"ms": milliseconds, "extraction_images_per_second": rate, **parts}


def trials(dataset: Any, store: Any) -> dict[str, Any]:
    """GPU memory after each of RegDB's trials, trained for 20 steps and tested in one process, as
    `--trial all` does. What is allocated must not grow, with Python's collector off too."""
    from vireid.commands import train_trials
    from vireid.synthetic import write_dataset
    from vireid.training import train_options

    del dataset, store
    rows = []
    with TemporaryDirectory() as folder:
        root = Path(folder) / "regdb"
        write_dataset(root, layout="regdb", identities=40, images=4, progress=False)
        options = train_options(dataset="regdb", data_root=str(root), method="mcl", recipe="clean",
                                arch="resnet50", pretrained="none", lr=1e-3)  # fmt: skip
        # at the recipe's 0.1, meant for ImageNet weights, 20 steps can diverge to NaN
        gc.collect()
        gc.disable()
        try:
            for trial in range(1, 11):
                torch.cuda.reset_peak_memory_stats()
                one, run = dataclasses.replace(options, trial=trial), Path(folder) / str(trial)
                train_trials._train(one, run, "cuda:0", 20, other_code=False)
                train_trials._test(one, run, "cuda:0")
                rows.append(
                    {
                        "trial": trial,
                        "allocated_mib": round(torch.cuda.memory_allocated() / 2**20, 1),
                        "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1),
                        "reserved_mib": round(torch.cuda.memory_reserved() / 2**20, 1),
                    }
                )
        finally:
            gc.enable()
    grown = rows[-1]["allocated_mib"] - rows[0]["allocated_mib"]
    return {"mib_a_trial": round(grown / 9, 2), "trials": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true", help="engines, methods, curves, profile")
    parser.add_argument("--images", type=int, default=4740)
    arguments = parser.parse_args()
    chosen = {name for name in arguments.only.split(",") if name}
    if arguments.quick:
        chosen = {"engines", "methods", "curves", "profile"}
    if not torch.cuda.is_available():
        sys.exit("This benchmark needs a CUDA GPU.")
    start = time.perf_counter()
    print(torch.__version__, torch.version.cuda, torch.cuda.get_device_name(0), flush=True)
    dataset, store = random_data(arguments.images)
    print(f"{len(store.images)} images, {time.perf_counter() - start:.1f} s", flush=True)
    sections: dict[str, Callable[[Any, Any], Any]] = {
        "engines": engines,
        "curves": curves,
        "syncs": syncs,
        "profile": profile,
        "methods": methods,
        "extraction": extraction,
        "published": published,
        "host_store": host_store,
        "float16": float16,
        "fallback": fallback,
        "precision": precision,
        "variants": variants,
        "trials": trials,
    }
    for name, run in sections.items():
        section(name, chosen, lambda run=run: run(dataset, store))
    print("\nstep of 64 images, mcl:")
    for name, found in (RESULTS.get("engines") or {}).items():
        if "ms" in found:
            print(
                f"  {name:10} {found['ms']:8.2f} ms {found['images_per_second']:8.0f} img/s "
                f"{found['gib']:6.2f} GiB  ready {found['ready_s']:.0f} s"
            )
        else:
            print(f"  {name:10} {found}")
    print(f"whole script {time.perf_counter() - start:.0f} s")
    write()


if __name__ == "__main__":
    main()
