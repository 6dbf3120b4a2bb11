"""Extraction: images a second through the network, from the store, and from JPEG files.

    python benchmarks/extraction.py [--images 20000] [--files 20000] [--arch resnet50]
        [--weights RUN --data-root DIR --dataset sysu]

With weights and data, Rank-1 and mAP in bfloat16 beside float32's.
"""

from __future__ import annotations

import argparse
import json
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
from _common import markdown, record  # noqa: E402
from PIL import Image  # noqa: E402

from vireid.bench import random_data, time_extraction  # noqa: E402
from vireid.embed import load  # noqa: E402
from vireid.embed.embedder import Embedder  # noqa: E402
from vireid.embed.job import embed_files  # noqa: E402
from vireid.embed.pool import DecodePool  # noqa: E402
from vireid.methods import Sizes, build_method, method_class  # noqa: E402
from vireid.types import Modality  # noqa: E402


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
        picture = Image.fromarray(images[number % len(images)]).resize((72, 144))
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture.resize((144, 288), Image.Resampling.BICUBIC).save(path, quality=90)
        return path

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(one, range(count)))


def decode_rate(files: list[Path], size: tuple[int, int]) -> float:
    """Images a second that the cores decode, nothing else running."""
    with DecodePool(1024, size) as pool:
        for future in pool.submit(range(256), files[:256]):
            future.result()
        start = time.perf_counter()
        futures = pool.submit([number % 1024 for number in range(len(files))], files)
        for future in futures:
            future.result()
        return len(files) / (time.perf_counter() - start)


def from_files(embedder: Embedder, images: np.ndarray, count: int) -> dict[str, Any]:
    """`embed` from JPEG files beside what the cores can decode."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_files(folder, images, count)
        kib = sum(f.stat().st_size for f in files[:500]) / 500 / 1024
        decode = decode_rate(files, embedder.size)
        embed_files(embedder, folder / "000", folder / "warm", modality=Modality.VISIBLE)
        found = embed_files(embedder, folder, folder / "all", modality=Modality.VISIBLE)
    return {
        "files": count,
        "kib_a_file": round(kib, 1),
        "decode_images_per_second": round(decode, 1),
        "embed_images_per_second": round(found.images_per_second, 1),
        "share": round(found.images_per_second / decode, 3),
    }


def quality(arguments: argparse.Namespace) -> dict[str, Any]:
    """Rank-1 and mAP in two precisions on real or synthetic test identities."""
    from vireid.data import ProtocolOptions, load_dataset, prepare, trials
    from vireid.evaluation import evaluate

    dataset = load_dataset(arguments.dataset, arguments.data_root)
    options = ProtocolOptions()
    drawn = trials(dataset, options)
    rows = np.unique(np.concatenate([np.r_[t.query, t.gallery] for t in drawn]))
    out = {}
    for precision in ("float32", "bfloat16"):
        embedder = load(arguments.weights, device=arguments.device, precision=precision)
        store = prepare(dataset, size=embedder.size)
        embeddings = embedder.embed_store(store, dataset, rows)
        report = evaluate(dataset, options, embeddings, rows, context={}).to_plain()
        out[precision] = {
            name: {m: report[name][m]["mean"] for m in ("rank1", "mean_ap")}
            for name in embedder.test_embeddings
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--files", type=int, default=20000)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--weights", default="")
    parser.add_argument("--data-root", default="")
    parser.add_argument("--dataset", default="sysu")
    arguments = parser.parse_args()
    _, store = random_data(arguments.images)
    method = build_method(
        "mcl",
        method_class("mcl").model_defaults(arguments.arch, "none"),
        Sizes(num_pids=395, num_cameras=6),
    )
    rows = np.arange(min(len(store.images), arguments.images))
    results: dict[str, Any] = {}
    variants: dict[str, dict[str, Any]] = {
        "compiled": {"compiled": True},
        "eager": {},
        "float32": {"precision": "float32"},
    }
    cuda = torch.cuda.is_available() and arguments.device != "cpu"
    for name, options in (variants if cuda else {"float32": {}}).items():
        embedder = Embedder(
            method,
            {"size": list(store.size)},
            device=arguments.device,
            **{"compiled": False, **options},
        )
        results[name] = guarded(
            name,
            lambda embedder=embedder: time_extraction(
                embedder, store, rows, batch_size=arguments.batch_size
            ),
        )
    embedder = Embedder(method, {"size": list(store.size)}, device=arguments.device, compiled=cuda)
    results["files"] = guarded("files", lambda: from_files(embedder, store.images, arguments.files))
    if arguments.weights:
        results["quality"] = guarded("quality", lambda: quality(arguments))
    table = [
        {
            "variant": name,
            "network img/s": found.get("network_images_per_second", ""),
            "host to host img/s": found.get("images_per_second", ""),
        }
        for name, found in results.items()
        if name in variants
    ]
    files = results["files"]
    if "share" in files:
        table.append(
            {
                "variant": f"from JPEG files ({100 * files['share']:.0f} % of decoding at "
                f"{files['decode_images_per_second']:.0f})",
                "network img/s": "",
                "host to host img/s": files["embed_images_per_second"],
            }
        )
    print(record("extraction", results, table=table))
    print(markdown(table))


if __name__ == "__main__":
    main()
