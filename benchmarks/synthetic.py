"""The generator of synthetic people: speed, memory, and how far trivial features get.

    python benchmarks/synthetic.py                    speed on this machine, 2 to 5 minutes
    python benchmarks/synthetic.py --difficulty       raw pixels and colour histograms too

Written are real folders; speed includes sampling people, dressing, drawing, compressing and
writing. Trivial features are tested on people of the `standard` preset, infrared to visible, one
gallery image of each person and camera, beside the same ranking with the identities shuffled.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported

import cv2
import numpy as np
from _common import record

from vireid.evaluation import score
from vireid.evaluation.metrics import Scores
from vireid.synthetic import write_dataset
from vireid.synthetic.writer import available_cores

SHUFFLES = 100
FIRST_IMAGE = """
import time; started = time.perf_counter()
from vireid.synthetic import render_person
render_person(0, 1, 1, 0)
print(time.perf_counter() - started)
"""


def first_image() -> float:
    """Seconds from a fresh interpreter's first import to the first image; best of three."""
    runs = [
        subprocess.run([sys.executable, "-c", FIRST_IMAGE], capture_output=True, check=True)
        for _ in range(4)
    ]
    return min(float(run.stdout) for run in runs[1:])  # the first may have compiled


def speed(folder: Path, workers: int, people: int) -> dict:
    """Images a second, and processor seconds an image, of `people` people with 24 images each."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    done = write_dataset(folder, identities=people, images=4, workers=workers, progress=False)
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    used = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after))
    return {
        "workers": workers,
        "images": done.num_images,
        "seconds": round(done.seconds, 2),
        "img_per_s": round(done.num_images / done.seconds, 1),
        "cpu_s_per_img": round(used / done.num_images, 4),
        "peak_mib_of_a_process": round(max(r.ru_maxrss for r in after) / 1024),
    }


def features(path: Path) -> dict[str, np.ndarray]:
    """Raw pixels (36 x 18) and a histogram of 8 levels a channel in three stripes."""
    image = cv2.imread(str(path))
    small = cv2.resize(image, (18, 36), interpolation=cv2.INTER_AREA).astype(np.float32)
    stripes = np.array_split(image, 3)
    histogram = [
        np.histogram(stripe[..., c], 8, (0, 256))[0] / stripe[..., c].size
        for stripe in stripes
        for c in range(3)
    ]
    raw = small.ravel() - small.mean()
    return {"raw pixels": raw, "colour histogram": np.concatenate(histogram)}


def difficulty(folder: Path, people: int, empty: bool) -> list[dict]:
    """Rank-1 and mAP, in percent, of features that nothing has learned; with `empty`, on the same
    scenes without their people."""
    write_dataset(
        folder, identities=people, images=4, seed=77, progress=False, without_person=empty
    )
    query = sorted(p for c in (3, 6) for p in folder.glob(f"cam{c}/*/*.jpg"))
    gallery = sorted(p for c in (1, 2, 4, 5) for p in folder.glob(f"cam{c}/*/0001.jpg"))

    def columns(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
        return (
            np.array([int(p.parts[-2]) for p in paths]),
            np.array([int(p.parts[-3][3:]) for p in paths]),
        )

    (query_pids, query_camids), (gallery_pids, gallery_camids) = columns(query), columns(gallery)
    described = [[features(p) for p in side] for side in (query, gallery)]
    rng, out = np.random.default_rng(0), []
    for name in described[0][0]:
        rows = [np.stack([d[name] for d in side]) for side in described]
        rows = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in rows]
        similarity = (rows[0] @ rows[1].T).astype(np.float32)

        def scored(pids: np.ndarray, similarity: np.ndarray = similarity) -> Scores:
            return score(similarity, pids, gallery_pids, query_camids, gallery_camids, rule="sysu")

        found = scored(query_pids)
        # Chance: the same queries under the names of others
        others = [np.concatenate([[0], rng.permutation(people) + 1]) for _ in range(SHUFFLES)]
        chance = np.array([scored(other[query_pids]).mean_ap for other in others])
        out.append({
            "features": name,
            "rank1": round(100 * float(found.cmc[0]), 2),
            "map": round(100 * float(found.mean_ap), 2),
            "map_of_chance": round(100 * chance.mean(), 2),
            "map_of_chance_deviation": round(100 * chance.std(), 2),
            "map_over_chance": round(float(found.mean_ap) / chance.mean(), 2),
        })  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--difficulty", action="store_true", help="trivial features too")
    parser.add_argument("--people", type=int, default=20, help="people a core for speed")
    parser.add_argument("--test-people", type=int, default=100, help="people for difficulty")
    options = parser.parse_args()
    cores = available_cores()
    results: dict = {"first_image_seconds_warm_cache": round(first_image(), 2)}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rows = [speed(Path(folder) / "one", 1, options.people)]
        if cores > 1:
            rows.append(speed(Path(folder) / "all", cores, options.people * cores))
        results["speed"] = rows
        if options.difficulty:
            results["difficulty"] = difficulty(Path(folder) / "full", options.test_people, False)
            results["without_people"] = difficulty(
                Path(folder) / "empty", options.test_people, True
            )
        results["seconds"] = round(time.perf_counter() - started, 1)
    table = [
        {"what": f"{row['workers']} workers, {name}", "value": value}
        for row in rows
        for name, value in row.items()
        if name != "workers"
    ]
    table.append({"what": "first image, s, warm cache", "value": results[
        "first_image_seconds_warm_cache"]})  # fmt: skip
    for key in ("difficulty", "without_people"):
        for row in results.get(key, []):
            table += [
                {"what": f"{key.replace('_', ' ')}: {row['features']}, {name}", "value": row[name]}
                for name in row
                if name != "features"
            ]
    path = record("synthetic", results, table=table, notes=["Synthetic people, preset standard."])
    print(path)


if __name__ == "__main__":
    main()
