"""Search in large galleries: ours beside usearch, LanceDB, Milvus Lite and FAISS.

    python benchmarks/search.py exact                   100,000 x 2048, every vector scanned
    python benchmarks/search.py million --renders E     1,000,000 vectors, three kinds of set;
                                                        E: embeddings file of distinct renders

Every engine searches the same vectors with the same queries in the same run, each in a process
of its own, one after the other. Recall is the share of the 20 best of a float32 scan of the
stored float16 vectors. Memory is anonymous memory, so without mapped files. Needs about 16 GB
of free disk for a million vectors of 2048 dimensions; everything is deleted at the end.

The others are no dependencies of vireid: pip install usearch lancedb 'vireid[milvus]'. The
renders: `vireid synthesize --out R --identities 500 --images 2 --seed 90`, then `vireid embed
--weights synth` of all its images.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _common import record

from vireid.index import create_index, open_index
from vireid.types import Embeddings

TOP = 20
IDENTITIES = 60_000
NOISE = 0.7
"""Length of an image's noise beside its identity's 1: two images of a person have cosine 0.67."""
CHUNK = 50_000
SETS = {"64": (2048, 64), "512": (2048, 512), "renders": (512, 0)}
"""Name → dimension, dimension of the space in which identities lie (0: of renders)."""
SPREAD = 0.3
"""Length of the noise that spreads renders, which differ from image to image already."""
SLOW_S = 40.0
"""An engine that takes longer for all repeats is asked fewer times, 5 at least."""
LIMIT_S = 900
"""An engine that takes longer altogether is stopped."""
RECALL = 0.99
BARS = {
    "exact": {"recall_at_20": (">=", 1.0), "p50_ms": ("<=", 25.0),
              "batch_of_100_ms_each": ("<=", 4.0)},
    "million": {"recall_at_20": (">=", RECALL), "p50_ms": ("<=", 25.0), "p99_ms": ("<=", 60.0),
                "search_peak_mib": ("<=", 1536.0), "build_peak_mib": ("<=", 1536.0),
                "build_s": ("<=", 1200.0)},
}  # fmt: skip
"""What vireid has to reach, for each kind of run."""


# -- sets


def blocks(name: str, count: int, renders: np.ndarray | None, seed: int) -> Iterator[np.ndarray]:
    """(m, D) float32 unit vectors, `count` in all."""
    dim, space = SETS[name]
    fixed = np.random.default_rng(1)
    if renders is None:
        centers = fixed.standard_normal((IDENTITIES, space), dtype=np.float32)
        centers /= np.linalg.norm(centers, axis=1, keepdims=True)
        basis = np.linalg.qr(fixed.standard_normal((dim, space)))[0].T.astype(np.float32)
    random = np.random.default_rng(seed)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        if renders is None:
            block = centers[random.integers(0, IDENTITIES, size)] @ basis
            spread = NOISE
        else:
            block = renders[random.integers(0, len(renders), size)].astype(np.float32)
            spread = SPREAD
        noise = random.standard_normal(block.shape, dtype=np.float32)
        block = block + noise * (spread / dim**0.5)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def write_set(
    folder: Path, name: str, count: int, queries: int, renders: np.ndarray | None
) -> None:
    """vectors.npy (count, D) float16, queries.npy (Q, D) float32 and truth.npy (Q, 20)."""
    dim = SETS[name][0] if renders is None else renders.shape[1]
    vectors = np.lib.format.open_memmap(
        folder / "vectors.npy", mode="w+", dtype=np.float16, shape=(count, dim)
    )
    row = 0
    for block in blocks(name, count, renders, seed=2):
        vectors[row : row + len(block)] = block
        row += len(block)
    vectors.flush()
    asked = np.concatenate(list(blocks(name, queries, renders, seed=3)))
    np.save(folder / "queries.npy", asked)
    best = np.full((queries, TOP), -np.inf, dtype=np.float32)
    truth = np.zeros((queries, TOP), dtype=np.int64)
    for start in range(0, count, CHUNK):
        scores = asked @ np.asarray(vectors[start : start + CHUNK], dtype=np.float32).T
        near = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
        both = np.concatenate([best, np.take_along_axis(scores, near, 1)], axis=1)
        rows = np.concatenate([truth, near + start], axis=1)
        order = np.argsort(-both, axis=1)[:, :TOP]
        best, truth = np.take_along_axis(both, order, 1), np.take_along_axis(rows, order, 1)
    np.save(folder / "truth.npy", truth)


# -- engines: each builds in `place` and returns (one query → rows, many → rows, facts)

Search = Callable[[np.ndarray], list[list[int]]]


def ours(vectors: np.ndarray, place: Path) -> tuple[Search, dict[str, Any]]:
    start = time.perf_counter()
    with create_index(place, weights_hash="benchmark", dim=vectors.shape[1]) as index:
        for row in range(0, len(vectors), CHUNK):
            chunk = vectors[row : row + CHUNK]
            index.add(_embeddings(chunk, row))
    built = time.perf_counter() - start
    start = time.perf_counter()
    index = open_index(place)
    index.search(np.asarray(vectors[0], dtype=np.float32))
    opened = time.perf_counter() - start
    info = index.info()

    def search(queries: np.ndarray) -> list[list[int]]:
        return [[int(hit.path) for hit in hits] for hits in index.search(queries, top=TOP)]

    return search, {"build_s": built, "open_s": opened, "mode": info.mode, **info.details}


def _embeddings(chunk: np.ndarray, first: int) -> Embeddings:
    unknown = np.full(len(chunk), -1)
    return Embeddings(
        vectors={"embedding": chunk},
        paths=[str(n) for n in range(first, first + len(chunk))],
        pids=unknown,
        camids=np.arange(first, first + len(chunk)) % 6 + 1,
        modality=unknown * 0,
        times=np.full(len(chunk), np.nan),
        weights_hash="benchmark",
    )


def usearch_exact(vectors: np.ndarray, place: Path) -> tuple[Search, dict[str, Any]]:
    from usearch.index import MetricKind, search

    data = np.asarray(vectors)

    def find(queries: np.ndarray) -> list[list[int]]:
        found = search(data, queries.astype(np.float16), TOP, MetricKind.IP, exact=True, threads=2)
        return np.atleast_2d(found.keys).tolist()

    return find, {"build_s": 0.0, "mode": "usearch, exact, float16"}


def usearch_graph(vectors: np.ndarray, place: Path) -> tuple[Search, dict[str, Any]]:
    from usearch.index import Index

    start = time.perf_counter()
    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=16,
                  expansion_add=64, expansion_search=256)  # fmt: skip
    for row in range(0, len(vectors), CHUNK):
        chunk = np.asarray(vectors[row : row + CHUNK])
        index.add(np.arange(row, row + len(chunk)), chunk, threads=2)

    def find(queries: np.ndarray) -> list[list[int]]:
        found = index.search(queries.astype(np.float16), TOP, threads=2)
        return np.atleast_2d(found.keys).tolist()

    return find, {"build_s": time.perf_counter() - start, "mode": "usearch, graph, float16",
                  "tune": lambda value: setattr(index, "expansion_search", value),
                  "tries": [256, 1024, 4096]}  # fmt: skip


def _lance_table(vectors: np.ndarray, place: Path) -> Any:
    import lancedb
    import pyarrow as pa

    dim = vectors.shape[1]
    schema = pa.schema(
        [pa.field("row", pa.int64()), pa.field("vector", pa.list_(pa.float16(), dim))]
    )

    def batches() -> Iterator[Any]:
        for row in range(0, len(vectors), 10_000):
            chunk = np.ascontiguousarray(vectors[row : row + 10_000])
            flat = pa.array(chunk.reshape(-1))
            rows = pa.array(np.arange(row, row + len(chunk)))
            lists = pa.FixedSizeListArray.from_arrays(flat, dim)
            yield pa.RecordBatch.from_arrays([rows, lists], schema=schema)

    return lancedb.connect(str(place)).create_table("people", batches(), schema=schema)


def lancedb_exact(vectors: np.ndarray, place: Path) -> tuple[Search, dict[str, Any]]:
    start = time.perf_counter()
    table = _lance_table(vectors, place)

    def find(queries: np.ndarray) -> list[list[int]]:
        asked = [table.search(query).distance_type("dot").select(["row"]) for query in queries]
        return [one.limit(TOP).to_arrow()["row"].to_pylist() for one in asked]

    return find, {"build_s": time.perf_counter() - start, "mode": "LanceDB, exact, float16"}


def lancedb_ivf(vectors: np.ndarray, place: Path) -> tuple[Search, dict[str, Any]]:
    start = time.perf_counter()
    table = _lance_table(vectors, place)
    table.create_index(metric="dot", vector_column_name="vector", index_type="IVF_FLAT",
                       num_partitions=max(16, min(256, len(vectors) // 1000)),
                       sample_rate=64, max_iterations=15)  # fmt: skip
    effort = [8]

    def find(queries: np.ndarray) -> list[list[int]]:
        asked = [table.search(query).distance_type("dot").nprobes(effort[0]) for query in queries]
        return [one.select(["row"]).limit(TOP).to_arrow()["row"].to_pylist() for one in asked]

    return find, {"build_s": time.perf_counter() - start, "mode": "LanceDB, IVF_FLAT, float16",
                  "tune": lambda value: effort.__setitem__(0, value),
                  "tries": [8, 32, 128, 256]}  # fmt: skip


def milvus_lite(vectors: np.ndarray, place: Path) -> tuple[Search, dict[str, Any]]:
    start = time.perf_counter()
    index = create_index(f"{place}.db", weights_hash="benchmark", dim=vectors.shape[1])
    for row in range(0, len(vectors), CHUNK):
        index.add(_embeddings(vectors[row : row + CHUNK], row))

    def find(queries: np.ndarray) -> list[list[int]]:
        return [[int(hit.path) for hit in hits] for hits in index.search(queries, top=TOP)]

    return find, {"build_s": time.perf_counter() - start, "mode": "Milvus Lite, FLAT, float32"}


def faiss_half(vectors: np.ndarray, place: Path) -> tuple[Search, dict[str, Any]]:
    import faiss

    start = time.perf_counter()
    kind = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexScalarQuantizer(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    for row in range(0, len(vectors), CHUNK):
        index.add(np.asarray(vectors[row : row + CHUNK], dtype=np.float32))

    def find(queries: np.ndarray) -> list[list[int]]:
        return index.search(queries, TOP)[1].tolist()

    return find, {"build_s": time.perf_counter() - start, "mode": "FAISS, exact, float16"}


ENGINES = {
    "vireid": ours,
    "usearch exact": usearch_exact,
    "usearch graph": usearch_graph,
    "lancedb exact": lancedb_exact,
    "lancedb ivf": lancedb_ivf,
    "milvus lite": milvus_lite,
    "faiss float16": faiss_half,
}


# -- measuring


def measure(engine: str, folder: Path, repeats: int) -> dict[str, Any]:
    """Build and search with one engine in this process."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    peak = Peak()
    search, facts = ENGINES[engine](vectors, folder / "place")
    facts["build_peak_mib"] = peak.stop()
    tune = facts.pop("tune", None)
    for effort in facts.pop("tries", [None]):
        if tune is not None:
            tune(effort)
            facts["effort"] = str(effort)
        start = time.perf_counter()
        found: list[list[int]] = []
        while len(found) < 20 and (len(found) < 3 or time.perf_counter() < start + SLOW_S / 4):
            found += search(queries[len(found)][None])
        each = (time.perf_counter() - start) / len(found)
        shared = [len(set(a) & set(b)) / TOP for a, b in zip(found, truth.tolist())]
        facts["recall_at_20"] = float(np.mean(shared))
        if facts["recall_at_20"] >= RECALL:
            break
    peak = Peak()
    repeats = facts["repeats"] = min(repeats, max(5, int(SLOW_S / each)))
    times, found = [], []
    for n in range(repeats):
        start = time.perf_counter()
        found += search(queries[n % len(queries)][None])
        times.append(time.perf_counter() - start)
    shared = [len(set(a) & set(truth[n % len(queries)])) / TOP for n, a in enumerate(found)]
    facts["recall_at_20"] = float(np.mean(shared))
    facts["p50_ms"], facts["p99_ms"] = (float(v) for v in np.percentile(times, [50, 99]) * 1e3)
    if facts["p50_ms"] < 50 or facts["mode"].startswith("usearch, exact"):
        batches = []
        for _ in range(3):
            start = time.perf_counter()
            search(queries[:100])
            batches.append((time.perf_counter() - start) / min(100, len(queries)))
        facts["batch_of_100_ms_each"] = float(np.median(batches) * 1e3)
    facts["search_peak_mib"] = peak.stop()
    return facts


class Peak:
    """Highest anonymous memory of this process, looked at 20 times a second."""

    def __init__(self) -> None:
        self._highest = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.is_set():
            status = Path("/proc/self/status").read_text()
            anonymous = int(status.split("RssAnon:")[1].split()[0])
            self._highest = max(self._highest, anonymous)
            self._end.wait(0.05)

    def stop(self) -> float:
        """MiB."""
        self._end.set()
        self._thread.join()
        return round(self._highest / 1024, 1)


def run_set(
    arguments: argparse.Namespace, name: str, count: int, engines: list[str]
) -> dict[str, Any]:
    """Facts of each engine on one set."""
    renders = None
    if name == "renders":
        from vireid.embed import load_embeddings

        found = load_embeddings(arguments.renders)
        best = found.preprocessing.get("search_with", "embedding")
        renders = np.unique(found.vectors[best], axis=0)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as text:
        folder = Path(text)
        start = time.perf_counter()
        write_set(folder, name, count, arguments.queries, renders)
        took = time.perf_counter() - start
        print(f"{name}: {count:,} vectors written in {took:.0f} s", flush=True)
        for engine in engines:
            command = [sys.executable, __file__, "measure", "--engines", engine]
            command += ["--folder", str(folder), "--repeats", str(arguments.repeats)]
            start = time.perf_counter()
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=LIMIT_S
                )
            except subprocess.TimeoutExpired:
                facts: dict[str, Any] = {"mode": f"stopped after {LIMIT_S} s"}
            else:
                if done.returncode:
                    words = done.stderr.strip().splitlines() or [f"signal {-done.returncode}"]
                    facts = {"mode": "failed: " + words[-1]}
                else:
                    facts = json.loads(done.stdout.strip().splitlines()[-1])
            for path in folder.glob("place*"):
                shutil.rmtree(path)
            facts["whole_s"] = round(time.perf_counter() - start, 1)
            if renders is not None:
                facts["distinct_renders"] = len(renders)
            print(name, engine, facts, flush=True)
            results[engine] = facts
    return results


COLUMNS = ["recall_at_20", "p50_ms", "p99_ms", "batch_of_100_ms_each", "build_s", "build_peak_mib",
           "search_peak_mib", "repeats"]  # fmt: skip


def rows_of(results: dict[str, Any], bars: dict[str, tuple[str, float]]) -> list[dict[str, Any]]:
    """A line for each set and engine; below our own the bars and whether they were reached."""
    rows = []
    for name, engines in results.items():
        ours = engines.get("vireid", {})
        for engine, facts in engines.items():
            row = {"set": name, "engine": engine, **{key: facts.get(key, "") for key in COLUMNS}}
            equal = facts.get("recall_at_20", 0) >= RECALL and "p50_ms" in ours
            row["p50 / ours"] = facts["p50_ms"] / ours["p50_ms"] if equal else ""
            row["mode"] = f"{facts['mode']} {facts.get('effort', '')}".strip()
            rows.append(row)
            if engine == "vireid":
                words = {key: f"{sign} {bar:g}: {_verdict(facts, key, sign, bar)}"
                         for key, (sign, bar) in bars.items()}  # fmt: skip
                rows.append({"set": name, "engine": "*bar*", **words})
    return rows


def _verdict(facts: dict[str, Any], key: str, sign: str, bar: float) -> str:
    value = facts.get(key)
    if value is None:
        return "not measured"
    return "holds" if (value <= bar if sign == "<=" else value >= bar) else "**missed**"


CHOSEN = {
    "exact": ["vireid", "faiss float16", "usearch exact", "lancedb exact", "milvus lite"],
    "64": ["vireid", "usearch exact", "lancedb ivf"],
    "512": ["vireid", "usearch exact", "lancedb ivf"],
    "renders": ["vireid", "usearch graph", "lancedb ivf", "usearch exact"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["exact", "million", "measure"])
    parser.add_argument("--folder", default=None, help="where the large files go")
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=500)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=None)
    parser.add_argument("--renders", default=None, help="embeddings file of the shipped network")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=None)
    arguments = parser.parse_args()
    if arguments.what == "measure":
        facts = measure(arguments.engines[0], Path(arguments.folder), arguments.repeats)
        print(json.dumps(facts))
        return
    exact = arguments.what == "exact"
    count = arguments.count or (100_000 if exact else 1_000_000)
    sets = arguments.sets or (["64"] if exact else list(SETS))
    if "renders" in sets and not arguments.renders:
        parser.error("The set 'renders' needs --renders FILE, an embeddings file of renders.")
    results = {}
    for name in sets:
        engines = arguments.engines or CHOSEN["exact" if exact else name]
        results[name] = run_set(arguments, name, count, engines)
    notes = [
        f"{count:,} vectors. Sets 64 and 512: 2048 dimensions, {IDENTITIES:,} identities in a "
        f"space of so many dimensions, noise of length {NOISE} in all.",
        "Queries are new images of the same identities. Recall@20 against a float32 scan. Times "
        "are warm: the files were in the system's cache. Memory is without mapped files. p50 "
        "and p99 are of one query at a time, on all cores.",
        f"'p50 / ours' is given where recall is at least {RECALL}; above 1, vireid is quicker. Of "
        "an approximate engine, the least effort of those tried that reaches it. "
        f"What would take more than {SLOW_S:.0f} s is repeated less often.",
    ]
    if "renders" in results:
        distinct = next(iter(results["renders"].values()))["distinct_renders"]
        notes.insert(1, f"Set renders: {distinct:,} distinct embeddings of the shipped network, "
                        "each of another render of a synthetic person, spread to the whole count "
                        f"by noise of length {SPREAD}.")  # fmt: skip
    if not exact:
        notes.append("usearch's graph is measured on the set of 512 dimensions; for 2048 it is "
                     "left out, since building it takes too long on two cores: there usearch "
                     "scans every vector. LanceDB's inverted file has 256 lists.")  # fmt: skip
    name = "-".join(["search", arguments.what, *(arguments.sets or [])])
    path = record(name, results, notes=notes, table=rows_of(results, BARS[arguments.what]))
    print(path.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
