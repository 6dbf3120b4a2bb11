"""`vireid bench`: this machine's rates, and the published way's in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from vireid.bench.published_style import PublishedStyle, loop_evaluation, whole_resnet
from vireid.bench.workload import StepBench, random_data, time_extraction, wait
from vireid.config import checked_values
from vireid.cores import usable_cores
from vireid.data.augment import normalise
from vireid.embed.embedder import Embedder
from vireid.methods.registry import resolve_method
from vireid.models.backbone import resolve_arch
from vireid.problems import Problems
from vireid.runtime.device import resolve_device
from vireid.runtime.provenance import commit, versions
from vireid.training.ahead import check_engine
from vireid.training.options import TrainOptions
from vireid.types import InputError


def measure(
    *,
    device: str = "auto",
    arch: str = "resnet50",
    method: str = "mcl",
    steps: int = 50,
    published: bool = True,
    engine: str = "auto",
    kernels: str = "auto",
    size: tuple[int, int] = (288, 144),
) -> dict[str, Any]:
    """Measure step, extraction and evaluation.

    Args:
        device: "auto", "cpu" or "cuda:N".
        arch, method: what is timed.
        steps: in each of three timed stretches (one of 16 images on a CPU, where 64 take minutes).
        published: measure the published way too, which needs a ResNet.
        engine, kernels: as in training.
        size: (height, width) of the images.

    Returns:
        Named tables (name → value) and facts about the machine.

    Raises:
        InputError: what can't be; all of it.
    """
    target = _checked(device, arch, method, steps, engine, kernels, published=published)
    small = target.type == "cpu"
    steps = 1 if small else steps
    # A CPU takes half a minute for a published step of 64 images; a smaller one tells as much.
    batch: dict[str, Any] = {"pids_per_batch": 4, "images_per_pid": 2} if small else {}
    dataset, store = random_data(2370 if small else 7110, size=size)
    facts: dict[str, Any] = {"machine": _machine(target)}
    bench = StepBench(
        dataset, store, device=device, engine=engine, kernels=kernels, method=method, arch=arch,
        **batch,
    )  # fmt: skip
    facts["engine"] = bench.engine.why
    ours = bench.time(steps, repeats=1 if small else 3, warm_up=1 if small else 10)
    step = {f"{method} ms a step": ours["ms"], "images a second": ours["images_per_second"]}
    if not small:
        step["peak GPU memory besides the images, GiB"] = bench.memory_gib()
    network, data = bench.run.method, bench.run.data
    bench.close()
    embedder = Embedder(network, {"size": list(size)}, device=device)
    rows = np.arange(min(len(store.images), 32 if small else 5120))
    found = time_extraction(embedder, store, rows, batch_size=8 if small else 256)
    extraction = {
        "images a second, network alone": found["network_images_per_second"],
        "images a second, host to host": found["images_per_second"],
    }
    evaluation = _evaluation(published)
    if published:
        plain, rate = _published(target, arch, store, data, steps)
        step["the published way, ms a step"] = plain
        step["times as fast"] = round(plain / ours["ms"], 2)
        extraction["the published way, images a second"] = rate
        extraction["times as fast"] = round(found["network_images_per_second"] / rate, 2)
    facts |= {
        f"training step, {data.total_batch} images": step,
        "extraction": extraction,
        "evaluation, 3,803 x 301": evaluation,
    }
    return facts


def _checked(
    device: str, arch: str, method: str, steps: int, engine: str, kernels: str, *, published: bool
) -> torch.device:
    """The device, if all else can be, too."""
    target, problems = torch.device("cpu"), Problems()
    with problems:
        target = torch.device(resolve_device(None, device))
    ours = not problems
    with problems:
        asked = checked_values(TrainOptions, {"engine": engine, "kernels": kernels})
        if ours:
            check_engine(asked["engine"], asked["kernels"], target)
    with problems:
        resolve_method(method)
    with problems:
        name = resolve_arch(arch)
        if published:
            with torch.device("meta"):
                whole_resnet(name)
    with problems:
        if steps < 1:
            raise InputError(f"`steps` is {steps}; at least 1 was expected.")
    problems.tell()
    return target


def _machine(device: torch.device) -> dict[str, str]:
    facts = {"device": str(device), "cores": str(usable_cores()), **versions()}
    if device.type == "cuda":
        facts["GPU"] = torch.cuda.get_device_name(device)
    facts["commit"] = commit() or "unknown"
    return facts


def _published(
    device: torch.device, arch: str, store: Any, data: Any, steps: int
) -> tuple[float, float]:
    """Milliseconds a step and images a second of the published way."""
    torch.backends.cudnn.allow_tf32 = True  # PyTorch's default, as it would run today
    torch.backends.cudnn.benchmark = False
    plain = PublishedStyle(
        arch=arch, num_pids=data.sizes.num_pids, num_cameras=data.sizes.num_cameras, device=device
    )
    positions = data.sampler.epoch(0)[0]
    half = data.sampler.num_visible
    with torch.no_grad():
        batch = normalise(torch.from_numpy(store.images[data.rows[positions]]).to(device))
        batch = batch.contiguous()
    pid = torch.from_numpy(data.labels.pid[positions]).to(device)
    camera = torch.from_numpy(data.labels.camera[positions]).to(device)

    def one() -> None:
        plain.step(batch[:half], batch[half:], pid, camera)

    milliseconds = _median_ms(one, device, steps)
    images = batch[: 64 if device.type == "cuda" else 8]
    rate = 1e3 * len(images) / _median_ms(lambda: plain.extract(images), device, steps)
    return round(milliseconds, 2), round(rate, 1)


def _median_ms(run: Callable[[], Any], device: torch.device, count: int) -> float:
    run()
    found = []
    for _ in range(3 if device.type == "cuda" else 1):
        wait(device)
        start = time.perf_counter()
        for _ in range(count):
            run()
        wait(device)
        found.append(1e3 * (time.perf_counter() - start) / count)
    return statistics.median(found)


def _evaluation(published: bool) -> dict[str, float]:
    from vireid.evaluation import score

    generator = np.random.default_rng(0)
    query_pids = generator.integers(0, 96, 3803)
    gallery_pids = np.repeat(np.arange(96), 4)[:301]
    query_camids = generator.choice([3, 6], 3803)
    gallery_camids = generator.choice([1, 2, 4, 5], 301)
    similarity = generator.standard_normal((3803, 301)).astype(np.float32)
    similarity += 0.5 * (query_pids[:, None] == gallery_pids[None, :])
    columns = (query_pids, gallery_pids, query_camids, gallery_camids)
    score(similarity, *columns)
    start = time.perf_counter()
    ours = score(similarity, *columns)
    seconds = time.perf_counter() - start
    found = {"seconds a trial": round(seconds, 4)}
    if published:
        start = time.perf_counter()
        curve, mean_ap = loop_evaluation(-similarity, *columns)
        loop = time.perf_counter() - start
        found["the published way, seconds"] = round(loop, 3)
        found["times as fast"] = round(loop / seconds, 1)
        found["largest difference"] = float(
            max(abs(mean_ap - ours.mean_ap), abs(curve[0] - ours.cmc[0]))
        )
    return found
