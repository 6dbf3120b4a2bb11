"""`embed` of JPEG files with 1, 2, 4 … GPUs, beside what the same cores decode.

    python benchmarks/embed_gpus.py --gpus 1,2,4 [--files 300000] [--cores-per-gpu 16]
        [--people DIR]

Files are hard links to images of synthetic people (rendered unless --people names a folder of
them). Each measurement is a torchrun of its own; with --cores-per-gpu it may use so many cores for
each of its GPUs, as a smaller machine has. It decodes all files and embeds them, in turns, and says
what the network alone does on all its GPUs. A job's time is that of `embed_files` on all ranks:
from listing the files to the finished file, without Python's own start and compiling.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import StackSampler, record
from extraction import decode_rate, guarded
from multi_gpu import Job, numbers, wait_for_turn

from vireid.bench import random_data, time_extraction
from vireid.cores import usable_cores
from vireid.embed.embedder import Embedder
from vireid.embed.job import embed_files
from vireid.methods import Sizes, build_method, method_class
from vireid.runtime.ranks import join
from vireid.types import Modality

DIFFERENT = 30000  # images of their own; more files are links to them
ROUNDS = 3  # of decoding and embedding, in turns
PLACES = 3  # where the first rank's threads mostly are, in a note


def worker(arguments: argparse.Namespace) -> None:
    """One rank of a measurement; the first writes the result."""
    ranks = int(os.environ["LOCAL_WORLD_SIZE"])
    if arguments.cores_per_gpu:
        cores = sorted(os.sched_getaffinity(0))[: arguments.cores_per_gpu * ranks]
        os.sched_setaffinity(0, cores)
    faulthandler.dump_traceback_later(max(arguments.limit - 20, 10), exit=True)
    world = join(arguments.device)
    cuda = world.device.type == "cuda"
    size, arch = ((288, 144), "resnet50") if cuda else ((64, 32), "resnet10t")
    torch.manual_seed(0)  # the same network on all ranks
    method = build_method(
        "mcl",
        method_class("mcl").model_defaults(arch, "none"),
        Sizes(num_pids=395, num_cameras=6),
    )
    embedder = Embedder(method, {"size": list(size)}, device=arguments.device, compiled=cuda)
    _, store = random_data(1024 if cuda else 48, num_pids=4, size=size)
    folder = Path(arguments.folder)
    files = sorted((folder / "images").glob("*/*.jpg"))
    own, processes = files[world.rank :: world.size], max(1, usable_cores() // ranks)
    rows = np.arange(len(store.images))
    time_extraction(embedder, store, rows)  # compiles
    result = Path(arguments.result)
    wait_for_turn(world, result)
    network = world.gather(time_extraction(embedder, store, rows)["network_images_per_second"])

    def embed(images: Path, name: str) -> float:
        out = folder / f"{name}-{world.size}.safetensors"
        found = embed_files(embedder, images, out, modality=Modality.VISIBLE, workers=processes)
        world.barrier()
        if world.first:
            out.unlink()
        return found.images_per_second

    embed(folder / "images" / "000", "warm")
    decodes, rates, sampler = [], [], StackSampler()
    for turn in range(ROUNDS):
        world.barrier()
        decodes.append(sum(world.gather(decode_rate(own, size, processes))))
        if turn < ROUNDS - 1:
            rates.append(embed(folder / "images", f"all{turn}"))
        else:
            with sampler:
                rates.append(embed(folder / "images", f"all{turn}"))
    if world.first:
        decode, rate = statistics.median(decodes), statistics.median(rates)
        found = {
            "gpus": world.size,
            "files": len(files),
            "cores": usable_cores(),
            "decoding_processes": processes * ranks,
            "network_images_per_second": round(sum(network), 1),
            "decode_images_per_second": round(decode, 1),
            "embed_images_per_second": round(rate, 1),
            "each_decode": [round(one, 1) for one in decodes],
            "each_embed": [round(one, 1) for one in rates],
            "share_of_decoding": round(rate / decode, 3),
            "share_of_the_slower": round(rate / min(decode, sum(network)), 3),
            "engine": f"{embedder.precision}, batches of 256",
            "where_the_threads_are": sampler.shares(),
        }
        result.write_text(json.dumps(found))
    world.barrier()
    faulthandler.cancel_dump_traceback_later()


def make_files(folder: Path, people: Path | None, count: int) -> dict[str, Any]:
    """JPEG files below `folder`/images, links to those of people; what they are like."""
    if people is None:
        people = folder / "people"
        words = ["--layout", "sysu", "--identities", max(4, min(count, DIFFERENT) // 24 + 1),
                 "--test-identities", 2, "--images", 4, "--seed", 303, "--out", people]  # fmt: skip
        subprocess.run([sys.executable, "-m", "vireid", "synthesize", *map(str, words)], check=True)
    sources = sorted(people.glob("cam*/*/*.jpg"))[:DIFFERENT]
    for first in range(0, count, 1000):
        part = folder / "images" / f"{first // 1000:03d}"
        part.mkdir(parents=True)
        for number in range(first, min(first + 1000, count)):
            os.link(sources[number % len(sources)], part / f"{number:06d}.jpg")
    kib = statistics.mean(path.stat().st_size for path in sources) / 1024
    return {"different": min(len(sources), count), "kib_a_file": round(kib, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", default="1,2,4")
    parser.add_argument("--files", type=int, default=300000)
    parser.add_argument("--people", type=Path, help="people that are there (default: rendered)")
    parser.add_argument("--cores-per-gpu", type=int, default=0, help="0: all cores for any number")
    parser.add_argument("--limit", type=float, default=500, help="seconds for everything")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--folder", default="")
    parser.add_argument("--result", default="")
    parser.add_argument("--variant", default="embed")
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments)
        return
    asked, counts, _, notes = numbers(arguments.gpus, arguments.device)
    deadline = time.monotonic() + arguments.limit
    rows: list[dict[str, Any]] = []
    beside = None if arguments.people is None else arguments.people.parent  # for hard links
    with tempfile.TemporaryDirectory(dir=beside) as name:
        folder = Path(name)
        about = make_files(folder, arguments.people, arguments.files)
        notes.append(
            f"{arguments.files:,} JPEG files, hard links to {about['different']:,} images of "
            f"synthetic people, {about['kib_a_file']} KiB each. All rates are of all GPUs or all "
            f"cores together, in images a second; medians of {ROUNDS}, decoding and embedding in "
            "turns."
        )
        jobs = [Job(n, "embed", 0, folder / f"{n}.json", Path(__file__)) for n in counts]
        words = (f"--folder={folder}", f"--cores-per-gpu={arguments.cores_per_gpu}")
        for job in jobs:
            job.start(arguments, *words)
        while not all(job.waits for job in jobs) and time.monotonic() < deadline - 60:
            time.sleep(0.1)
        for job in jobs:
            found = guarded(f"{job.count} GPUs", lambda job=job: job.measure(deadline))
            rows.append(found)
            if "error" in found:
                notes.append(f"{job.count} GPUs: {found['error'].splitlines()[-1]}.")
            else:
                notes.append(sentence(found))
            columns = ("gpus", "cores", "network_images_per_second", "decode_images_per_second",
                       "embed_images_per_second", "share_of_decoding",
                       "share_of_the_slower")  # fmt: skip
            table = [{key: row.get(key, "") for key in columns} for row in rows]
            path = record("embed-gpus", {**about, "asked": asked, "runs": rows},
                          table=table, notes=notes)  # fmt: skip
    print(path.with_suffix(".md").read_text(encoding="utf-8"))
    sys.exit(1 if any("error" in row for row in rows) else 0)


def sentence(found: dict[str, Any]) -> str:
    """What limits a job."""
    decode, network = found["decode_images_per_second"], found["network_images_per_second"]
    slower = "decoding" if decode < network else "the network"
    at = "; ".join(
        f"{place} ({share:.0f} %)"
        for place, share in [*found["where_the_threads_are"]["MainThread"].items()][:PLACES]
    )
    return (
        f"{found['gpus']} GPUs, {found['cores']} cores: the slower is {slower}; the whole job "
        f"reaches {100 * found['share_of_the_slower']:.0f} % of it, and "
        f"{100 * found['share_of_decoding']:.0f} % of what the cores decode. Meanwhile the first "
        f"rank's main thread was at: {at}."
    )


if __name__ == "__main__":
    main()
