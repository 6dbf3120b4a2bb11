"""Extraction: images a second through the network, from the store, and from JPEG files.

    python benchmarks/extraction.py [--images 20000] [--files 60000] [--arch resnet50]
        [--weights synth,RUN] [--people 100 | --data-root DIR --dataset sysu]

Also: Rank-1 and mAP of trained networks (the shipped one, runs) in float16, which `auto` means, and
bfloat16 beside float32's, on real or synthetic test identities; without --data-root people are
rendered first. The result is written after every part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _common import StackSampler, markdown, record  # noqa: E402
from PIL import Image  # noqa: E402

from vireid.bench import random_data, time_extraction  # noqa: E402
from vireid.cores import usable_cores  # noqa: E402
from vireid.data.decode_pool import DecodePool  # noqa: E402
from vireid.embed import load  # noqa: E402
from vireid.embed.embedder import Embedder  # noqa: E402
from vireid.embed.job import embed_files  # noqa: E402
from vireid.embed.ring import shared_pixels  # noqa: E402
from vireid.methods import Sizes, build_method, method_class  # noqa: E402
from vireid.types import Modality  # noqa: E402

DIFFERENT = 5000  # files with images of their own; more are links to them
ROUNDS = 3  # of decoding and embedding files, in turns
POINTS = 0.1  # by which Rank-1 may differ from float32's, in percent


def guarded(name: str, run: Callable[[], Any]) -> Any:
    """Run one measurement; a failure is printed and becomes its result."""
    try:
        found = run()
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    print(f"{name}: {json.dumps(found)}", flush=True)
    return found


def write_files(folder: Path, images: np.ndarray, count: int) -> list[Path]:
    """JPEG files of about 11 kB (smoothed noise), as a camera's crops are."""

    def one(number: int) -> Path:
        image = Image.fromarray(images[number % len(images)]).resize((72, 144))
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        image.resize((144, 288), Image.Resampling.BICUBIC).save(path, quality=90)
        return path

    with ThreadPoolExecutor(usable_cores()) as pool:
        files = list(pool.map(one, range(min(count, DIFFERENT))))
    for first in range(len(files), count, 1000):
        part = folder / f"{first // 1000:03d}"
        part.mkdir(exist_ok=True)
        for number in range(first, min(first + 1000, count)):
            files.append(part / f"{number:06d}.jpg")
            os.link(files[number % DIFFERENT], files[number])
    return files


def decode_rate(files: list[Path], size: tuple[int, int], workers: int) -> float:
    """Images a second that so many processes decode, nothing else running."""
    with shared_pixels(1024, size) as (pixels, handle), DecodePool(pixels, workers, handle) as pool:
        for future in pool.submit(range(256), files[:256]):
            future.result()
        start = time.perf_counter()
        futures = pool.submit([number % 1024 for number in range(len(files))], files)
        for future in futures:
            future.result()
        return len(files) / (time.perf_counter() - start)


def from_files(
    embedder: Embedder, images: np.ndarray, count: int, workers: list[int], network: float
) -> list[dict[str, Any]]:
    """`embed` from JPEG files beside what the cores can decode, for numbers of processes.

    The rate of `embed` is that of the whole job: reading the folder, starting processes, writing.
    Both are medians of ROUNDS, measured in turns.
    """
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        folder.mkdir()
        files = write_files(folder, images, count)
        kib = sum(f.stat().st_size for f in files[:500]) / min(500, count) / 1024
        embed_files(embedder, folder / "000", Path(name) / "warm", modality=Modality.VISIBLE)
        for number in workers:
            decodes, rates = [], []
            for turn in range(ROUNDS):
                decodes.append(decode_rate(files, embedder.size, number))
                out = Path(name) / f"all{number}-{turn}"
                with StackSampler() as sampler:
                    found = embed_files(
                        embedder, folder, out, modality=Modality.VISIBLE, workers=number
                    )
                out.unlink()
                rates.append(found.images_per_second)
            decode, rate = statistics.median(decodes), statistics.median(rates)
            rows.append(
                {
                    "files": count,
                    "kib_a_file": round(kib, 1),
                    "processes": number,
                    "decode_images_per_second": round(decode, 1),
                    "embed_images_per_second": round(rate, 1),
                    "each_decode": [round(one, 1) for one in decodes],
                    "each_embed": [round(one, 1) for one in rates],
                    "share_of_decoding": round(rate / decode, 3),
                    "share_of_the_slower": round(rate / min(decode, network), 3),
                    "where_the_threads_are": sampler.shares(),
                }
            )
    return rows


def render(people: int, folder: Path) -> Path:
    """Synthetic people that no shipped network was trained on."""
    words = ["--layout", "sysu", "--identities", people + 8, "--test-identities", people,
             "--images", 4, "--seed", 301, "--out", folder]  # fmt: skip
    subprocess.run([sys.executable, "-m", "vireid", "synthesize", *map(str, words)], check=True)
    return folder


def quality(weights: str, dataset_name: str, root: Path, device: str) -> dict[str, Any]:
    """Rank-1 and mAP in percent by number format, and how far Rank-1 is from float32's."""
    from vireid.data import ProtocolOptions, load_dataset, prepare, trials
    from vireid.evaluation import evaluate

    dataset = load_dataset(dataset_name, root)
    options = ProtocolOptions()
    drawn = trials(dataset, options)
    rows = np.unique(np.concatenate([np.r_[t.query, t.gallery] for t in drawn]))
    variants: dict[str, dict[str, Any]] = {
        "float32": {"precision": "float32", "compiled": False},
        "bfloat16": {"precision": "bfloat16", "compiled": False},
    }
    if device != "cpu" and torch.cuda.is_available():
        variants |= {
            "float16": {"precision": "float16", "compiled": False},
            "float16, compiled": {"precision": "float16", "compiled": True},
        }
    out: dict[str, Any] = {}
    for name, how in variants.items():
        embedder = load(weights, device=device, **how)
        store = prepare(dataset, size=embedder.size)
        embeddings = embedder.embed_store(store, dataset, rows)
        report = evaluate(dataset, options, embeddings, rows, context={}).to_plain()
        out[name] = {
            which: {m: round(100 * report[which][m]["mean"], 3) for m in ("rank1", "mean_ap")}
            for which in embedder.test_embeddings
        }
    exact = out["float32"]
    away = {
        name: {w: round(found[w]["rank1"] - exact[w]["rank1"], 3) for w in exact}
        for name, found in out.items()
        if name != "float32"
    }
    shipped = {name: found for name, found in away.items() if name.startswith("float16")} or away
    largest = max(abs(value) for found in shipped.values() for value in found.values())
    queries = sum(len(trial.query) for trial in drawn)
    return {
        "percent": out,
        "rank1_points_from_float32": away,
        "largest_rank1_points": largest,
        f"within_{POINTS}_points": largest <= POINTS,
        "ranked_queries": queries,
        "trials": len(drawn),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--files", type=int, default=60000, help="0: not from files")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", default="synth", help="comma-separated runs or files, or none")
    parser.add_argument("--people", type=int, default=100, help="rendered if no --data-root")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--dataset", default="sysu")
    parser.add_argument("--workers", default="", help="decoding processes, comma-separated")
    parser.add_argument("--variants", help="of the network, separated by ';' (default: all)")
    arguments = parser.parse_args()
    cuda = torch.cuda.is_available() and arguments.device != "cpu"
    cores = usable_cores()
    workers = [int(w) for w in arguments.workers.split(",") if w] or sorted(
        {cores, max(1, cores // 4)}, reverse=True
    )
    _, store = random_data(arguments.images)
    method = build_method(
        "mcl",
        method_class("mcl").model_defaults(arguments.arch, "none"),
        Sizes(num_pids=395, num_cameras=6),
    )
    rows = np.arange(min(len(store.images), arguments.images))
    results: dict[str, Any] = {"batch_size": arguments.batch_size, "arch": arguments.arch}
    variants: dict[str, dict[str, Any]] = {
        "float16, compiled": {"precision": "float16", "compiled": True},
        "bfloat16, compiled": {"precision": "bfloat16", "compiled": True},
        "float16, eager": {"precision": "float16"},
        "float32, eager": {"precision": "float32"},
        # As `auto` runs it; last, as the network keeps these kernels.
        "float16, own kernels": {"precision": "float16", "compiled": None},
    }
    if arguments.variants:
        variants = {name: variants[name] for name in arguments.variants.split(";")}
    table, notes = [], []
    for name, options in (variants if cuda else {"float32, eager": {}}).items():
        embedder = Embedder(
            method,
            {"size": list(store.size)},
            device=arguments.device,
            **{"compiled": False, **options},
        )
        found = results[name] = guarded(
            name,
            lambda embedder=embedder: time_extraction(
                embedder, store, rows, batch_size=arguments.batch_size
            ),
        )
        table.append(
            {
                "variant": name,
                "network img/s": found.get("network_images_per_second", found.get("error")),
                "host to host img/s": found.get("images_per_second", ""),
            }
        )
    record("extraction", results, table=table, notes=notes)  # what there is, should time run out
    names = [w.strip() for w in arguments.weights.split(",") if w.strip() not in ("", "none")]
    if names:
        with tempfile.TemporaryDirectory() as folder:
            root = arguments.data_root
            if root is None:
                root = guarded(
                    "people", lambda: str(render(arguments.people, Path(folder) / "people"))
                )
            if isinstance(root, (str, Path)):
                for name in names:
                    found = results[f"quality of {name}"] = guarded(
                        f"quality of {name}",
                        lambda name=name: quality(
                            name, arguments.dataset, Path(root), arguments.device
                        ),
                    )
                    notes.append(quality_note(name, found, arguments))
    record("extraction", results, table=table, notes=notes)
    if arguments.files:
        network = max(
            (found.get("network_images_per_second", 0.0)
             for found in results.values() if isinstance(found, dict)),
            default=0.0,
        )  # fmt: skip
        embedder = Embedder(method, {"size": list(store.size)}, device=arguments.device)
        found = results["files"] = guarded(
            "files",
            lambda: from_files(
                embedder, store.images, arguments.files, workers, network or float("inf")
            ),
        )
        for row in found if isinstance(found, list) else ():
            table.append(
                {
                    "variant": f"embed, JPEG files, {row['processes']} decoding processes",
                    "network img/s": "",
                    "host to host img/s": row["embed_images_per_second"],
                }
            )
            notes.append(
                f"{row['processes']} processes alone decode {row['decode_images_per_second']:.0f} "
                f"img/s ({row['kib_a_file']} KiB a file); the whole `embed` job reaches "
                f"{100 * row['share_of_decoding']:.0f} % of that, and "
                f"{100 * row['share_of_the_slower']:.0f} % of the slower of decoding and network "
                f"(medians of {ROUNDS}, in turns). Meanwhile the main thread was at: "
                + "; ".join(
                    f"`{place}` ({share:.0f} %)"
                    for place, share in row["where_the_threads_are"]["MainThread"].items()
                )
                + "."
            )
    print(record("extraction", results, table=table, notes=notes))
    print(markdown(table))
    print("\n".join(notes))
    failed = [
        name for name, found in results.items() if isinstance(found, dict) and "error" in found
    ]
    sys.exit(f"Failed: {', '.join(failed)}" if failed else 0)


def quality_note(name: str, found: dict[str, Any], arguments: argparse.Namespace) -> str:
    """The comparison of number formats as a sentence."""
    if "error" in found:
        return f"Quality of '{name}' failed: {found['error']}"
    scores = "; ".join(
        f"{how}: " + ", ".join(f"{w} {s['rank1']:.2f} / {s['mean_ap']:.2f}" for w, s in by.items())
        for how, by in found["percent"].items()
    )
    people = arguments.data_root or f"{arguments.people} synthetic people"
    verdict = "within" if found[f"within_{POINTS}_points"] else "NOT within"
    return (
        f"'{name}' on {people} ({found['trials']} trials, {found['ranked_queries']} ranked "
        f"queries), Rank-1 / mAP in %: {scores}. Rank-1 as `auto` computes is at most "
        f"{found['largest_rank1_points']:.3f} points from float32's, {verdict} {POINTS}."
    )


if __name__ == "__main__":
    main()
