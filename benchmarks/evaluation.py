"""Evaluation: metrics and re-ranking beside plain loops, and a gallery of 200,000 images.

    python benchmarks/evaluation.py                 everything but the large gallery, 2-3 minutes
    python benchmarks/evaluation.py --large         the large gallery too (another 5-15 minutes)
    python benchmarks/evaluation.py --quick         one repeat, for a look

The baselines run here, on the same data: a loop over queries as public evaluation code does it,
and k-reciprocal re-ranking with dense NumPy matrices (both in tests/evaluation/reference.py).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

CORES = 2
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, str(CORES))  # before NumPy is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _common import median_time, record  # noqa: E402

from vireid.evaluation import rerank, score, score_embeddings  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "evaluation"))
from reference import rerank_by_loop, score_by_loop  # noqa: E402

DIMENSIONS = 2048


def people(seed: int, count: int, pids: np.ndarray, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Unit vectors (n, dimensions) float32: a direction for each of `count` identities, noise."""
    g = np.random.default_rng(seed)
    directions = g.standard_normal((count, dimensions), np.float32)
    rows = directions[pids] + 3 * g.standard_normal((len(pids), dimensions), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sysu() -> tuple[np.ndarray, list[np.ndarray], tuple[np.ndarray, ...]]:
    """SYSU-MM01's size: 3803 queries of cameras 3 and 6; 10 galleries of 301 images."""
    g = np.random.default_rng(0)
    query_pids, gallery_pids = g.integers(0, 96, 3803), np.arange(301) % 96
    labels = (query_pids, gallery_pids, g.choice([3, 6], 3803), g.choice([1, 2, 4, 5], 301))
    query = people(1, 96, query_pids)
    galleries = [people(2 + trial, 96, gallery_pids) for trial in range(10)]
    return query, galleries, labels


def measure(repeats: int) -> tuple[dict, list[dict]]:
    results: dict = {"cores": CORES, "repeats": repeats}
    rows = []

    def line(what: str, key: str, plain: float, ours: float, bar: str) -> None:
        results[key] = {"plain_seconds": plain, "seconds": ours, "times": plain / ours}
        rows.append({"what": what, "plain loop (s)": plain, "vireid (s)": ours,
                     "times": f"{plain / ours:.0f}", "bar": bar})  # fmt: skip
        print(f"{what}: {plain:.3f} s → {ours:.4f} s, {plain / ours:.0f} times", flush=True)

    query, galleries, labels = sysu()
    # two embeddings: the second's similarities differ, the work is the same
    all_similarities = [s for g in galleries for s in (query @ g.T, query @ -g.T)]
    slow = median_time(lambda: score_by_loop(all_similarities[0], *labels, "sysu"),
                       min(3, repeats), 0)  # fmt: skip
    fast = median_time(lambda: score(all_similarities[0], *labels), repeats)
    line("SYSU-MM01 size, one trial (3803 x 301)", "sysu_trial", slow, fast, ">= 60 times")
    fast = median_time(lambda: [score(s, *labels) for s in all_similarities], repeats)
    line("10 trials, both embeddings (loop: 20 x one trial)", "sysu_all", 20 * slow, fast,
         ">= 60 times, <= 1 s")  # fmt: skip
    results["sysu_all_with_products_seconds"] = whole = median_time(
        lambda: [score(query @ g.T, *labels) for g in galleries for _ in range(2)], repeats
    )
    rows.append({"what": "the same with the similarities' products", "vireid (s)": whole})
    print(f"with products: {whole:.2f} s", flush=True)

    pids = np.repeat(np.arange(206), 10)
    vectors = people(0, 206, pids), people(1, 206, pids)
    similarity = vectors[0] @ vectors[1].T
    cameras = np.zeros_like(pids)
    slow = median_time(
        lambda: score_by_loop(similarity, pids, pids, cameras, cameras, "regdb"), min(3, repeats), 0
    )
    fast = median_time(lambda: score(similarity, pids, pids, rule="regdb"), repeats)
    line("RegDB size (2060 x 2060)", "regdb", slow, fast, ">= 40 times")

    slow = median_time(lambda: rerank_by_loop(query, galleries[0]), 1, 0)
    fast = median_time(lambda: rerank(query, galleries[0]), repeats)
    line("re-ranking of one SYSU-MM01 trial", "rerank", slow, fast, ">= 20 times")
    return results, rows


def large(queries: int, images: int) -> dict:
    """In a process of its own: how long, and how much memory at most."""
    command = [sys.executable, __file__, "--child", str(queries), str(images)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def child(queries: int, images: int) -> None:
    g = np.random.default_rng(0)
    pids = np.arange(images) % 20_000
    query_pids = g.integers(0, 20_000, queries)
    gallery = g.standard_normal((images, DIMENSIONS), np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    query = g.standard_normal((queries, DIMENSIONS), np.float32)
    begun = time.perf_counter()
    found = score_embeddings(
        query, gallery, query_pids, pids, g.integers(1, 7, queries), g.integers(1, 7, images)
    )
    print(json.dumps({
        "queries": queries, "gallery": images, "dimensions": DIMENSIONS,
        "seconds": time.perf_counter() - begun,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "inputs_gib": (query.nbytes + gallery.nbytes) / 2**30,
        "mean_ap": found.mean_ap,
    }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one repeat")
    parser.add_argument("--large", action="store_true", help="20,000 queries x 200,000 images")
    parser.add_argument("--child", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(CORES)
    if options.child:
        child(*options.child)
        return
    results, rows = measure(1 if options.quick else 7)
    if options.large:
        results["large"] = found = large(20_000, 200_000)
        rows.append({
            "what": f"20,000 x 200,000 of 2,048 float32, peak memory {found['peak_gib']:.1f} GiB "
                    f"(inputs {found['inputs_gib']:.1f})",
            "vireid (s)": found["seconds"], "bar": "<= 8 GiB",
        })  # fmt: skip
        print(rows[-1], flush=True)
    notes = [
        "Random vectors around one direction for each identity; medians.",
        "Scoring starts from the similarity matrix, as the loop does, unless said.",
        "The first call in a new installation compiles for some seconds; that is not counted.",
    ]
    print("wrote", record("evaluation", results, table=rows, notes=notes))


if __name__ == "__main__":
    main()
