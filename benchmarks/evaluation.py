"""Evaluation: metrics and re-ranking beside plain loops, and a gallery of 200,000 images.

    python benchmarks/evaluation.py                 everything but the large gallery, a minute
    python benchmarks/evaluation.py --large         the large gallery too (3-4 minutes more)
    python benchmarks/evaluation.py --quick         one repeat, for a look

The baselines run here, on the same data, and have to give the same numbers: a loop over queries
in the style of the public evaluation code (below; float64 features, a sort of every row, Python
lists of precisions), and k-reciprocal re-ranking with dense NumPy matrices in the style of the
public one (tests/evaluation/reference.py).
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
from _vectors import embeddings_of  # noqa: E402

from vireid.data import Dataset, ProtocolOptions, facts_of, trials  # noqa: E402
from vireid.evaluation import evaluate, rerank, score, score_embeddings  # noqa: E402
from vireid.evaluation.metrics import Scores  # noqa: E402
from vireid.evaluation.products import product  # noqa: E402
from vireid.types import Embeddings, Modality, Sample  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "evaluation"))
from reference import rerank_by_loop  # noqa: E402

DIMENSIONS = 2048


def people(seed: int, count: int, pids: np.ndarray, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Unit vectors (n, dimensions) float32: a direction for each of `count` identities, noise."""
    g = np.random.default_rng(seed)
    directions = g.standard_normal((count, dimensions), np.float32)
    rows = directions[pids] + 3 * g.standard_normal((len(pids), dimensions), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def loop(
    distance: np.ndarray,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    query_camids: np.ndarray,
    gallery_camids: np.ndarray,
    *,
    collapse: bool,
) -> tuple[float, float, float]:
    """Rank-1, mAP and mINP one query after the other, in the style of the public code for
    SYSU-MM01 (`collapse`: the rule of cameras 3 and 2, CMC over identities) and RegDB."""
    order = np.argsort(distance, axis=1)
    ranked = gallery_pids[order]
    matches = (ranked == query_pids[:, np.newaxis]).astype(np.int32)
    curves, precisions, penalties = [], [], []
    for q in range(len(query_pids)):
        keep = np.ones(len(gallery_pids), bool)
        if collapse:
            keep = np.invert((query_camids[q] == 3) & (gallery_camids[order[q]] == 2))
        match = matches[q][keep]
        if not np.any(match):
            continue
        listed = match
        if collapse:
            pids = ranked[q][keep]
            places = np.unique(pids, return_index=True)[1]
            listed = np.array([pids[place] for place in sorted(places)]) == query_pids[q]
        curve = listed.cumsum()
        curve[curve > 1] = 1
        curves.append(curve[:20])
        hits = match.cumsum()
        last = np.max(np.where(match == 1))
        penalties.append(hits[last] / (last + 1.0))
        precision = np.asarray([x / (i + 1.0) for i, x in enumerate(hits)]) * match
        precisions.append(precision.sum() / match.sum())
    return float(np.mean(curves, axis=0)[0]), float(np.mean(precisions)), float(np.mean(penalties))


def sysu() -> tuple[Dataset, Embeddings]:
    """SYSU-MM01's size: 96 people, 3803 infrared images, 22 visible ones in each of 301 pairs of
    identity and camera, of which each of ten galleries draws one; two test embeddings."""
    infrared = [(n % 96, (3, 6)[n // 96 % 2], n) for n in range(3803)]
    pairs = [(pid, camid) for camid in (1, 2, 4, 5) for pid in range(96)][:301]
    visible = [(pid, camid, n) for pid, camid in pairs for n in range(22)]
    samples = tuple(
        Sample(path=f"cam{camid}/{pid:04d}/{n:04d}.jpg", pid=pid, camid=camid, modality=modality)
        for listed, modality in ((infrared, Modality.INFRARED), (visible, Modality.VISIBLE))
        for pid, camid, n in listed
    )
    rows = np.arange(len(samples))
    parts = {"test": rows, "train": rows[:0], "fit": rows[:0], "val": rows[:0]}
    data = Dataset(facts=facts_of("sysu"), root=Path("none"), samples=samples, parts=parts)
    vectors = {name: people(i, 96, data.pids) for i, name in enumerate(("pooled", "embedding"))}
    return data, embeddings_of(data, rows, vectors)


def agree(found: tuple[float, float, float], scores: Scores) -> None:
    """The loop and we have to say the same of the same similarity."""
    np.testing.assert_allclose(found, (scores.at(1), scores.mean_ap, scores.mean_inp), atol=1e-6)


def measure(repeats: int) -> tuple[dict, list[dict]]:
    results: dict = {"cores": CORES, "repeats": repeats}
    rows = []

    def line(what: str, key: str, plain: float, ours: float, bar: str) -> None:
        results[key] = {"plain_seconds": plain, "seconds": ours, "times": plain / ours}
        rows.append({"what": what, "plain loop (s)": plain, "vireid (s)": ours,
                     "times": f"{plain / ours:.0f}", "bar": bar})  # fmt: skip
        print(f"{what}: {plain:.3f} s → {ours:.4f} s, {plain / ours:.0f} times", flush=True)

    data, embeddings = sysu()
    every = np.arange(len(data))
    drawn = trials(data, ProtocolOptions())
    sides = [(data.pids[t.query], data.pids[t.gallery], data.camids[t.query],
              data.camids[t.gallery]) for t in drawn]  # fmt: skip
    similarities = [
        (vectors[t.query] @ vectors[t.gallery].T, labels)
        for vectors in embeddings.vectors.values()
        for t, labels in zip(drawn, sides)
    ]
    similarity, labels = similarities[0]
    agree(loop(-similarity, *labels, collapse=True), score(similarity, *labels))
    slow = median_time(lambda: loop(-similarity, *labels, collapse=True), min(3, repeats), 0)
    fast = median_time(lambda: score(similarity, *labels), repeats)
    line("SYSU-MM01 size, one trial (3803 x 301)", "sysu_trial", slow, fast, ">= 60 times")
    fast = median_time(lambda: [score(s, *known) for s, known in similarities], repeats)
    line("10 trials, both embeddings (loop: 20 x one trial)", "sysu_all", 20 * slow, fast,
         ">= 60 times, <= 1 s")  # fmt: skip

    # Public test scripts collect features in arrays of zeros, which are float64.
    vectors = embeddings.vectors["pooled"].astype(np.float64)
    query, gallery = vectors[drawn[0].query], vectors[drawn[0].gallery]
    slow = median_time(lambda: loop(-np.matmul(query, gallery.T), *labels, collapse=True),
                       min(3, repeats), 0)  # fmt: skip
    fast = median_time(lambda: evaluate(data, ProtocolOptions(), embeddings, every), repeats)
    line("the same from the embeddings, with draws, camera pairs and intervals", "sysu_report",
         20 * slow, fast, "<= 1 s")  # fmt: skip

    pids = np.repeat(np.arange(206), 10)
    pair = people(0, 206, pids), people(1, 206, pids)
    similarity, cameras = pair[0] @ pair[1].T, np.zeros_like(pids)
    thermal = pids, pids, cameras, cameras
    agree(loop(-similarity, *thermal, collapse=False), score(similarity, pids, pids, rule="regdb"))
    slow = median_time(lambda: loop(-similarity, *thermal, collapse=False), min(3, repeats), 0)
    fast = median_time(lambda: score(similarity, pids, pids, rule="regdb"), repeats)
    line("RegDB size (2060 x 2060)", "regdb", slow, fast, ">= 40 times")

    query, gallery = query.astype(np.float32), gallery.astype(np.float32)
    found: list[np.ndarray] = []
    slow = median_time(lambda: found.append(rerank_by_loop(query, gallery)), 1, 0)
    np.testing.assert_allclose(rerank(query, gallery), found[0], atol=1e-5)
    fast = median_time(lambda: rerank(query, gallery), repeats)
    line("re-ranking of one SYSU-MM01 trial", "rerank", slow, fast, ">= 20 times")
    joint = np.concatenate([query, gallery])
    alone = median_time(lambda: product(joint, joint), repeats)
    results["rerank_product_seconds"] = alone
    rows.append({"what": "of it, the product of all images with each other",
                 "vireid (s)": alone})  # fmt: skip
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
        "Scoring starts from the similarity matrix, as the loop does, unless said. The loop is "
        "written as public evaluation code is; both give the same numbers here.",
        "The first call in a new installation compiles for some seconds; that is not counted.",
    ]
    print("wrote", record("evaluation", results, table=rows, notes=notes))


if __name__ == "__main__":
    main()
